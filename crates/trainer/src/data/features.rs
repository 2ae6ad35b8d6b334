//! What a network made of images, kept in record files so that it is computed once: [`extract`](crate::features::extract) writes
//! them, a linear classifier learns from them.

use std::path::Path;

use super::record::parse::FeatureMeta;
use super::record::{Access, RecordStore, find_half};
use super::{DataError, ImageStore};
use wgrad_tensor::Storage;

/// Features of labelled images, in memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Features {
    /// Short name of the data set.
    pub name: String,
    /// Name of each class.
    pub class_names: Vec<String>,
    /// Network, layer and extents.
    pub meta: FeatureMeta,
    /// The numbers, shape `[len, width]`, each row in the order of the extents.
    pub x: Vec<f32>,
    /// Class of each image.
    pub labels: Vec<u32>,
    /// CRC-32 of the images and of the weights behind them, for each shard: what [`source`](crate::features::source) says of
    /// images and weights that gave these features.
    pub source_crcs: Vec<[u32; 2]>,
}

impl Features {
    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Numbers of one image.
    #[must_use]
    pub fn width(&self) -> usize {
        self.meta.numbers().unwrap_or(0)
    }

    /// The numbers of each image in turn.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.x.chunks_exact(self.width().max(1))
    }
}

/// Reads a file of features whole; of a sharded set, any shard's path stands for all.
///
/// # Errors
/// A file that cannot be read, is cut, damaged or holds images; a record that is not of the extents stated; a number that is
/// none.
pub fn open(path: &Path) -> Result<Features, DataError> {
    let store = RecordStore::open(path, Access::Positions)?;
    let meta = store.meta();
    let wrong = |origin, wanted, got| DataError::Layout { origin, wanted, got };
    let here = || path.display().to_string();
    let Some(features) = meta.features.clone() else {
        return Err(wrong(here(), "a file of features, as extract_features writes it", "images".to_owned()));
    };
    let numbers = features.numbers().ok_or_else(|| wrong(here(), "extents", format!("{:?}", features.shape)))?;
    let mut bytes = 0u64;
    for (i, (_, entry)) in store.records().enumerate() {
        if entry.kind.feature_bytes(numbers) != Some(entry.bytes as usize) {
            let got = format!("{} bytes of kind {:?}", entry.bytes, entry.kind);
            return Err(wrong(store.origin(i), "features of the extents stated", got));
        }
        bytes += u64::from(entry.bytes);
    }
    // Records may state one place twice; together they are still parts of the file.
    if bytes > store.file_bytes() {
        return Err(wrong(here(), "records beside each other", format!("{bytes} bytes of records")));
    }
    let mut x = Vec::with_capacity(store.count() * numbers);
    let mut labels = Vec::with_capacity(store.count());
    for i in 0..store.count() {
        let (entry, bytes) = store.read(i)?;
        let storage = if entry.kind == super::record::parse::Kind::F16 { Storage::F16 } else { Storage::F32 };
        let row = storage.decode_all(&bytes, numbers);
        if let Some((at, bad)) = row.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            return Err(wrong(store.origin(i), "finite numbers", format!("{bad} at place {at}")));
        }
        x.extend(row);
        labels.push(entry.label);
    }
    let (name, class_names) = (meta.name.clone(), meta.class_names.clone());
    Ok(Features { name, class_names, meta: features, x, labels, source_crcs: store.source_crcs() })
}

/// Both halves: of `NAME.wgr`, `NAME-train.wgr` and `NAME-val.wgr`.
///
/// # Errors
/// As [`open`]; halves that do not belong together.
pub fn open_splits(path: &Path) -> Result<(Features, Features), DataError> {
    let (train, test) = (open(&find_half(path, "train"))?, open(&find_half(path, "val"))?);
    let parts = |set: &Features| (set.class_names.clone(), set.meta.clone(), set.source_crcs.first().map(|crc| crc[1]));
    if parts(&train) != parts(&test) {
        return Err(DataError::Layout {
            origin: find_half(path, "val").display().to_string(),
            wanted: "classes, layer and weights of the training half",
            got: "others; extract both halves in one go".to_owned(),
        });
    }
    Ok((train, test))
}
