//! What a trained network sees in images: the five most likely classes of each, with bars.
//! `cargo run --release --example predict -- photo.jpg --weights runs/resnet18-001/model.safetensors`.
//!
//! Takes files and folders. An image that cannot be read is named, the others are classified all the same, and the exit code is
//! then 3. Into a pipe it prints a line of columns for each class, with `--json` a JSON object for each image.

#[path = "common/model_args.rs"]
mod model_args;

use clap::Parser;
use model_args::{ModelArgs, fail, note, say, welcome};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use wgrad::prelude::*;
use wgrad::trainer::Pixels;
use wgrad::trainer::inference::top;

/// Names what is in images.
#[derive(Debug, Parser)]
struct Args {
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

fn main() -> ExitCode {
    run(&Args::parse()).unwrap_or_else(|error| fail(&error))
}

fn run(args: &Args) -> anyhow::Result<ExitCode> {
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
    Ok(ExitCode::from(if bad > 0 { 3 } else { 0 }))
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
