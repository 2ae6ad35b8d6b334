//! The images that a run learns from.

use crate::settings::{Settings, Source};
use anyhow::anyhow;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use wgrad::prelude::{Splits, data};
use wgrad::trainer::DataError;

/// Names of data sets, for a message.
const NAMES: &str = "cifar10, cifar100, mnist or fashion-mnist";

/// The user's cache folder.
pub(super) fn cache() -> PathBuf {
    std::env::home_dir().unwrap_or_default().join(".cache")
}

/// Opens the data set that was asked for.
pub(super) fn open(settings: &Settings) -> anyhow::Result<Splits> {
    let folder = || {
        let usual = || data::open::default_folder(&settings.data, &cache());
        settings.data_folder.clone().unwrap_or_else(usual)
    };
    let splits = match (Source::of(&settings.data), &settings.data_folder) {
        (Source::Cifar10, _) => data::open::cifar10(&folder()),
        (Source::Cifar100, _) => data::open::cifar100(&folder()),
        (Source::Mnist, _) => data::open::mnist(&folder()),
        (Source::FashionMnist, Some(folder)) => data::open::fashion_mnist(folder),
        (Source::FashionMnist, None) => data::embedded::fashion_mnist_12k(),
        (Source::Files, _) => data::open::images(Path::new(&settings.data), settings.size.unwrap_or_default()),
    }
    .map_err(|error| explained(error, &settings.data))?;
    Ok(Splits { train: splits.train.every(settings.every), test: splits.test.every(settings.every) })
}

/// What is not there, in the words of this command. A path that leads nowhere is probably a name that there is not.
fn explained(error: DataError, data: &str) -> anyhow::Error {
    match error {
        DataError::Unreadable { source, .. } if source.kind() == ErrorKind::NotFound && !Path::new(data).exists() => {
            anyhow!("data: wanted {NAMES}, or a path to a folder or record files, got {data:?}: {source}")
        }
        // Here `--data` is the data set's name.
        error @ DataError::Missing { .. } => {
            anyhow!("{}", error.to_string().replace("--data FOLDER", "--data-folder FOLDER"))
        }
        error => error.into(),
    }
}
