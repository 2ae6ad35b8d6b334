//! Labelled images in memory or in files, and the parsers and openers that fill them.
//!
//! Parsers ([`cifar`], [`idx`], [`decode`], [`list`], [`record`]'s) take bytes and give arrays; only [`open`], [`folder`] and
//! [`record::open`] touch files. So every parser can be tested, fuzzed and fed from embedded bytes alike.

pub mod cifar;
pub mod classes;
pub mod decode;
pub mod embedded;
mod error;
pub mod features;
pub mod folder;
pub mod idx;
mod jpeg;
mod kept;
pub mod list;
pub mod open;
pub mod record;
mod select;
pub mod stats;
mod store;

pub use error::DataError;
pub use features::Features;
pub(crate) use kept::Kept;
pub use store::{ImageStore, Picture, Pixels, escaped};

use wgrad_tensor::TensorDesc;

/// Labelled images: of one size and in memory, or of any size and in files.
///
/// Plain data: fields may be changed freely (a different `mean`, fewer classes); [`Dataset::check`] says whether they still
/// agree, and the loader asks it once.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Short name, as commands take it: `cifar10`.
    pub name: String,
    /// Pixels in memory, shape `[len, height, width, channels]`, 0 to 255; or what reads them from files.
    pub images: Pixels,
    /// Class of each image, below `class_names.len()`.
    pub labels: Vec<u32>,
    /// Colours per pixel: 1 (grey) or 3 (RGB). Files give RGB; with 1 a loader takes their luma (ITU-R 601).
    pub channels: usize,
    /// Rows of an image as a network gets it, in pixels. Images in files have sizes of their own.
    pub height: usize,
    /// Columns of an image as a network gets it, in pixels.
    pub width: usize,
    /// Name of each class.
    pub class_names: Vec<String>,
    /// Mean of each channel where pixels run from 0 to 1; grey repeats its one value.
    pub mean: [f32; 3],
    /// Standard deviation of each channel where pixels run from 0 to 1; grey repeats its one value.
    pub std: [f32; 3],
}

/// What augmentation must know of every image of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Colours per pixel: 1 or 3.
    pub channels: usize,
    /// Rows, in pixels.
    pub height: usize,
    /// Columns, in pixels.
    pub width: usize,
    /// The mean colour, rounded to whole steps of 1/255: what becomes 0 (within half such a step) when normalised.
    pub mean_colour: [u8; 3],
}

impl Geometry {
    /// Bytes of one image.
    #[must_use]
    pub fn image_bytes(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// The mean colour as a batch holds a pixel: channel c in byte c.
    pub(crate) fn mean_pixel(&self) -> u32 {
        let [r, g, b] = self.mean_colour;
        if self.channels == 1 { r.into() } else { u32::from_le_bytes([r, g, b, 0]) }
    }
}

/// A colour of channels from 0 to 1 in whole steps of 1/255.
pub(crate) fn whole_steps(colour: [f32; 3]) -> [u8; 3] {
    // A float-to-integer cast saturates and sends NaN to 0, so no colour can do harm here.
    colour.map(|channel| (channel * 255.0).round() as u8)
}

/// The two halves of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Splits {
    /// What to learn from.
    pub train: Dataset,
    /// What to measure accuracy on.
    pub test: Dataset,
}

impl Dataset {
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

