//! What can be wrong with a data set.

use std::io;
use std::path::PathBuf;

/// Why a data set could not be had. `origin` is the file's path, or the name of embedded bytes.
///
/// Every message says what was wanted, what was got, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// None of the names under which a file is usually kept exists.
    #[error(
        "{dataset}: no file {wanted} in {folder} or its usual subfolders; get it with `cargo xtask data {dataset}`, or name the folder that holds it with `--data FOLDER`",
        wanted = .wanted.join(" or "), folder = .folder.display()
    )]
    Missing {
        /// Name of the data set as the download command takes it.
        dataset: &'static str,
        /// File names that would have done.
        wanted: Vec<String>,
        /// The folder that was looked in.
        folder: PathBuf,
    },
    /// The file is there but the system would not let it be read.
    #[error("{path}: cannot be read: {source}; check that it is a regular file and its permissions", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not a regular file (a folder, a pipe, a device): reading it could hang or never end.
    #[error("{path}: wanted a regular file, got something else; name the folder of the data files with `--data FOLDER`", path = .path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Fewer bytes than the format says there are.
    #[error("{origin}: truncated: wanted {wanted} bytes of {what}, got {got}; fetch the file again")]
    Truncated {
        /// Where.
        origin: String,
        /// Which part of the file.
        what: &'static str,
        /// Bytes wanted.
        wanted: u64,
        /// Bytes got.
        got: u64,
    },
    /// More bytes than the format says there are.
    #[error(
        "{origin}: wanted {wanted} bytes, got {got}: the rest is not part of the format; check that this is the right file, and fetch it again"
    )]
    TrailingBytes {
        /// Where.
        origin: String,
        /// Bytes wanted.
        wanted: u64,
        /// Bytes got.
        got: u64,
    },
    /// The first bytes are those of another format.
    #[error(
        "{origin}: wanted the magic number {wanted:#010x} ({what}), got {got:#010x}; check that this is the right file"
    )]
    WrongMagic {
        /// Where.
        origin: String,
        /// What the wanted number means.
        what: &'static str,
        /// The number wanted.
        wanted: u32,
        /// The number got.
        got: u32,
    },
    /// A label outside the classes of the data set.
    #[error(
        "{origin}: record {record} has label {value}, wanted one below {limit}; the file is damaged or of another data set"
    )]
    WrongLabel {
        /// Where.
        origin: String,
        /// Index of the first such record, from 0.
        record: usize,
        /// The label.
        value: u32,
        /// Number of classes.
        limit: u32,
    },
    /// Two parts that must agree do not.
    #[error("{origin}: wanted {what} {wanted}, got {got}; check that all files are of one data set")]
    Mismatch {
        /// Where.
        origin: String,
        /// What was compared.
        what: &'static str,
        /// The value wanted.
        wanted: u64,
        /// The value got.
        got: u64,
    },
    /// The content is not what its checksum says.
    #[error("{origin}: wanted checksum {wanted}, got {got}; the file is damaged, fetch it again")]
    Checksum {
        /// Where.
        origin: String,
        /// The checksum stated, in hexadecimal.
        wanted: String,
        /// The checksum of the content, in hexadecimal.
        got: String,
    },
    /// No record at all.
    #[error("{origin}: wanted at least one {what}, got none; check that this is the right file")]
    Empty {
        /// Where.
        origin: String,
        /// A what is missing.
        what: &'static str,
    },
    /// The gzip wrapping cannot be undone.
    #[error("{origin}: wanted gzip data, got a broken stream: {source}; fetch the file again")]
    Gzip {
        /// Where.
        origin: String,
        /// What the decoder said.
        source: io::Error,
    },
    /// The file states, or unpacks to, more than any data set of this format holds. Nothing was allocated for it.
    #[error("{origin}: wanted at most {limit} bytes of {what}, got {got}; the file is damaged or not of this format")]
    TooLarge {
        /// Where.
        origin: String,
        /// Which part.
        what: &'static str,
        /// The largest size accepted, in bytes.
        limit: u64,
        /// The size stated, in bytes (`u64::MAX` where it does not fit).
        got: u64,
    },
    /// The folders, names or labels of a set of image files are not what they have to be.
    #[error("{origin}: wanted {wanted}, got {got}")]
    Layout {
        /// The folder, list or record file.
        origin: String,
        /// What would have been right.
        wanted: &'static str,
        /// What is there.
        got: String,
    },
    /// The bytes are not an image that can be read as a whole. A part of an image is never taken for one.
    #[error("{origin}: wanted a whole JPEG, PNG, BMP, GIF, WebP or PNM image, got {message}; mend or remove the file")]
    Undecodable {
        /// The file, or the record of a file.
        origin: String,
        /// What the decoder said.
        message: String,
    },
    /// The image states more pixels than are accepted. Nothing was allocated for it.
    #[error("{origin}: wanted at most {limit} pixels, got {width}x{height}; make the image smaller")]
    TooManyPixels {
        /// The file, or the record of a file.
        origin: String,
        /// Columns stated.
        width: u64,
        /// Rows stated.
        height: u64,
        /// The largest number of pixels accepted.
        limit: u64,
    },
    /// The file was written by a newer version of this crate.
    #[error("{origin}: wanted format version {known} or older, got {got}; update wgrad, or pack the folder again")]
    Version {
        /// Where.
        origin: String,
        /// The newest version known here.
        known: u32,
        /// The version stated.
        got: u32,
    },
    /// The file cannot be written.
    #[error("{path}: cannot be written: {source}; check the path, its permissions and the free space", path = .path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
