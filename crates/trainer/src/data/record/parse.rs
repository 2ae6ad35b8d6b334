//! Bytes of a record file to numbers. Every length is checked before it is used or allocated.

use super::{ENTRY_BYTES, HEADER_BYTES, MAGIC, MAX_META_BYTES, MAX_RECORD_BYTES, VERSION};
use crate::data::DataError;
use crate::data::decode::MAX_PIXELS;
use crate::data::list::MAX_CLASSES;

/// What a record file begins with: magic and version (`u32` each), then the fields below in their order, zeros, and at byte 60
/// the CRC-32 of the 60 bytes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Length of the JSON part, in bytes (`u32`).
    pub meta_bytes: u32,
    /// Number of records (`u64`).
    pub records: u64,
    /// Where the index begins (`u64`).
    pub index_at_byte: u64,
    /// Length of the file, in bytes (`u64`).
    pub file_bytes: u64,
    /// CRC-32 of the JSON part.
    pub meta_crc: u32,
    /// CRC-32 of the index.
    pub index_crc: u32,
    /// In a file of features ([`FeatureMeta`]), CRC-32 of the images and of the weights that they were computed from; else zeros.
    pub source_crcs: [u32; 2],
}

/// What all records of a file share.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Meta {
    /// Short name of the data set.
    pub name: String,
    /// Name of each class.
    pub class_names: Vec<String>,
    /// Number of this shard, from 0.
    pub shard: u32,
    /// Number of shards.
    pub shards: u32,
    /// Length to which shorter sides were resized, in pixels; 0 where images are as they were.
    pub shorter: usize,
    /// What the records are, where they are no images but what a network made of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<FeatureMeta>,
}

/// What the vectors of a file of features are.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FeatureMeta {
    /// Name of the network.
    pub model: String,
    /// The layer that they leave.
    pub layer: String,
    /// Extents for one image: `[channels, height, width]`, or `[channels]`.
    pub shape: Vec<u32>,
    /// Whether they are means over height and width.
    pub pooled: bool,
    /// Rows and columns of the images that the network saw, in pixels.
    pub image: [u32; 2],
}

impl FeatureMeta {
    /// Numbers of a record; `None` where the extents are no shape, or more than a record holds.
    #[must_use]
    pub fn numbers(&self) -> Option<usize> {
        let product = self.shape.iter().try_fold(1u64, |n, &by| n.checked_mul(by.into()));
        let fits = |n: &u64| *n > 0 && *n <= u64::from(MAX_RECORD_BYTES) / 4;
        product.filter(|n| (1..=3).contains(&self.shape.len()) && fits(n)).map(|n| n as usize)
    }
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The bytes of an image file.
    File,
    /// RGB pixels, shape `[height, width, 3]`.
    Raw {
        /// Columns.
        width: u16,
        /// Rows.
        height: u16,
    },
    /// Features in f32.
    F32,
    /// Features in f16, filled up to whole words of 4 bytes.
    F16,
}

impl Kind {
    /// The bytes of a record of `numbers` features; `None` for images.
    #[must_use]
    pub fn feature_bytes(self, numbers: usize) -> Option<usize> {
        match self {
            Kind::F32 => Some(4 * numbers),
            Kind::F16 => Some((2 * numbers).next_multiple_of(4)),
            Kind::File | Kind::Raw { .. } => None,
        }
    }
}

/// Where a record is and what it must be: position (`u64`), length, CRC-32, label (`u32` each), width and height (`u16` each, 0
/// for a file), kind (`u8`: 0 a file, 1 pixels, 2 features in f32, 3 in f16), 7 zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Position in the file, in bytes.
    pub at_byte: u64,
    /// Length, in bytes.
    pub bytes: u32,
    /// CRC-32 of the record.
    pub crc: u32,
    /// Class of the image.
    pub label: u32,
    /// What the record is.
    pub kind: Kind,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}

