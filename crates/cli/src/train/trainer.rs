//! From settings to a [`Trainer`].

use super::data;
use crate::settings::{Settings, Source};
use crate::signals;
use anyhow::Context;
use std::time::{Duration, Instant};
use wgrad::prelude::{Output, Trainer, models};
use wgrad::tensor::CompileOptions;
use wgrad::trainer::{TuningFile, View, tuning};

/// A run with these settings, which stops on signals.
pub(super) fn build(settings: &Settings, started: Instant) -> anyhow::Result<Trainer> {
    let splits = data::open(settings)?;
    let name = settings.model.as_deref().unwrap_or_default();
    let model = models::by_name(name, splits.train.channels, splits.train.classes())
        .with_context(|| format!("model: wanted a network of the zoo, got {name:?}"))?;
    let mut trainer = Trainer::new(model, splits)
        .name(name)
        .architecture(name)
        .epochs(settings.epochs)
        .batch_size(settings.batch_size)
        .schedule(settings.lr_schedule()?)
        .sgd(settings.sgd())
        .update(settings.update())
        .label_smoothing(settings.label_smoothing as f32)
        .augment(settings.augment.clone().unwrap_or_default())
        .augment_on_device(settings.device_augment)
        .bad_image_share(settings.bad_image_share)
        .threads(settings.threads)
        .seed(settings.seed)
        .device_options(settings.device_options())
        .precision(settings.numbers()?)
        .compile_options(CompileOptions {
            temporary_bytes: settings.memory.map(|mib| mib << 20),
            ..CompileOptions::default()
        })
        .tuning(tuning_file(settings)?)
        .tune(Duration::try_from_secs_f64(settings.tune)?)
        .output(settings.out.clone().map_or(Output::default(), Output::Folder))
        .keep(settings.keep)
        .stop(signals::stop())
        .started(started);
    if Source::of(&settings.data) == Source::Files {
        trainer = trainer.eval_view(View::CENTRE);
    }
    if let Some(alpha) = settings.mixup {
        trainer = trainer.mixup(alpha as f32);
    }
    if let Some(alpha) = settings.cutmix {
        trainer = trainer.cutmix(alpha as f32);
    }
    if let Some(path) = &settings.weights {
        trainer = trainer.weights(path);
    }
    if let Some(steps) = settings.checkpoint_every {
        trainer = trainer.checkpoint_every(steps);
    }
    if let Some(epochs) = settings.patience {
        trainer = trainer.patience(epochs);
    }
    Ok(trainer)
}

/// The table that was asked for; the user's own where algorithms shall be timed. No other run finds it: equal settings give
/// equal bits, whatever was measured on the machine before.
fn tuning_file(settings: &Settings) -> anyhow::Result<TuningFile> {
    Ok(match &settings.tune_table {
        Some(path) => TuningFile::open(path)?,
        None if settings.tune > 0.0 => TuningFile::open(&tuning::default_file(&data::cache()))?,
        None => TuningFile::default(),
    })
}
