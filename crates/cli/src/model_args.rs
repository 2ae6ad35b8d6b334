//! Arguments of the commands that use what was trained.

use crate::device_args::DeviceArgs;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use std::path::PathBuf;
use wgrad::prelude::*;
use wgrad::tensor::CompileOptions;
use wgrad::trainer::data::classes;
use wgrad::trainer::data::folder::read_regular;
use wgrad::trainer::inference::Crops;
use wgrad::trainer::{Classifier, Overrides, View, Weights};

/// A file of weights and how it is used.
#[derive(Clone, Debug, Args)]
pub(crate) struct ModelArgs {
    /// Weights: model.safetensors, best.safetensors or a checkpoint of a run, .pth or .pt of PyTorch, .caffemodel
    #[arg(long, value_name = "FILE")]
    pub(crate) weights: PathBuf,
    /// Network of the zoo [default: what the file says]
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Names of the classes: one a line, or lines of number, tab, folder or name; docs/inference.md has all forms
    /// [default: what the file says, else numbers]
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// Height and width of the images that the network sees [default: what the file says, else the network's usual size]
    #[arg(long, value_name = "PX")]
    size: Option<usize>,
    /// Mean of red, green and blue where pixels run from 0 to 1 [default: what the file says, else the network's usual one]
    #[arg(long, value_name = "R,G,B", value_parser = colours)]
    mean: Option<[f32; 3]>,
    /// Standard deviation of red, green and blue where pixels run from 0 to 1 [default: likewise]
    #[arg(long, value_name = "R,G,B", value_parser = colours)]
    std: Option<[f32; 3]>,
    /// The network takes blue first, as Caffe's do
    #[arg(long)]
    bgr: bool,
    /// Views of each image whose probabilities are averaged
    #[arg(long, default_value_t, value_parser = PossibleValuesParser::new(Crops::NAMES).try_map(|name| name.parse::<Crops>()))]
    crops: Crops,
    /// Length to which an image's shorter side is resized before windows are cut (--crops centre and ten); 0 is 8/7 of the size
    #[arg(long, value_name = "PX", default_value = "0")]
    resize: usize,
    /// Images in a batch
    #[arg(long, default_value = "16")]
    batch_size: usize,
    /// Threads that prepare images ahead; changes no result
    #[arg(long, default_value = "1")]
    threads: usize,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}

/// Three numbers with commas between them.
fn colours(text: &str) -> Result<[f32; 3], String> {
    let numbers: Result<Vec<f32>, _> = text.split(',').map(|number| number.trim().parse()).collect();
    let numbers = numbers.map_err(|error| format!("{error}; wanted three numbers as in 0.485,0.456,0.406"))?;
    numbers.try_into().map_err(|numbers: Vec<f32>| format!("wanted three numbers, got {}", numbers.len()))
}

impl ModelArgs {
    /// Opens the device and puts the network on it.
    pub(crate) fn classifier(&self, classes: Option<&classes::Classes>) -> anyhow::Result<(Classifier, Device)> {
        let origin = self.weights.display().to_string();
        let weights = Weights::parse(&checkpoint::read(&self.weights)?, &origin)?;
        let given = Overrides {
            architecture: self.model.clone(),
            classes: classes.cloned(),
            size: self.size,
            mean: self.mean,
            std: self.std,
            bgr: self.bgr,
        };
        let card = given.resolve(&weights, &origin)?;
        let device = self.device.open()?;
        let batch_size = self.batch_size;
        let classifier = Classifier::new(&device, &weights, card, batch_size, CompileOptions::default(), &origin)?;
        Ok((classifier, device))
    }

    /// The file of class names, if one was given.
    pub(crate) fn classes(&self) -> anyhow::Result<Option<classes::Classes>> {
        let Some(path) = &self.classes else { return Ok(None) };
        let bytes = read_regular(path, classes::MAX_BYTES as u64)?;
        Ok(Some(classes::parse(&bytes, &path.display().to_string())?))
    }

    /// The views that were asked for.
    pub(crate) fn views(&self, classifier: &Classifier) -> Vec<Option<View>> {
        self.crops.views(&classifier.card().preprocessing, self.resize)
    }

    /// How images are read; `bad_image_share` of them may be unreadable.
    pub(crate) fn loader_options(&self, bad_image_share: f64) -> LoaderOptions {
        LoaderOptions { bad_image_share, ..LoaderOptions::eval(self.batch_size).threads(self.threads) }
    }
}

/// One line on what runs where.
pub(crate) fn welcome(classifier: &Classifier, device: &Device) -> String {
    let (card, info) = (classifier.card(), device.info());
    let input = &card.preprocessing;
    format!(
        "{} for {} classes, images of {}x{}, {}; {} ({}), tier {}, {:.1} MiB",
        card.architecture.as_deref().unwrap_or("a network"),
        card.class_names.len(),
        input.height,
        input.width,
        classifier.report().to_string().lines().next().unwrap_or_default(),
        info.name,
        info.driver,
        device.target().tier.name(),
        classifier.bytes() as f64 / f64::from(1 << 20),
    )
}
