//! A network with its weights on a device, ready for images.

use super::resolve::{declared, network};
use super::{InferenceError, score_views};
use crate::augment::View;
use crate::data::{Dataset, Pixels};
use crate::loader::LoaderOptions;
use crate::model_card::{ChannelOrder, ModelCard, Preprocessing};
use crate::step::{EvalStep, StepOptions};
use crate::weights::{LoadOptions, LoadReport, Weights, WeightsError};
use std::collections::HashSet;
use std::sync::Arc;
use wgrad_layers::Layer;
use wgrad_tensor::{CompileOptions, Device, Mode, Params};

/// A network with its weights on a device.
#[derive(Debug)]
pub struct Classifier {
    step: EvalStep,
    card: ModelCard,
    report: LoadReport,
    batch_size: usize,
    bytes: u64,
}

impl Classifier {
    /// Builds the network that `card` names, compiles it for batches of `batch_size` images, and loads the weights. What a file
    /// holds beside the network's weights has to be known: an optimiser's state, or classifiers that exist in training only.
    ///
    /// # Errors
    /// A network that is not known, weights that are missing, of other shapes, left over or no numbers; a device that is too small.
    pub fn new(
        device: &Device,
        weights: &Weights,
        card: ModelCard,
        batch_size: usize,
        compile: CompileOptions,
        origin: &str,
    ) -> Result<Classifier, InferenceError> {
        let architecture = card.architecture.as_deref().unwrap_or_default();
        let net = network(architecture, card.preprocessing.channels, card.class_names.len())?;
        Classifier::of_network(device, &*net, weights, card, batch_size, compile, origin)
    }

    /// [`Classifier::new`] for a network of one's own, which ends in as many classes as `card` names.
    ///
    /// # Errors
    /// As [`Classifier::new`]; another number of classes.
    pub fn of_network(
        device: &Device,
        net: &dyn Layer,
        weights: &Weights,
        card: ModelCard,
        batch_size: usize,
        compile: CompileOptions,
        origin: &str,
    ) -> Result<Classifier, InferenceError> {
        let not_finite = |(name, array): (&String, &wgrad_tensor::Array)| {
            array.data.iter().find(|value| !value.is_finite()).map(|value| (name.clone(), *value))
        };
        if let Some((tensor, value)) = weights.tensors.iter().find_map(not_finite) {
            return Err(InferenceError::NotFinite { origin: origin.to_string(), tensor, value });
        }
        let input = &card.preprocessing;
        let options = StepOptions { logits: true, compile, ..StepOptions::new(&blank(input), batch_size) };
        let mut params = Params::new(device, 0);
        let step = EvalStep::new(device, &mut params, net, &options)?;
        if step.classes() != card.class_names.len() {
            let (origin, names) = (origin.to_string(), card.class_names.len());
            return Err(InferenceError::ClassNames { origin, classes: step.classes(), names });
        }
        let load = LoadOptions::new().lenient();
        let load = if input.order == ChannelOrder::Bgr { load.bgr() } else { load };
        let mut report = weights.load_into(&mut params, &load, origin)?;
        let training = declared(net, input, Mode::Train)?;
        let training: HashSet<&str> = training.iter().map(|(name, _)| name.as_str()).collect();
        report.unexpected.retain(|(name, _)| !training.contains(name.as_str()));
        if !report.is_complete() {
            let report = Box::new(report);
            return Err(WeightsError::OtherModel { origin: origin.to_string(), report }.into());
        }
        let bytes = params.bytes() + step.plan().created().0;
        Ok(Classifier { step, card, report, batch_size, bytes })
    }

    /// How images come to the network, and what its classes are called.
    #[must_use]
    pub fn card(&self) -> &ModelCard {
        &self.card
    }

    /// What became of the weights.
    #[must_use]
    pub fn report(&self) -> &LoadReport {
        &self.report
    }

    /// Device memory of plan and weights, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The data set with the network's sizes and colours.
    ///
    /// # Errors
    /// Images in memory of another size or number of channels.
    pub fn prepare(&self, mut dataset: Dataset) -> Result<Dataset, InferenceError> {
        let Preprocessing { channels, height, width, mean, std, .. } = self.card.preprocessing;
        let (wanted, got) = ([height, width, channels], [dataset.height, dataset.width, dataset.channels]);
        if matches!(dataset.images, Pixels::Memory(_)) && wanted != got {
            let [wanted, got] = [wanted, got].map(|[h, w, c]| format!("{h}x{w}x{c}"));
            return Err(InferenceError::Images { dataset: dataset.name, wanted, got });
        }
        (dataset.channels, dataset.height, dataset.width) = (channels, height, width);
        (dataset.mean, dataset.std) = (mean, std);
        Ok(dataset)
    }

    /// Hands the probabilities of every image of `dataset`, which [`Classifier::prepare`] has made, to `each`: see [`score_views`].
    /// The batch size of `options` is replaced by the network's.
    ///
    /// # Errors
    /// As [`score_views`].
    pub fn classify(
        &mut self,
        dataset: &Arc<Dataset>,
        views: &[Option<View>],
        options: &LoaderOptions,
        each: impl FnMut(usize, Result<&[f64], &str>),
    ) -> Result<(), InferenceError> {
        let options = LoaderOptions { batch_size: self.batch_size, ..options.clone() };
        Ok(score_views(&mut self.step, dataset, views, &options, each)?)
    }
}

/// A data set of no image, for the sizes of its images.
fn blank(input: &Preprocessing) -> Dataset {
    let &Preprocessing { channels, height, width, mean, std, .. } = input;
    let (labels, class_names) = (Vec::new(), Vec::new());
    let images = Pixels::Memory(Vec::new());
    Dataset { name: String::new(), images, labels, channels, height, width, class_names, mean, std }
}
