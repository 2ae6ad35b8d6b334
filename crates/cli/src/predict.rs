//! `wgrad predict`: the most likely classes of images, with bars on a terminal, in columns or as JSON for programs.

use crate::model_args::{ModelArgs, welcome};
use crate::say::{note, say};
use clap::Args;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use wgrad::prelude::*;
use wgrad::trainer::inference::top;
use wgrad::trainer::{Exit, Pixels};

/// Arguments of `wgrad predict`.
#[derive(Clone, Debug, Args)]
pub(crate) struct PredictArgs {
    /// Images, and folders of them
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Classes that are shown of each image
    #[arg(long, value_name = "N", default_value = "5")]
    top: usize,
    /// One JSON object for each image
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelArgs,
}

/// Characters of the longest bar.
const BAR: f64 = 40.0;

/// Classifies the images. One that cannot be read is named, the others are classified all the same, and the exit code says so.
pub(crate) fn run(args: &PredictArgs) -> anyhow::Result<ExitCode> {
    let set = data::folder::unlabelled(&args.images, 0)?;
    let (mut classifier, device) = args.model.classifier(args.model.classes()?.as_ref())?;
    note(welcome(&classifier, &device));
    let set = Arc::new(classifier.prepare(set)?);
    let names = classifier.card().class_names.clone();
    let views = args.model.views(&classifier);
    let bars = std::io::stdout().is_terminal();
    let origin = |image: usize| match &set.images {
        Pixels::Stored(store) => store.origin(image),
        Pixels::Memory(_) => image.to_string(),
    };
    let mut bad = 0;
    // Every image may be a bad one: each is told.
    classifier.classify(&set, &views, &args.model.loader_options(1.0), |image, probabilities| {
        let origin = origin(image);
        match probabilities {
            Ok(probabilities) if args.json => say(json(&origin, &top(probabilities, args.top), &names)),
            Ok(probabilities) => {
                if bars {
                    say(&origin);
                }
                for (rank, (class, share)) in (1..).zip(top(probabilities, args.top)) {
                    let name = &names[class];
                    match bars {
                        true => say(format_args!("  {:6.2} % {:40}  {name}", 100.0 * share, bar(share))),
                        false => say(format_args!("{origin}\t{rank}\t{class}\t{name}\t{share:.6}")),
                    }
                }
            }
            Err(error) => {
                bad += 1;
                note(format_args!("error: {error}"));
                if args.json {
                    say(serde_json::json!({ "image": origin, "error": error }));
                }
            }
        }
    })?;
    if bad > 0 {
        note(format_args!("{bad} of {} images could not be read", set.len()));
    }
    Ok(if bad > 0 { Exit::Data } else { Exit::Done }.into())
}

fn bar(share: f64) -> String {
    "#".repeat((share * BAR).round() as usize)
}

fn json(origin: &str, top: &[(usize, f64)], names: &[String]) -> serde_json::Value {
    let classes = top
        .iter()
        .map(|&(class, share)| serde_json::json!({ "class": class, "name": names[class], "probability": share }));
    serde_json::json!({ "image": origin, "top": classes.collect::<Vec<_>>() })
}
