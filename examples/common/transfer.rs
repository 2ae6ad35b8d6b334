//! What `finetune` and `extract_features` share: images as the pretrained network saw them, and features of both halves.

// Each example compiles its own copy and none uses every part.
#![allow(dead_code)]

use crate::args::{self, DeviceArgs};
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use wgrad::layers::{Layer, models};
use wgrad::prelude::*;
use wgrad::trainer::data::record::{find_half, half_name};
use wgrad::trainer::features::{ExtractOptions, FeatureStep, Tap, extract, source, weights_crc};
use wgrad::trainer::inference::Overrides;
use wgrad::trainer::model_card::ChannelOrder;
use wgrad::trainer::{LoadOptions, ModelCard, Parts, View, Weights};

/// A folder of images and a network trained on others.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TransferArgs {
    /// Folder with train and val in it and a sub-folder for each class, or record files made of one by `cargo xtask data pack`
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data: PathBuf,
    /// Network of the zoo [default: what the file of weights says, or the names of its tensors tell]
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Its weights: safetensors, .pth or .caffemodel
    #[arg(long, value_name = "FILE")]
    pub(crate) weights: PathBuf,
    /// Height and width of the images that the network sees, in pixels [default: what the weights were trained with]
    #[arg(long, value_name = "PX")]
    pub(crate) size: Option<usize>,
    /// Threads that prepare batches ahead; changes no result
    #[arg(long, default_value = "2")]
    pub(crate) threads: usize,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}

/// Images, network and weights that belong together.
pub(crate) struct Transfer {
    pub(crate) splits: Splits,
    pub(crate) weights: Weights,
    pub(crate) origin: String,
    /// Name of the network.
    pub(crate) model: String,
    /// How its weights are loaded.
    pub(crate) loading: LoadOptions,
}

impl TransferArgs {
    /// Opens data and weights. The images come with the mean, deviation and size that the network was trained with, as `predict`
    /// would take them ([`Overrides`]).
    pub(crate) fn open(&self) -> anyhow::Result<Transfer> {
        let origin = self.weights.display().to_string();
        let weights = Weights::parse(&checkpoint::read(&self.weights)?, &origin)?;
        let said = Overrides { architecture: self.model.clone(), size: self.size, ..Overrides::default() };
        let ModelCard { architecture, preprocessing, .. } = said.without_classes(&weights, &origin)?;
        // A form of a network that differs in its head alone is that network: the head is a new one.
        let model = architecture.unwrap_or_default();
        let model = model.strip_suffix("-caffe").unwrap_or(&model).to_string();
        let mut splits = data::open::images(&self.data, preprocessing.height)?;
        for half in [&mut splits.train, &mut splits.test] {
            (half.mean, half.std) = (preprocessing.mean, preprocessing.std);
        }
        let loading = LoadOptions::new();
        let loading = if preprocessing.order == ChannelOrder::Bgr { loading.bgr() } else { loading };
        Ok(Transfer { splits, weights, origin, model, loading })
    }
}

impl Transfer {
    /// The network for as many classes as the images have.
    pub(crate) fn network(&self) -> anyhow::Result<Box<dyn Layer>> {
        let train = &self.splits.train;
        models::by_name(&self.model, train.channels, train.classes()).with_context(|| {
            let known = [models::NAMES, models::IMAGENET_NAMES].concat().join(", ");
            format!("--model: wanted one of {known}, got {:?}", self.model)
        })
    }
}

/// Which part of a photograph is seen where nothing is random: the middle.
pub(crate) const VIEW: View = View::CENTRE;

/// Computes the features of both halves into `NAME-train.wgr` and `NAME-val.wgr`; returns the store that holds the body's
/// weights. Files that are there already are left as they are, if images and weights are the ones that they were made from.
pub(crate) fn cache(
    args: &TransferArgs,
    transfer: &Transfer,
    (device, model): (&Device, &dyn Layer),
    (path, options): (&Path, &ExtractOptions),
    seed: u64,
) -> anyhow::Result<Params> {
    let mut params = Params::new(device, seed);
    let Transfer { splits, weights, origin, model: name, loading } = transfer;
    let begun = Instant::now();
    let mut step = FeatureStep::new(device, &mut params, model, &splits.train, options)?;
    let parts = Parts::of(model, splits.train.input(1));
    // A file may have layers that are there in training alone; what the network needs must be in it.
    let report = weights.load_into(&mut params, &loading.clone().replace_head(&parts).lenient(), origin)?;
    args::say(format!("{origin}: {report}"));
    ensure!(report.missing.is_empty() && report.mismatched.is_empty(), "{origin}: the weights do not fit {name}");
    let crc = weights_crc(&params, &step, &parts)?;
    for (half, set) in [("train", &splits.train), ("val", &splits.test)] {
        let mut loading = LoaderOptions::eval(options.batch_size).threads(args.threads.min(1));
        loading.augment.view = Some(VIEW);
        let loader = Loader::new(Arc::new(set.clone()), loading)?;
        let there = find_half(path, half);
        if there.exists() {
            let kept = data::features::open(&there)?;
            let images = source(&loader, kept.source_crcs.len() as u32)?;
            let wanted: Vec<[u32; 2]> = images.into_iter().map(|images| [images, crc]).collect();
            let is_same = kept.source_crcs == wanted && kept.meta.layer == options.tap.to_string();
            let is_form = kept.meta.pooled == step.is_pooled() && kept.meta.shape == step.shape();
            ensure!(
                is_same && is_form && kept.meta.model == *name,
                "{}: wanted features of these images, weights and this layer, got others; remove the file or name another",
                there.display()
            );
            args::say(format!("{}: features of {} images, made before", there.display(), kept.len()));
            continue;
        }
        let done = extract(&mut step, &loader, (&half_name(path, half), options), (name, crc), |images| {
            if images.is_multiple_of(20 * options.batch_size) {
                args::say(format!("{half}: {images} of {} images", set.len()));
            }
        })?;
        let seconds = begun.elapsed().as_secs_f64();
        let left_out = if done.left_out > 0 { format!(", {} left out", done.left_out) } else { String::new() };
        let names: Vec<String> = done.paths.iter().map(|path| path.display().to_string()).collect();
        args::say(format!(
            "{}: {} images{left_out}, {:?} features each, {seconds:.1} s so far",
            names.join(", "),
            done.images,
            step.shape()
        ));
        for fault in loader.faults() {
            args::say(format!("image {} cannot be used: {}", fault.index, fault.message));
        }
    }
    Ok(params)
}

/// Where features are taken.
pub(crate) fn tap(layer: Option<&str>) -> Tap {
    layer.map_or(Tap::BeforeHead, |name| Tap::Layer(name.to_string()))
}