fn checksum(origin: &str, what: &str, wanted: u32, bytes: &[u8]) -> Result<(), DataError> {
    let got = crc32fast::hash(bytes);
    if got == wanted {
        return Ok(());
    }
    Err(DataError::Checksum {
        origin: format!("{origin}, {what}"),
        wanted: format!("{wanted:08x}"),
        got: format!("{got:08x}"),
    })
}

/// Reads the header of a file of `file_bytes` from its first bytes; `origin` names them in messages.
///
/// # Errors
/// Other magic, a newer version, a wrong sum, parts that do not fit into the file or into each other, another file length.
pub fn header(bytes: &[u8], file_bytes: u64, origin: &str) -> Result<Header, DataError> {
    let origin = || origin.to_owned();
    let truncated = |what, wanted, got| DataError::Truncated { origin: origin(), what, wanted, got };
    let bytes =
        bytes.get(..HEADER_BYTES).ok_or_else(|| truncated("header", HEADER_BYTES as u64, bytes.len() as u64))?;
    let got = word(bytes, 0).swap_bytes();
    if got != MAGIC {
        return Err(DataError::WrongMagic { origin: origin(), what: "record file", wanted: MAGIC, got });
    }
    let got = word(bytes, 4);
    if got > VERSION || got == 0 {
        return Err(DataError::Version { origin: origin(), known: VERSION, got });
    }
    checksum(&origin(), "header", word(bytes, 60), &bytes[..60])?;
    let header = Header {
        meta_bytes: word(bytes, 8),
        records: long(bytes, 12),
        index_at_byte: long(bytes, 20),
        file_bytes: long(bytes, 28),
        meta_crc: word(bytes, 36),
        index_crc: word(bytes, 40),
        source_crcs: [word(bytes, 44), word(bytes, 48)],
    };
    if header.file_bytes > file_bytes {
        return Err(truncated("records and index", header.file_bytes, file_bytes));
    }
    if header.file_bytes < file_bytes {
        return Err(DataError::TrailingBytes { origin: origin(), wanted: header.file_bytes, got: file_bytes });
    }
    if header.meta_bytes > MAX_META_BYTES {
        let (limit, got) = (MAX_META_BYTES.into(), header.meta_bytes.into());
        return Err(DataError::TooLarge { origin: origin(), what: "class names", limit, got });
    }
    let index = header.records.checked_mul(ENTRY_BYTES as u64);
    let end = index.and_then(|index| index.checked_add(header.index_at_byte));
    let first = HEADER_BYTES as u64 + u64::from(header.meta_bytes);
    if end != Some(file_bytes) || header.index_at_byte < first || header.records > u64::from(u32::MAX - 1) {
        return Err(DataError::Layout {
            origin: origin(),
            wanted: "an index that ends where the file does",
            got: format!("{} records and an index at byte {}", header.records, header.index_at_byte),
        });
    }
    Ok(header)
}

/// Reads the JSON part.
///
/// # Errors
/// A wrong sum, no JSON of this kind, no or too many classes, a shard outside their number, no record in the only file.
pub fn meta(bytes: &[u8], header: &Header, origin: &str) -> Result<Meta, DataError> {
    checksum(origin, "class names", header.meta_crc, bytes)?;
    let wrong = |wanted, got| DataError::Layout { origin: origin.to_owned(), wanted, got };
    let meta: Meta = serde_json::from_slice(bytes).map_err(|e| wrong("JSON of class names", e.to_string()))?;
    if meta.class_names.is_empty() || meta.class_names.len() > MAX_CLASSES as usize {
        return Err(wrong("at least one class and at most 2^20", meta.class_names.len().to_string()));
    }
    if meta.shard >= meta.shards || meta.shards > 100_000 {
        return Err(wrong("a shard below their number", format!("shard {} of {}", meta.shard, meta.shards)));
    }
    if let Some(features) = meta.features.as_ref().filter(|features| features.numbers().is_none()) {
        return Err(wrong("one to three extents of features that a record holds", format!("{:?}", features.shape)));
    }
    // A shard may be empty: all of its images could not be read when it was packed.
    if header.records == 0 && meta.shards == 1 {
        return Err(DataError::Empty { origin: origin.to_owned(), what: "record" });
    }
    Ok(meta)
}