    /// Number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.class_names.len()
    }

    /// Bytes of one image.
    #[must_use]
    pub fn image_bytes(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// What a network sees of `n` images: f32 `[n, channels, height, width]`, for a model summary.
    #[must_use]
    pub fn input(&self, n: usize) -> TensorDesc {
        TensorDesc::f32([n, self.channels, self.height, self.width])
    }

    /// The pixels of image `i` of a set in memory, shape `[height, width, channels]`; none of a set in files.
    ///
    /// # Panics
    /// If `i >= len()`, as slice indexing does.
    #[must_use]
    pub fn image(&self, i: usize) -> &[u8] {
        let n = self.image_bytes();
        match &self.images {
            Pixels::Memory(images) => &images[i * n..(i + 1) * n],
            Pixels::Stored(_) => &[],
        }
    }

    /// Size and mean colour of the images.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        Geometry {
            channels: self.channels,
            height: self.height,
            width: self.width,
            mean_colour: whole_steps(self.mean),
        }
    }

    /// The first `n` images (all of them where there are fewer).
    #[must_use]
    pub fn take(mut self, n: usize) -> Self {
        let n = n.min(self.len());
        let bytes = n * self.image_bytes();
        if let Pixels::Memory(images) = &mut self.images {
            images.truncate(bytes);
        }
        self.labels.truncate(n);
        self
    }

    /// A number that differs where labels, classes or images differ: of images in memory their bytes, of images in files what
    /// [`ImageStore::fingerprint`] tells. Sizes to which files are brought, mean and deviation are settings and change nothing.
    #[must_use]
    pub fn fingerprint(&self) -> u32 {
        let mut sum = crc32fast::Hasher::new();
        for name in &self.class_names {
            sum.update(name.as_bytes());
            sum.update(&[0]);
        }
        self.labels.iter().for_each(|label| sum.update(&label.to_le_bytes()));
        match &self.images {
            Pixels::Memory(images) => {
                [self.channels, self.height, self.width].iter().for_each(|n| sum.update(&(*n as u64).to_le_bytes()));
                sum.update(images);
            }
            Pixels::Stored(store) => sum.update(&store.fingerprint().unwrap_or_default().to_le_bytes()),
        }
        sum.finalize()
    }

    /// What was passed over when images in files were looked for, and why; one line each.
    #[must_use]
    pub fn passed_over(&self) -> &[String] {
        match &self.images {
            Pixels::Memory(_) => &[],
            Pixels::Stored(store) => store.passed_over(),
        }
    }

    /// Mean and standard deviation of each channel as measured over all images in memory, in units where pixels run from 0
    /// to 1; grey repeats its one value. Zeros for an empty set and for one in files.
    #[must_use]
    pub fn channel_stats(&self) -> ([f32; 3], [f32; 3]) {
        let channels = self.channels.clamp(1, 3);
        // Whole-number sums: exact, so the result does not hang on the order of addition.
        let (mut sum, mut square) = ([0u64; 3], [0u64; 3]);
        let images = self.images.in_memory();
        for pixel in images.chunks_exact(channels) {
            for (c, &v) in pixel.iter().enumerate() {
                sum[c] += u64::from(v);
                square[c] += u64::from(v) * u64::from(v);
            }
        }
        let n = (images.len() / channels).max(1) as f64;
        let (mut mean, mut std) = ([0.0; 3], [0.0; 3]);
        for c in 0..3 {
            let from = c.min(channels - 1);
            let m = sum[from] as f64 / n;
            mean[c] = (m / 255.0) as f32;
            std[c] = ((square[from] as f64 / n - m * m).max(0.0).sqrt() / 255.0) as f32;
        }
        (mean, std)
    }

    /// Whether the fields agree: 1 or 3 channels, at least one pixel, image and class, as many pixels as labels say, every
    /// label below the number of classes.
    ///
    /// # Errors
    /// The first disagreement.
    pub fn check(&self) -> Result<(), DataError> {
        let origin = || format!("data set {}", self.name);
        if self.channels != 1 && self.channels != 3 {
            return Err(DataError::Mismatch {
                origin: origin(),
                what: "1 or 3 channels, nearest",
                wanted: if self.channels < 2 { 1 } else { 3 },
                got: self.channels as u64,
            });
        }
        for (n, what) in [
            (self.height, "row of pixels"),
            (self.width, "column of pixels"),
            (self.len(), "image"),
            (self.classes(), "class"),
        ] {
            if n == 0 {
                return Err(DataError::Empty { origin: origin(), what });
            }
        }
        match &self.images {
            Pixels::Memory(images) => self.check_bytes(images.len() as u64)?,
            Pixels::Stored(store) => self.check_store(&**store)?,
        }
        check_labels(&self.labels, self.classes() as u32, &origin())
    }
}

impl Dataset {
    fn check_bytes(&self, got: u64) -> Result<(), DataError> {
        // The fields are anyone's to set: a product that wraps around could match by chance, one that saturates cannot.
        let wanted = [self.height, self.width, self.channels]
            .iter()
            .fold(self.len() as u64, |n, &by| n.saturating_mul(by as u64));
        if got == wanted {
            return Ok(());
        }
        Err(DataError::Mismatch { origin: format!("data set {}", self.name), what: "bytes of pixels", wanted, got })
    }

