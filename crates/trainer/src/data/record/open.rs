//! Reading record files.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::parse::{self, Entry, Header, Kind, Meta};
use super::write::shard_name;
use super::{ENTRY_BYTES, HEADER_BYTES};
use crate::data::folder::{IMAGENET_MEAN, IMAGENET_STD};
use crate::data::{DataError, Dataset, ImageStore, Picture, Pixels, Splits, decode, escaped};

/// How records are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Each when it is wanted, at its position. The system keeps in memory what there is room for.
    #[default]
    Positions,
    /// All of the file in one sequential read when it is opened: for disks that are slow to seek, where memory suffices.
    Memory,
}

/// The data set of the record file at `path`, whose images a loader brings to `size` by `size` pixels. Of a sharded set, any
/// shard's path stands for all.
///
/// # Errors
/// A file that cannot be read, is cut, damaged or of another kind; shards that are missing or not of one set.
pub fn open(path: &Path, size: usize, access: Access) -> Result<Dataset, DataError> {
    let store = RecordStore::open(path, access)?;
    if let Some(features) = &store.meta.features {
        let got = format!("features of {}, layer {}; open it as features", features.model, features.layer);
        return Err(DataError::Layout { origin: path.display().to_string(), wanted: "images", got });
    }
    let labels = store.records().map(|(_, entry)| entry.label).collect();
    Ok(Dataset {
        name: store.meta.name.clone(),
        class_names: store.meta.class_names.clone(),
        labels,
        images: Pixels::Stored(Arc::new(store)),
        channels: 3,
        height: size,
        width: size,
        mean: IMAGENET_MEAN,
        std: IMAGENET_STD,
    })
}

/// Both halves of what `cargo xtask data pack FOLDER --out NAME.wgr` made of a folder with `train` and `val` in it:
/// `NAME-train.wgr` and `NAME-val.wgr`.
///
/// # Errors
/// As [`open`]; halves whose classes differ.
pub fn open_splits(path: &Path, size: usize, access: Access) -> Result<Splits, DataError> {
    let half = |name: &str| open(&find_half(path, name), size, access);
    let splits = Splits { train: half("train")?, test: half("val")? };
    if splits.train.class_names != splits.test.class_names {
        return Err(DataError::Layout {
            origin: half_name(path, "val").display().to_string(),
            wanted: "the classes of the training images",
            got: "others; pack both halves of one folder".to_owned(),
        });
    }
    Ok(splits)
}

/// The file of one half of a set, or its first shard; [`half_name`] where neither is there.
#[must_use]
pub fn find_half(path: &Path, half: &str) -> PathBuf {
    let path = half_name(path, half);
    if path.exists() { path } else { first_shard(&path).unwrap_or(path) }
}

/// The first shard of the set that is called `path`, however many there are; of several such sets the one with the fewest.
fn first_shard(path: &Path) -> Option<PathBuf> {
    let stem = path.file_stem()?.to_str()?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let number = |entry: std::fs::DirEntry| {
        let name = entry.file_name();
        let name = name.to_str()?.strip_prefix(stem)?.strip_prefix("-00000-of-")?;
        name.strip_suffix(".wgr")?.parse::<u32>().ok().filter(|&shards| shards > 1)
    };
    let shards = std::fs::read_dir(folder).ok()?.flatten().filter_map(number).min()?;
    Some(shard_name(path, 0, shards))
}

/// What the file of one half of a set is called: `images.wgr` has `images-train.wgr` and `images-val.wgr`.
#[must_use]
pub fn half_name(path: &Path, half: &str) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{half}.wgr"));
    path.with_file_name(name)
}

/// The bytes of one file.
#[derive(Debug)]
enum Bytes {
    File(File),
    Memory(Vec<u8>),
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    bytes: Bytes,
    entries: Vec<Entry>,
    header: Header,
    /// Records in the shards before.
    first: usize,
}

/// The records of one file or of all shards of a set.
#[derive(Debug)]
pub struct RecordStore {
    shards: Vec<Shard>,
    meta: Meta,
}

impl RecordStore {
    /// Opens the file at `path` and the shards that belong to it; reads headers and indices, and with [`Access::Memory`] all.
    ///
    /// # Errors
    /// As [`open`].
    pub fn open(path: &Path, access: Access) -> Result<Self, DataError> {
        let (mut meta, shard) = Shard::open(path, access)?;
        let mut shards = Vec::new();
        if meta.shards > 1 {
            let base = unsharded(path, &meta)?;
            for number in 0..meta.shards {
                let path = shard_name(&base, number, meta.shards);
                let (other, mut shard) = Shard::open(&path, access)?;
                let wanted = Meta { shard: number, ..meta.clone() };
                if other != wanted {
                    return Err(DataError::Layout {
                        origin: path.display().to_string(),
                        wanted: "the name, classes and number that the set's other shards have",
                        got: format!("shard {} of {:?}", other.shard, other.name),
                    });
                }
                shard.first = shards.iter().map(|shard: &Shard| shard.entries.len()).sum();
                shards.push(shard);
            }
        } else {
            shards.push(shard);
        }
        if shards.iter().all(|shard| shard.entries.is_empty()) {
            return Err(DataError::Empty { origin: path.display().to_string(), what: "record in one of the shards" });
        }
        meta.shard = 0;
        Ok(Self { shards, meta })
    }

    /// What all records share.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// All records, and the path of the file that each is in.
    pub fn records(&self) -> impl Iterator<Item = (&Path, &Entry)> {
        self.shards.iter().flat_map(|shard| shard.entries.iter().map(|entry| (shard.path.as_path(), entry)))
    }