/// Reads the index, whose records have labels below `classes`.
///
/// # Errors
/// A wrong sum; a record outside the part between JSON and index, of more than [`MAX_RECORD_BYTES`], of an unknown kind, or
/// whose size and length disagree; a label that is too large.
pub fn index(bytes: &[u8], header: &Header, classes: u32, origin: &str) -> Result<Vec<Entry>, DataError> {
    checksum(origin, "index", header.index_crc, bytes)?;
    let first = HEADER_BYTES as u64 + u64::from(header.meta_bytes);
    let mut entries = Vec::with_capacity(bytes.len() / ENTRY_BYTES);
    for (record, entry) in bytes.chunks_exact(ENTRY_BYTES).enumerate() {
        let (at_byte, bytes, label) = (long(entry, 0), word(entry, 8), word(entry, 16));
        let wrong = |wanted, got| DataError::Layout { origin: format!("{origin}, record {record}"), wanted, got };
        let end = at_byte.checked_add(bytes.into());
        if at_byte < first || end.is_none_or(|end| end > header.index_at_byte) {
            return Err(wrong("a place before the index", format!("{bytes} bytes at byte {at_byte}")));
        }
        if bytes > MAX_RECORD_BYTES {
            return Err(wrong("at most 2^28 bytes", bytes.to_string()));
        }
        if label >= classes {
            return Err(DataError::WrongLabel { origin: origin.to_owned(), record, value: label, limit: classes });
        }
        let size = word(entry, 20);
        let (width, height) = (size as u16, (size >> 16) as u16);
        let pixels = u64::from(width) * u64::from(height);
        let kind = match entry[24] {
            0 if size == 0 && bytes > 0 => Kind::File,
            1 if pixels > 0 && pixels <= MAX_PIXELS && 3 * pixels == u64::from(bytes) => Kind::Raw { width, height },
            2 if size == 0 && bytes > 0 => Kind::F32,
            3 if size == 0 && bytes > 0 => Kind::F16,
            kind => return Err(wrong("a known kind", format!("kind {kind}, {width}x{height}, {bytes} bytes"))),
        };
        entries.push(Entry { at_byte, bytes, crc: word(entry, 12), label, kind });
    }
    Ok(entries)
}

/// Whether a record is the one that was written.
///
/// # Errors
/// A wrong sum.
pub fn record(bytes: &[u8], entry: &Entry, origin: &str) -> Result<(), DataError> {
    checksum(origin, "content", entry.crc, bytes)
}

impl Header {
    /// The bytes of this header.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&MAGIC.to_be_bytes());
        bytes[4..8].copy_from_slice(&VERSION.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.meta_bytes.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.records.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.index_at_byte.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.file_bytes.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.meta_crc.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.index_crc.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.source_crcs[0].to_le_bytes());
        bytes[48..52].copy_from_slice(&self.source_crcs[1].to_le_bytes());
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

impl Entry {
    /// The bytes of this entry.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; ENTRY_BYTES] {
        let (width, height, kind) = match self.kind {
            Kind::File => (0, 0, 0),
            Kind::Raw { width, height } => (width, height, 1),
            Kind::F32 => (0, 0, 2),
            Kind::F16 => (0, 0, 3),
        };
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..8].copy_from_slice(&self.at_byte.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.crc.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.label.to_le_bytes());
        bytes[20..22].copy_from_slice(&width.to_le_bytes());
        bytes[22..24].copy_from_slice(&height.to_le_bytes());
        bytes[24] = kind;
        bytes
    }
}
