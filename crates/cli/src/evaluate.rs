//! `wgrad evaluate`: how well a trained network does on labelled images, class by class.

use crate::model_args::{ModelArgs, welcome};
use crate::say::{note, say};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use wgrad::prelude::*;
use wgrad::trainer::EvaluationLine;
use wgrad::trainer::data::folder::Half;
use wgrad::trainer::inference::{Tally, table};

/// Arguments of `wgrad evaluate`.
#[derive(Clone, Debug, Args)]
pub(crate) struct EvaluateArgs {
    /// Labelled images: a folder, a list file, a record file
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    /// Which half of a data set that has two
    #[arg(long, default_value = "val", value_parser = PossibleValuesParser::new(["train", "val"]).map(half))]
    half: Half,
    /// Only every N-th image, in the order of their paths
    #[arg(long, value_name = "N", default_value = "1")]
    every: usize,
    /// Part of the images that may be unreadable; they count nowhere
    #[arg(long, value_name = "SHARE", default_value = "0.001")]
    bad_image_share: f64,
    #[command(flatten)]
    model: ModelArgs,
}

fn half(name: String) -> Half {
    if name == "train" { Half::Train } else { Half::Val }
}

/// Counts, and prints a table and one line `result {…}`.
pub(crate) fn run(args: &EvaluateArgs) -> anyhow::Result<()> {
    let classes = args.model.classes()?;
    let (mut classifier, device) = args.model.classifier(classes.as_ref())?;
    say(welcome(&classifier, &device));
    let names = &classifier.card().class_names;
    let set = data::open::labelled(&args.data, classifier.card().preprocessing.height, args.half)?.every(args.every);
    let (name, kinds) = (set.name.clone(), set.classes());
    let set = classifier.prepare(set.with_labels_of(names, classes.as_ref())?)?;
    let views = args.model.views(&classifier);
    say(format_args!("{name}: {} images of {kinds} classes; views of each: {}", set.len(), views.len()));
    let (set, mut tally) = (Arc::new(set), Tally::new(classifier.card().class_names.len()));
    let mut left_out = 0;
    let begun = Instant::now();
    let options = args.model.loader_options(args.bad_image_share);
    classifier.classify(&set, &views, &options, |image, probabilities| match probabilities {
        Ok(probabilities) => tally.add(set.labels[image], probabilities),
        Err(error) => {
            left_out += 1;
            note(format_args!("left out: {error}"));
        }
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    say(table(&tally, &set.class_names));
    let line = EvaluationLine::new(&tally.evaluation(), views.len(), left_out, seconds, device.info().name.clone());
    say(format_args!(
        "{} of {} images are classified rightly: {:.2} %{}",
        line.correct,
        line.images,
        100.0 * line.accuracy,
        line.accuracy_top5.map_or_else(String::new, |top5| format!(", {:.2} % among the first five", 100.0 * top5)),
    ));
    say(line);
    Ok(())
}