    /// [`Header::source_crcs`] of every shard.
    pub(crate) fn source_crcs(&self) -> Vec<[u32; 2]> {
        self.shards.iter().map(|shard| shard.header.source_crcs).collect()
    }

    /// Length of all shards, in bytes.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.header.file_bytes).sum()
    }

    /// Record `i` and its bytes, whose sum is right.
    pub(crate) fn read(&self, i: usize) -> Result<(Entry, Vec<u8>), DataError> {
        let at = self.shards.partition_point(|shard| shard.first <= i).saturating_sub(1);
        let shard = &self.shards[at];
        let none = || DataError::Empty { origin: self.origin(i), what: "such record" };
        let entry = *shard.entries.get(i - shard.first).ok_or_else(none)?;
        // The length was checked against the file's when it was opened, and has a limit of its own.
        let mut bytes = vec![0; entry.bytes as usize];
        shard.bytes.read_at(&mut bytes, entry.at_byte).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => DataError::Truncated {
                origin: self.origin(i),
                what: "the record, now that the file has changed,",
                wanted: entry.bytes.into(),
                got: 0,
            },
            _ => DataError::Unreadable { path: shard.path.clone(), source },
        })?;
        parse::record(&bytes, &entry, &self.origin(i))?;
        Ok((entry, bytes))
    }
}

/// The name that the shards' numbers were added to.
fn unsharded(path: &Path, meta: &Meta) -> Result<PathBuf, DataError> {
    let suffix = format!("-{:05}-of-{:05}", meta.shard, meta.shards);
    let stem = path.file_stem().unwrap_or_default().to_str().and_then(|stem| stem.strip_suffix(&suffix));
    let stem = stem.ok_or_else(|| DataError::Layout {
        origin: path.display().to_string(),
        wanted: "the name that the shard was given, to find the others: NAME-00000-of-00002.wgr",
        got: path.file_name().map(escaped).unwrap_or_default(),
    })?;
    let mut name = std::ffi::OsString::from(stem);
    if let Some(ending) = path.extension() {
        name.push(".");
        name.push(ending);
    }
    Ok(path.with_file_name(name))
}

impl Shard {
    fn open(path: &Path, access: Access) -> Result<(Meta, Shard), DataError> {
        let origin = path.display().to_string();
        let unreadable = |source| DataError::Unreadable { path: path.to_owned(), source };
        if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(DataError::NotAFile { path: path.to_owned() });
        }
        let mut file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let mut head = Vec::with_capacity(HEADER_BYTES);
        file.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut head).map_err(unreadable)?;
        // From here on every length is one that the file has.
        let header = parse::header(&head, length, &origin)?;
        let bytes = match access {
            Access::Positions => Bytes::File(file),
            Access::Memory => {
                head.reserve_exact(length as usize - head.len());
                file.take(length - head.len() as u64).read_to_end(&mut head).map_err(unreadable)?;
                Bytes::Memory(head)
            }
        };
        let part = |at: u64, n: u64| -> Result<Vec<u8>, DataError> {
            let mut part = vec![0; n as usize];
            bytes.read_at(&mut part, at).map_err(unreadable)?;
            Ok(part)
        };
        let meta = parse::meta(&part(HEADER_BYTES as u64, header.meta_bytes.into())?, &header, &origin)?;
        let index = part(header.index_at_byte, header.records * ENTRY_BYTES as u64)?;
        let entries = parse::index(&index, &header, meta.class_names.len() as u32, &origin)?;
        Ok((meta, Shard { path: path.to_owned(), bytes, entries, header, first: 0 }))
    }
}

impl Bytes {
    fn read_at(&self, out: &mut [u8], at: u64) -> io::Result<()> {
        match self {
            Bytes::File(file) => read_exact_at(file, out, at),
            Bytes::Memory(bytes) => {
                let from = usize::try_from(at).ok().and_then(|at| bytes.get(at..)?.get(..out.len()));
                out.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, out: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, at)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut out: &mut [u8], mut at: u64) -> io::Result<()> {
    while !out.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, out, at)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => (out, at) = (&mut out[n..], at + n as u64),
        }
    }
    Ok(())
}

impl ImageStore for RecordStore {
    fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.entries.len()).sum()
    }

    fn origin(&self, i: usize) -> String {
        let at = self.shards.partition_point(|shard| shard.first <= i).saturating_sub(1);
        let shard = &self.shards[at];
        format!("{}, record {}", escaped(shard.path.as_os_str()), i - shard.first)
    }

    fn picture(&self, i: usize) -> Result<Picture, DataError> {
        let (entry, bytes) = self.read(i)?;
        match entry.kind {
            Kind::Raw { width, height } => Ok(Picture { width: width.into(), height: height.into(), pixels: bytes }),
            Kind::File => decode::decode(&bytes, &self.origin(i)),
            Kind::F32 | Kind::F16 => {
                let (origin, got) = (self.origin(i), "features".to_owned());
                Err(DataError::Layout { origin, wanted: "an image", got })
            }
        }
    }

    fn encoded(&self, i: usize) -> Result<Option<Vec<u8>>, DataError> {
        let (entry, bytes) = self.read(i)?;
        Ok((entry.kind == Kind::File).then_some(bytes))
    }

    /// A sum over all headers, which hold the sums of the indices, which hold those of the records.
    fn fingerprint(&self) -> Option<u32> {
        let mut sum = crc32fast::Hasher::new();
        self.shards.iter().for_each(|shard| sum.update(&shard.header.to_bytes()));
        Some(sum.finalize())
    }
}
