//! Writing record files.

use std::fs;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use super::parse::{Entry, Header, Kind, Meta};
use super::{HEADER_BYTES, MAX_RECORD_BYTES};
use crate::augment::shrink;
use crate::data::{DataError, ImageStore, Picture, decode};
use wgrad_tensor::Storage;

/// JPEG quality of images that were resized, of 100.
const QUALITY: u8 = 92;

/// The largest f16.
const F16_MAX: f32 = 65504.0;

/// The content of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The bytes of an image file.
    File(Vec<u8>),
    /// Pixels.
    Raw(Picture),
}

impl Payload {
    /// Bytes of the record.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "no record is empty")]
    pub fn len(&self) -> usize {
        match self {
            Payload::File(bytes) => bytes.len(),
            Payload::Raw(picture) => picture.pixels.len(),
        }
    }
}

/// Image `i` of a store as a record: its shorter side resized to `shorter` pixels where it is longer (0 leaves it as it is), as
/// pixels (`raw`) or as a file. A file that needs no resizing keeps its bytes, and so its pixels; a resized one becomes a JPEG of
/// quality 92 with colours of half the size.
///
/// # Errors
/// An image that cannot be read, or has a side of more than 65,535 pixels and shall be raw.
pub fn payload(store: &dyn ImageStore, i: usize, shorter: usize, raw: bool) -> Result<Payload, DataError> {
    let bytes = store.encoded(i)?;
    // Decoded even where the bytes are kept: what goes into the file is known to be an image.
    let picture = match &bytes {
        Some(bytes) => decode::decode(bytes, &store.origin(i))?,
        None => store.picture(i)?,
    };
    let too_large = |message: String| DataError::Undecodable { origin: store.origin(i), message };
    let small = shorter == 0 || picture.width.min(picture.height) <= shorter;
    let picture = match bytes {
        Some(bytes) if small && !raw => return Ok(Payload::File(bytes)),
        _ => shrink(picture, shorter)?,
    };
    if raw {
        let (width, height) = (picture.width, picture.height);
        if width.max(height) > u16::MAX.into() || picture.pixels.len() > MAX_RECORD_BYTES as usize {
            return Err(too_large(format!("{width}x{height} pixels, too many for a record")));
        }
        return Ok(Payload::Raw(picture));
    }
    let side =
        |n: usize| u16::try_from(n).map_err(|_| too_large(format!("a side of {n} pixels, more than a JPEG holds")));
    let (width, height) = (side(picture.width)?, side(picture.height)?);
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, QUALITY);
    // Half the blocks of full colour, so half the work of reading them; photographs are kept so anyway.
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder
        .encode(&picture.pixels, width, height, ColorType::Rgb)
        .map_err(|error| too_large(format!("an image that JPEG cannot hold ({error})")))?;
    Ok(Payload::File(bytes))
}

/// Writes a record file, one record after another.
#[derive(Debug)]
pub struct Writer<W: Write + Seek> {
    out: BufWriter<W>,
    entries: Vec<Entry>,
    at_byte: u64,
    meta_bytes: u32,
    meta_crc: u32,
    source_crcs: [u32; 2],
}

impl<W: Write + Seek> Writer<W> {
    /// Begins a file. Until [`Writer::finish`] its header is empty, and nobody takes it for a record file.
    ///
    /// # Errors
    /// What `out` says.
    pub fn new(out: W, meta: &Meta) -> io::Result<Self> {
        let meta = serde_json::to_vec(meta)?;
        let meta_bytes = u32::try_from(meta.len()).map_err(io::Error::other)?;
        let mut out = BufWriter::with_capacity(1 << 20, out);
        out.write_all(&[0; HEADER_BYTES])?;
        out.write_all(&meta)?;
        let at_byte = HEADER_BYTES as u64 + meta.len() as u64;
        Ok(Self {
            out,
            entries: Vec::new(),
            at_byte,
            meta_bytes,
            meta_crc: crc32fast::hash(&meta),
            source_crcs: [0; 2],
        })
    }