    /// [`Dataset::take`] leaves more files than labels.
    fn check_store(&self, store: &dyn ImageStore) -> Result<(), DataError> {
        if store.count() >= self.len() {
            return Ok(());
        }
        Err(DataError::Mismatch {
            origin: format!("data set {}", self.name),
            what: "images for as many labels, that is",
            wanted: self.len() as u64,
            got: store.count() as u64,
        })
    }
}

/// Every label below `limit`, or the first that is not.
fn check_labels(labels: &[u32], limit: u32, origin: &str) -> Result<(), DataError> {
    match labels.iter().position(|&v| v >= limit) {
        None => Ok(()),
        Some(record) => Err(DataError::WrongLabel { origin: origin.to_owned(), record, value: labels[record], limit }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> Dataset {
        Dataset {
            name: "tiny".into(),
            images: vec![0, 10, 20, 255, 10, 40, 0, 10, 20, 255, 10, 40].into(),
            labels: vec![0, 1],
            channels: 3,
            height: 1,
            width: 2,
            class_names: vec!["a".into(), "b".into()],
            mean: [0.5, 0.0, 1.0],
            std: [1.0; 3],
        }
    }

    #[test]
    fn images_are_slices() {
        let d = tiny();
        d.check().expect("good");
        assert_eq!(d.image(1), &[0, 10, 20, 255, 10, 40]);
        assert_eq!(d.geometry().mean_colour, [128, 0, 255]);
        assert_eq!(d.take(1).len(), 1);
    }

    #[test]
    fn a_fingerprint_tells_data_sets_apart() {
        let own = tiny().fingerprint();
        assert_eq!(own, tiny().fingerprint());
        let renamed = Dataset { name: "other".into(), mean: [0.0; 3], ..tiny() };
        assert_eq!(own, renamed.fingerprint());
        let mut pixel = tiny();
        let Pixels::Memory(bytes) = &mut pixel.images else { panic!("in memory") };
        bytes[7] ^= 1;
        let changed = [
            pixel,
            tiny().take(1),
            Dataset { labels: vec![1, 0], ..tiny() },
            Dataset { class_names: vec!["b".into(), "a".into()], ..tiny() },
            Dataset { height: 2, width: 1, ..tiny() },
        ];
        for (i, set) in changed.into_iter().enumerate() {
            assert_ne!(own, set.fingerprint(), "change {i}");
        }
    }

    #[test]
    fn measured_statistics() {
        let (mean, std) = tiny().channel_stats();
        let want = [127.5 / 255.0, 10.0 / 255.0, 30.0 / 255.0];
        for c in 0..3 {
            assert!((mean[c] - want[c]).abs() < 1e-6);
        }
        assert!((std[0] - 0.5).abs() < 1e-6 && std[1] == 0.0);
        assert!((std[2] - 10.0 / 255.0).abs() < 1e-6);
        let grey = Dataset { channels: 1, width: 6, ..tiny() };
        let (mean, _) = grey.channel_stats();
        assert!(mean[0] == mean[1] && mean[1] == mean[2]);
    }

    #[test]
    fn disagreements_are_named() {
        let says = |d: Dataset, part: &str| {
            let e = d.check().expect_err("bad").to_string();
            assert!(e.contains(part), "{e}");
        };
        says(Dataset { channels: 2, ..tiny() }, "channels");
        says(Dataset { height: 0, ..tiny() }, "row of pixels");
        says(Dataset { labels: vec![], images: vec![].into(), ..tiny() }, "at least one image");
        says(Dataset { class_names: vec![], ..tiny() }, "class");
        says(Dataset { height: usize::MAX, width: usize::MAX, ..tiny() }, "bytes of pixels 18446744073709551615");
        says(Dataset { images: vec![0; 11].into(), ..tiny() }, "wanted bytes of pixels 12, got 11");
        says(Dataset { labels: vec![0, 2], ..tiny() }, "record 1 has label 2, wanted one below 2");
    }
}
