//! Record files: many images in one file, for disks that are slow to find small ones and for pixels decoded in advance.
//!
//! A file is read from front to back or at any record by position; it is never mapped into memory, because a mapped file that
//! shrinks kills the process. All numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 64 | header: see [`parse::Header`] |
//! | as the header says | JSON: classes, shard, what the images were made from; see [`parse::Meta`] |
//! | one after another | records: an image file's bytes, RGB pixels `[height, width, 3]`, or features ([`super::features`]) |
//! | 32 for each record | index: position, length, CRC-32, label, size, kind; see [`parse::Entry`] |
//!
//! The header and the index have CRC-32 sums and the header states the file's length: a file that is cut or unfinished is
//! refused when it is opened. A record that is damaged is one bad image, found when it is read.
//!
//! A data set may be divided into shards, `NAME-00000-of-00004.wgr` and so on, each a record file of its own. Their records
//! one after another are the data set: a sharded set gives the batches of an unsharded one.

mod open;
pub mod parse;
mod write;

pub use open::{Access, RecordStore, find_half, half_name, open, open_splits};
pub use write::{Payload, Writer, payload, shard_name, write_file};

/// The first four bytes of a record file: `WGRC`.
pub const MAGIC: u32 = 0x5747_5243;
/// The version written, and the newest read.
pub const VERSION: u32 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 64;
/// Bytes of an index entry.
pub const ENTRY_BYTES: usize = 32;
/// The largest JSON part accepted, in bytes.
pub const MAX_META_BYTES: u32 = 1 << 26;
/// The largest record accepted, in bytes.
pub const MAX_RECORD_BYTES: u32 = 1 << 28;
