//! Images that cannot be read: which, why, and how many are too many.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::{LoaderError, LoaderOptions, OnBadImage};
use crate::data::DataError;

/// An image that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Index in the data set.
    pub index: u32,
    /// What was wrong, with the file's name.
    pub message: String,
}

/// The bad images so far, each once however often it was asked for.
#[derive(Debug, Default)]
pub(super) struct Faults {
    seen: Mutex<BTreeMap<u32, String>>,
}

impl Faults {
    /// Counts a bad image. An error where it is one too many of the `len` images.
    pub(super) fn add(
        &self,
        index: u32,
        error: DataError,
        options: &LoaderOptions,
        len: u32,
    ) -> Result<(), LoaderError> {
        if options.on_bad_image == OnBadImage::Fail {
            return Err(LoaderError::Data(error));
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.entry(index).or_insert_with(|| error.to_string());
        // At least one, or a single bad file would end a run on a small set under any share.
        let budget = match options.bad_image_share {
            share if share > 0.0 => ((share * f64::from(len)).ceil() as usize).max(1),
            _ => 0,
        };
        if seen.len() <= budget {
            return Ok(());
        }
        Err(LoaderError::BadImages { count: seen.len(), budget, len, last: Box::new(error) })
    }

    pub(super) fn list(&self) -> Vec<Fault> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().map(|(&index, message)| Fault { index, message: message.clone() }).collect()
    }
}