    /// Adds a record.
    ///
    /// # Errors
    /// What `out` says; a record of 2^32 bytes or more.
    pub fn push(&mut self, payload: &Payload, label: u32) -> io::Result<()> {
        let (bytes, kind) = match payload {
            Payload::File(bytes) => (bytes, Kind::File),
            Payload::Raw(picture) => {
                let side = |n: usize| u16::try_from(n).map_err(io::Error::other);
                (&picture.pixels, Kind::Raw { width: side(picture.width)?, height: side(picture.height)? })
            }
        };
        self.add(bytes, kind, label)
    }

    /// Adds a vector of features, in f16 (`half`) or f32.
    ///
    /// # Errors
    /// A number that is none, or that f16 cannot hold; what `out` says.
    pub fn push_features(&mut self, features: &[f32], half: bool, label: u32) -> io::Result<()> {
        let (storage, kind, most) =
            if half { (Storage::F16, Kind::F16, F16_MAX) } else { (Storage::F32, Kind::F32, f32::MAX) };
        // A NaN is not in any range.
        if let Some((at, bad)) = features.iter().enumerate().find(|(_, value)| !(-most..=most).contains(*value)) {
            let message = format!("wanted features of -{most}..{most}, got {bad} at place {at}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        self.add(&storage.encode_all(features), kind, label)
    }

    /// States what the features were computed from; see [`Header::source_crcs`].
    pub fn set_source(&mut self, images_crc: u32, weights_crc: u32) {
        self.source_crcs = [images_crc, weights_crc];
    }

    fn add(&mut self, bytes: &[u8], kind: Kind, label: u32) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.out.write_all(bytes)?;
        let crc = crc32fast::hash(bytes);
        self.entries.push(Entry { at_byte: self.at_byte, bytes: length, crc, label, kind });
        self.at_byte += u64::from(length);
        Ok(())
    }

    /// Adds the index and writes the header; gives `out` back.
    ///
    /// # Errors
    /// What `out` says.
    pub fn finish(mut self) -> io::Result<W> {
        let index: Vec<u8> = self.entries.iter().flat_map(Entry::to_bytes).collect();
        self.out.write_all(&index)?;
        let header = Header {
            meta_bytes: self.meta_bytes,
            records: self.entries.len() as u64,
            index_at_byte: self.at_byte,
            file_bytes: self.at_byte + index.len() as u64,
            meta_crc: self.meta_crc,
            index_crc: crc32fast::hash(&index),
            source_crcs: self.source_crcs,
        };
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(&header.to_bytes())?;
        self.out.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// The name of a shard: `images.wgr` as shard 1 of 4 is `images-00001-of-00004.wgr`, as the only one `images.wgr`.
#[must_use]
pub fn shard_name(path: &Path, shard: u32, shards: u32) -> PathBuf {
    if shards == 1 {
        return path.to_owned();
    }
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{shard:05}-of-{shards:05}"));
    if let Some(ending) = path.extension() {
        name.push(".");
        name.push(ending);
    }
    path.with_file_name(name)
}

/// Writes the file at `path`, all of it or nothing: `fill` adds the records to a temporary file beside it, which is synced and
/// then takes the name. A file that is there is never overwritten.
///
/// # Errors
/// A file of that name, what `fill` says, a full disk, a folder that cannot be written.
pub fn write_file<E: From<DataError>>(
    path: &Path,
    meta: &Meta,
    fill: impl FnOnce(&mut Writer<&fs::File>) -> Result<(), E>,
) -> Result<(), E> {
    let failed = |source| E::from(DataError::Unwritable { path: path.to_owned(), source });
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.symlink_metadata().is_ok() {
        return Err(failed(io::Error::from(io::ErrorKind::AlreadyExists)));
    }
    let mut builder = tempfile::Builder::new();
    builder.prefix(".packing-");
    // A temporary file is its owner's alone; a data set is for whoever the system's mask lets.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let file = builder.tempfile_in(folder).map_err(failed)?;
    let mut writer = Writer::new(file.as_file(), meta).map_err(failed)?;
    fill(&mut writer)?;
    writer.finish().map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist_noclobber(path).map_err(|error| failed(error.error))?;
    // The name is on the disk when its folder is; where folders cannot be opened as files, nothing more can be done.
    if let Ok(folder) = fs::File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}
