//! Where the pixels of a data set are: in memory, or in files that are read image by image.

use std::ffi::OsStr;
use std::fmt;
use std::sync::Arc;

use super::DataError;

/// One decoded image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// Columns, at least 1.
    pub width: usize,
    /// Rows, at least 1.
    pub height: usize,
    /// RGB, shape `[height, width, 3]`, 0 to 255.
    pub pixels: Vec<u8>,
}

/// Images in files: of any size, read and decoded one at a time, by several threads at once.
///
/// The same index must give the same pixels every time: order and augmentation are pure functions of an image's index.
pub trait ImageStore: Send + Sync + fmt::Debug {
    /// Number of images.
    fn count(&self) -> usize;

    /// What image `i` is called in messages: its path, or its number in a file. Without control characters.
    fn origin(&self, i: usize) -> String;

    /// The pixels of image `i`.
    ///
    /// # Errors
    /// A file that cannot be read, is damaged, or is no image; an index past the end.
    fn picture(&self, i: usize) -> Result<Picture, DataError>;

    /// The bytes of image `i` as they are kept, if they are those of an image file.
    ///
    /// # Errors
    /// A file that cannot be read or is damaged; an index past the end.
    fn encoded(&self, i: usize) -> Result<Option<Vec<u8>>, DataError>;

    /// A number that differs where the images differ, as far as that can be told without reading all of them (a record file knows
    /// the sums of its records, a folder the paths of its files), or none: what a checkpoint keeps to notice other data.
    fn fingerprint(&self) -> Option<u32> {
        None
    }

    /// What was passed over when the images were looked for, and why; one line each.
    fn passed_over(&self) -> &[String] {
        &[]
    }
}

/// Where the pixels of a data set are.
#[derive(Clone, Debug)]
pub enum Pixels {
    /// Here, shape `[len, height, width, channels]`, 0 to 255.
    Memory(Vec<u8>),
    /// In files, of any size; a loader brings them to the data set's.
    Stored(Arc<dyn ImageStore>),
}

impl Pixels {
    /// The pixels in memory; none where they are in files.
    #[must_use]
    pub fn in_memory(&self) -> &[u8] {
        match self {
            Pixels::Memory(pixels) => pixels,
            Pixels::Stored(_) => &[],
        }
    }
}

impl From<Vec<u8>> for Pixels {
    fn from(pixels: Vec<u8>) -> Self {
        Pixels::Memory(pixels)
    }
}

/// Equal bytes, or the very same store: files are not compared.
impl PartialEq for Pixels {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Pixels::Memory(a), Pixels::Memory(b)) => a == b,
            (Pixels::Stored(a), Pixels::Stored(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// A file name for messages: on one line, whatever its bytes are. Line feeds, control characters and bytes that are not UTF-8
/// are written as in Rust's strings (`\n`, `\xFF`).
#[must_use]
pub fn escaped(name: &OsStr) -> String {
    let quoted = format!("{name:?}");
    quoted[1..quoted.len() - 1].replace("\\'", "'").replace("\\\"", "\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_line() {
        assert_eq!(escaped(OsStr::new("a 'b' \"c\" ü.jpg")), "a 'b' \"c\" ü.jpg");
        assert_eq!(escaped(OsStr::new("a\nb")), "a\\nb");
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            assert_eq!(escaped(OsStr::from_bytes(b"a\xffb")), "a\\xFFb");
        }
    }
}
