//! Settings of published runs.

use super::Trainer;
use crate::augment::{Augment, Border};
use crate::data::{Dataset, Pixels, Splits};
use crate::error::TrainError;
use crate::lookahead::Lookahead;
use crate::schedule::Schedule;
use crate::step::SgdConfig;
use crate::update::GroupRule;
use wgrad_layers::models::{AirbenchNet, identity_filters, whitening_filters};
use wgrad_tensor::{Array, ParamKind, Params};

/// Images whose patches are whitened.
const WHITENED: usize = 5000;
/// Added to the variances of patches.
const WHITENING_EPS: f64 = 5e-4;

/// The recipe of airbench94 for CIFAR-10 (Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv:2404.00498): 94 % in 9.9
/// epochs at batch 1024, with the test of [`evaluate_mirror_translate`](super::evaluate_mirror_translate).
///
/// [`AirbenchNet`] with first filters that whiten the 2x2 patches of the first 5,000 training images, frozen, and identities among the
/// others; SGD with Nesterov momentum 0.85 and weight decay 0.0153 / 11.5; shifts of 64 times the rate and no more decay than the rest
/// has; a rate that rises from 0.2 to 1 of its height over 23 % of the run and falls to 0.07; label smoothing 0.2; mirror images in every
/// other epoch; shifts by up to 2 pixels; [`Lookahead`] every 5 steps.
///
/// Two things differ: the whitening layer's bias learns throughout (there: for 3 epochs), and epochs are whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Airbench94 {
    /// Passes over the training set; 10.
    pub epochs: u32,
    /// Images in a batch; 1024.
    pub batch_size: usize,
    /// Height of the rate for 1024 images, which other batches take in proportion; 1.5, that is 11.5 / (1 + 1 / (1 - 0.85)).
    pub lr: f64,
    /// Channels of the three groups.
    pub widths: [usize; 3],
}

impl Default for Airbench94 {
    fn default() -> Airbench94 {
        Airbench94 { epochs: 10, batch_size: 1024, lr: 1.5, widths: [64, 256, 256] }
    }
}

impl Airbench94 {
    /// The run on `data`, whose images must lie in memory. Epochs and batch size are those of the recipe: schedule and lookahead
    /// follow from them, so that they must not be changed behind it.
    ///
    /// # Errors
    /// Data that is not in memory or holds no whole batch; epochs or a rate that make no schedule.
    pub fn trainer(&self, data: Splits) -> Result<Trainer, TrainError> {
        if !matches!(data.train.images, Pixels::Memory(_)) {
            return Err(TrainError::setting("training images", "images in memory, to whiten them", "images in files"));
        }
        let steps = (data.train.len() / self.batch_size.max(1)) as u64 * u64::from(self.epochs);
        if steps == 0 || self.batch_size == 0 {
            let got = format!("{} images, {} epochs", self.batch_size, self.epochs);
            return Err(TrainError::setting("batch", "at least one batch of one epoch", got));
        }
        let (momentum, weight_decay) = (0.85, 0.0153 / 11.5);
        let epochs = f64::from(self.epochs);
        let lr = self.lr * self.batch_size as f64 / 1024.0;
        let points = [(0.0, 0.2 * lr), (0.23 * epochs, lr), (epochs, 0.07 * lr)];
        let net = AirbenchNet::new(data.train.channels, data.train.classes()).widths(self.widths);
        let mut trainer = Trainer::new(net, data)
            .name("airbench94")
            .epochs(self.epochs)
            .batch_size(self.batch_size)
            .schedule(Schedule::piecewise_linear(&points)?)
            .sgd(SgdConfig { momentum, nesterov: true, weight_decay, ..SgdConfig::default() })
            .label_smoothing(0.2)
            .augment(Augment::none().pad_crop(2, Border::Reflect).flip_alternating())
            .first_weights(first_weights);
        // The zoo knows the net by one set of widths.
        if self.widths == Airbench94::default().widths {
            trainer = trainer.architecture("airbench94");
        }
        let shifts =
            GroupRule { pattern: "group*.bias".into(), lr_scale: Some(64.0), weight_decay: Some(weight_decay / 64.0) };
        trainer.update.rules.push(shifts);
        trainer.update.lookahead = Some(Lookahead { every: 5, decay: 0.95, steps });
        Ok(trainer)
    }
}

/// Whitening filters from the images, and identities in all other filters.
fn first_weights(params: &mut Params, train: &Dataset) -> Result<(), TrainError> {
    let missing = || TrainError::setting("training images", "patches of 2x2 finite pixels", "none");
    let images = normalised(train, WHITENED).ok_or_else(missing)?;
    let filters = whitening_filters(&images, 2, WHITENING_EPS).ok_or_else(missing)?;
    params.set("whiten.weight", &filters)?;
    let convolutions: Vec<String> = (params.of_kind(ParamKind::Weight))
        .filter(|decl| decl.shape.rank() == 4 && decl.name.starts_with("group"))
        .map(|decl| decl.name)
        .collect();
    for name in convolutions {
        let mut weight = params.get(&name)?;
        identity_filters(&mut weight);
        params.set(&name, &weight)?;
    }
    Ok(())
}

/// The first images as the network sees them, `[N, C, H, W]`.
fn normalised(set: &Dataset, most: usize) -> Option<Array> {
    let (n, pixels) = (set.len().min(most), set.height * set.width);
    let mut data = Vec::with_capacity(n * set.image_bytes());
    for i in 0..n {
        let image = set.image(i);
        for c in 0..set.channels {
            let value = |&v: &u8| (f32::from(v) / 255.0 - set.mean[c]) / set.std[c];
            data.extend(image.iter().skip(c).step_by(set.channels).take(pixels).map(value));
        }
    }
    Array::new([n, set.channels, set.height, set.width], data)
}
