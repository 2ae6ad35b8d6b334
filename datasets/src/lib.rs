//! The data that wgrad brings along, and the manifest of the data it knows where to find.
//!
//! [`FASHION_MNIST_12K`] is compiled into the binary, so that the first training run needs no download.
//! [`DATASETS`] is a table: which files a data set consists of, where they come from, how long they are and what their
//! SHA-256 sums are. This crate holds data only: it opens no file and no connection (`cargo xtask data` does).

mod manifest;

pub use manifest::DATASETS;

/// One file with what is needed to recognise it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    /// File name, without a folder.
    pub name: &'static str,
    /// Addresses that serve it, the official one first; empty where the file comes out of an [`Archive`].
    pub urls: &'static [&'static str],
    /// Its exact length.
    pub bytes: u64,
    /// Its SHA-256 sum, 64 lower-case hexadecimal digits.
    pub sha256: &'static str,
}

/// A `.tar.gz` that holds the files of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Archive {
    /// The archive itself.
    pub file: File,
    /// The folder inside the archive in which the files stand.
    pub folder: &'static str,
}

/// A data set: its files, where they come from, and under which terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// Short name, as `cargo xtask data` takes it.
    pub name: &'static str,
    /// One line for people: images, size, classes.
    pub title: &'static str,
    /// Folder below `~/.cache/wgrad/` in which the files stand by default.
    pub folder: &'static str,
    /// The archive that holds the files, if they are not served one by one.
    pub archive: Option<Archive>,
    /// The files that make the data set complete.
    pub files: &'static [File],
    /// The authors' page.
    pub homepage: &'static str,
    /// Terms of use, as far as the authors state any.
    pub licence: &'static str,
    /// What to cite.
    pub citation: &'static str,
}

/// The data set called `name`, if the manifest has it.
///
/// ```
/// let cifar = wgrad_datasets::find("cifar10").expect("the manifest has CIFAR-10");
/// assert_eq!(cifar.files.len(), 6);
/// ```
pub fn find(name: &str) -> Option<&'static Dataset> {
    DATASETS.iter().find(|dataset| dataset.name == name)
}

/// A data set inside the binary: four gzipped idx files.
#[derive(Clone, Copy)]
pub struct Embedded {
    /// Training images: idx3 of u8, gzipped.
    pub train_images: &'static [u8],
    /// Training labels: idx1 of u8, gzipped.
    pub train_labels: &'static [u8],
    /// Test images: idx3 of u8, gzipped.
    pub test_images: &'static [u8],
    /// Test labels: idx1 of u8, gzipped.
    pub test_labels: &'static [u8],
}

/// The first 12,000 training and the first 2,000 test images of Fashion-MNIST (28x28 grey, 10 classes; MIT licence,
/// Zalando SE).
pub const FASHION_MNIST_12K: Embedded = Embedded {
    train_images: include_bytes!("../fashion-mnist-12k/train-images-idx3-ubyte.gz"),
    train_labels: include_bytes!("../fashion-mnist-12k/train-labels-idx1-ubyte.gz"),
    test_images: include_bytes!("../fashion-mnist-12k/t10k-images-idx3-ubyte.gz"),
    test_labels: include_bytes!("../fashion-mnist-12k/t10k-labels-idx1-ubyte.gz"),
};

/// The class names of Fashion-MNIST, by label.
pub const FASHION_MNIST_CLASSES: [&str; 10] =
    ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    fn hex(bytes: &[u8]) -> String {
        Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_embedded_set_is_what_was_committed() {
        let set = FASHION_MNIST_12K;
        for (bytes, sum) in [
            (set.train_images, "38b5bed2a48ed1596268a7a1b682f1538007195ad3f474f26426e16cf8a3279d"),
            (set.train_labels, "8c5eae32362ec0b6b1a9e38fc0eb86038140db321c2eb636f7caf2216ceb1294"),
            (set.test_images, "34b6848fb35a59e5287bf485522433dfd8bd017eb126fde6f02e96123c8ff741"),
            (set.test_labels, "6a1ad38ad7d33240e59f70a44ddce4e9483e573ffad983d287064bd467dcbd4e"),
        ] {
            assert_eq!(hex(bytes), sum);
        }
    }

    #[test]
    fn every_entry_of_the_manifest_is_complete() {
        for dataset in DATASETS {
            let archive = dataset.archive.map(|archive| archive.file);
            assert!(!dataset.files.is_empty(), "{}", dataset.name);
            for text in [dataset.title, dataset.folder, dataset.homepage] {
                assert!(!text.is_empty(), "{}", dataset.name);
            }
            assert!(!dataset.licence.is_empty() && !dataset.citation.is_empty());
            for file in dataset.files.iter().chain(archive.iter()) {
                let digits = file.sha256.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
                assert!(digits && file.sha256.len() == 64, "{}", file.name);
                assert!(file.bytes > 0, "{}", file.name);
                assert!(!file.name.contains(['/', '\\']), "{}", file.name);
            }
            let served_alone = dataset.files.iter().all(|file| !file.urls.is_empty());
            let served_as_archive = archive.is_some_and(|file| !file.urls.is_empty());
            assert!(served_alone != served_as_archive, "{}", dataset.name);
        }
    }

    #[test]
    fn names_are_unique_and_found() {
        for dataset in DATASETS {
            assert_eq!(find(dataset.name), Some(dataset));
            let same = DATASETS.iter().filter(|other| other.folder == dataset.folder);
            assert_eq!(same.count(), 1, "{}", dataset.folder);
        }
        assert_eq!(find("no-such-set"), None);
    }
}
