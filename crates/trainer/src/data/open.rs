//! Data sets from folders and from embedded bytes. With [`super::folder`] and [`super::record`], the only place of this crate
//! that opens data files.
//!
//! Each opener takes the folder of the files or the folder above it, under the names that the official archives and
//! common tools use, packed or plain.

use std::fs;
use std::path::{Path, PathBuf};

use super::cifar::{self, Records};
use super::folder::Half;
use super::idx;
use super::{DataError, Dataset, Splits, folder, record};
use wgrad_datasets::FASHION_MNIST_CLASSES;

/// Largest data file read, in bytes; a larger one is refused before anything is allocated for it.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// Records in each CIFAR-10 file.
const CIFAR10_RECORDS: usize = 10_000;
/// Records in the CIFAR-100 training and test file.
const CIFAR100_RECORDS: [usize; 2] = [50_000, 10_000];

/// Where a data set is kept if nothing else is said: `CACHE/wgrad/NAME`, with the caller's cache folder (`~/.cache` by
/// convention; this crate looks at no environment variable).
///
/// ```
/// use std::path::Path;
/// use wgrad_trainer::data::open::default_folder;
/// let folder = default_folder("cifar10", Path::new("/home/ann/.cache"));
/// assert_eq!(folder, Path::new("/home/ann/.cache/wgrad/cifar-10-batches-bin"));
/// ```
#[must_use]
pub fn default_folder(name: &str, cache: &Path) -> PathBuf {
    let folder = match name {
        "cifar10" => "cifar-10-batches-bin",
        "cifar100" => "cifar-100-binary",
        other => other,
    };
    cache.join("wgrad").join(folder)
}

/// CIFAR-10: 50,000 training and 10,000 test images of 32x32 RGB in 10 classes.
///
/// # Errors
/// A file that is missing, truncated or damaged.
pub fn cifar10(folder: &Path) -> Result<Splits, DataError> {
    cifar10_of(folder, CIFAR10_RECORDS)
}

/// A set of image files or record files, whichever `path` is: a folder with `train` and `val` in it ([`folder::open`]), or the
/// name that was given to `cargo xtask data pack` ([`record::open_splits`]).
///
/// # Errors
/// As those two.
pub fn images(path: &Path, size: usize) -> Result<Splits, DataError> {
    match path.is_dir() {
        true => folder::open(path, size),
        false => record::open_splits(path, size, record::Access::default()),
    }
}

/// One half of a labelled data set of any kind: a folder of images ([`folder::half`]), a list file (`.txt`, `.tsv`) with paths
/// beside it, a record file or the name of two ([`record::open_splits`]), or the folder of CIFAR-10's or CIFAR-100's files. Images
/// of files come to `size` by `size` pixels, those of CIFAR have their own.
///
/// # Errors
/// As the opener of that kind; a list to learn from that lacks a class or has an image twice.
pub fn labelled(path: &Path, size: usize, half: Half) -> Result<Dataset, DataError> {
    let of = |splits: Splits| match half {
        Half::Train => splits.train,
        Half::Val => splits.test,
    };
    if path.is_dir() {
        let holds = |folder: &str, file: &str| path.join(file).exists() || path.join(folder).join(file).exists();
        if holds("cifar-10-batches-bin", "data_batch_1.bin") {
            return cifar10(path).map(of);
        }
        if holds("cifar-100-binary", "train.bin") {
            return cifar100(path).map(of);
        }
        return Ok(folder::half(path, half)?.dataset(size));
    }
    if path.extension().is_some_and(|ending| ending == "txt" || ending == "tsv") {
        let beside = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        return Ok(folder::scan_any_list(path, beside, half == Half::Train)?.dataset(size));
    }
    match path.exists() {
        true => record::open(path, size, record::Access::default()),
        false => record::open_splits(path, size, record::Access::default()).map(of),
    }
}

fn cifar10_of(folder: &Path, records: usize) -> Result<Splits, DataError> {
    let read = |file: &str| -> Result<Records, DataError> {
        let path = find("cifar10", folder, &["cifar-10-batches-bin"], &[file])?;
        let (bytes, origin) = read(&path)?;
        let found = cifar::parse_cifar10(&bytes, &origin)?;
        exact_length(&bytes, records * cifar::CIFAR10_RECORD_BYTES, origin)?;
        Ok(found)
    };
    let mut train = read("data_batch_1.bin")?;
    for i in 2..=5 {
        train.append(read(&format!("data_batch_{i}.bin"))?);
    }
    let test = read("test_batch.bin")?;
    let make = |r: Records| Dataset {
        name: "cifar10".into(),
        images: r.images.into(),
        labels: r.labels,
        channels: 3,
        height: cifar::SIDE,
        width: cifar::SIDE,
        class_names: owned(&cifar::CIFAR10_CLASSES),
        mean: [0.4914, 0.4822, 0.4465],
        std: [0.2470, 0.2435, 0.2616],
    };
    checked(make(train), make(test))
}

/// CIFAR-100 with its 100 fine classes: 50,000 training and 10,000 test images of 32x32 RGB.
///
/// # Errors
/// A file that is missing, truncated or damaged.
pub fn cifar100(folder: &Path) -> Result<Splits, DataError> {
    cifar100_of(folder, CIFAR100_RECORDS, false)
}

/// CIFAR-100 with its 20 coarse classes; otherwise as [`cifar100`].
///
/// # Errors
/// A file that is missing, truncated or damaged.
pub fn cifar100_coarse(folder: &Path) -> Result<Splits, DataError> {
    cifar100_of(folder, CIFAR100_RECORDS, true)
}

fn cifar100_of(folder: &Path, records: [usize; 2], coarse: bool) -> Result<Splits, DataError> {
    let half = |file: &str, n: usize| -> Result<Dataset, DataError> {
        let path = find("cifar100", folder, &["cifar-100-binary"], &[file])?;
        let (bytes, origin) = read(&path)?;
        let found = cifar::parse_cifar100(&bytes, &origin)?;
        exact_length(&bytes, n * cifar::CIFAR100_RECORD_BYTES, origin)?;
        Ok(Dataset {
            name: "cifar100".into(),
            images: found.images.into(),
            labels: if coarse { found.coarse } else { found.labels },
            channels: 3,
            height: cifar::SIDE,
            width: cifar::SIDE,
            class_names: if coarse { owned(&cifar::CIFAR100_COARSE) } else { owned(&cifar::CIFAR100_FINE) },
            mean: [0.5071, 0.4865, 0.4409],
            std: [0.2673, 0.2564, 0.2762],
        })
    };
    checked(half("train.bin", records[0])?, half("test.bin", records[1])?)
}

/// MNIST: handwritten digits, 28x28 grey, 10 classes (60,000 training and 10,000 test images in the full set).
///
/// # Errors
/// A file that is missing, truncated, damaged or of another kind.
pub fn mnist(folder: &Path) -> Result<Splits, DataError> {
    idx_folder(&MNIST, folder)
}

/// Fashion-MNIST: clothing, 28x28 grey, 10 classes (60,000 training and 10,000 test images in the full set).
///
/// # Errors
/// A file that is missing, truncated, damaged or of another kind.
pub fn fashion_mnist(folder: &Path) -> Result<Splits, DataError> {
    idx_folder(&FASHION_MNIST, folder)
}

/// MNIST from the contents of its four idx files, packed or plain.
///
/// # Errors
/// Bytes that are truncated, damaged or of another kind.
pub fn mnist_from_bytes(
    train_images: &[u8],
    train_labels: &[u8],
    test_images: &[u8],
    test_labels: &[u8],
) -> Result<Splits, DataError> {
    embedded(&MNIST, [train_images, train_labels, test_images, test_labels])
}

/// Fashion-MNIST (or the first part of it) from the contents of its four idx files, packed or plain.
///
/// # Errors
/// Bytes that are truncated, damaged or of another kind.
pub fn fashion_mnist_from_bytes(
    train_images: &[u8],
    train_labels: &[u8],
    test_images: &[u8],
    test_labels: &[u8],
) -> Result<Splits, DataError> {
    embedded(&FASHION_MNIST, [train_images, train_labels, test_images, test_labels])
}

/// What differs between the sets that come in MNIST's form.
struct IdxSet {
    name: &'static str,
    subfolders: &'static [&'static str],
    classes: [&'static str; 10],
    mean: f32,
    std: f32,
}

const MNIST: IdxSet = IdxSet {
    name: "mnist",
    subfolders: &["mnist", "MNIST/raw", "raw"],
    classes: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
    mean: 0.1307,
    std: 0.3081,
};

const FASHION_MNIST: IdxSet = IdxSet {
    name: "fashion-mnist",
    subfolders: &["fashion-mnist", "fashion-mnist-12k", "FashionMNIST/raw", "raw"],
    classes: FASHION_MNIST_CLASSES,
    mean: 0.2860,
    std: 0.3530,
};

/// The part of the file name before `-idx3-ubyte`, in the order that [`idx_set`] takes the files.
const IDX_FILES: [(&str, u8); 4] = [("train-images", 3), ("train-labels", 1), ("t10k-images", 3), ("t10k-labels", 1)];

fn idx_folder(set: &IdxSet, folder: &Path) -> Result<Splits, DataError> {
    let mut files = Vec::with_capacity(4);
    for (stem, rank) in IDX_FILES {
        let names = [
            format!("{stem}-idx{rank}-ubyte.gz"),
            format!("{stem}-idx{rank}-ubyte"),
            format!("{stem}.idx{rank}-ubyte"),
        ];
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        files.push(read(&find(set.name, folder, set.subfolders, &names)?)?);
    }
    idx_set(set, [0, 1, 2, 3].map(|i| (files[i].0.as_slice(), files[i].1.as_str())))
}

fn embedded(set: &IdxSet, bytes: [&[u8]; 4]) -> Result<Splits, DataError> {
    let origin = IDX_FILES.map(|(stem, _)| format!("embedded {} {stem}", set.name));
    idx_set(set, [0, 1, 2, 3].map(|i| (bytes[i], origin[i].as_str())))
}

/// Both halves from the four files and their origins.
fn idx_set(set: &IdxSet, files: [(&[u8], &str); 4]) -> Result<Splits, DataError> {
    let half = |images: (&[u8], &str), labels: (&[u8], &str)| -> Result<Dataset, DataError> {
        let found = idx::parse_images(images.0, images.1)?;
        let classes = set.classes.len() as u32;
        let parsed = idx::parse_labels(labels.0, classes, labels.1)?;
        if parsed.len() != found.n {
            return Err(DataError::Mismatch {
                origin: labels.1.to_owned(),
                what: "as many labels as images, that is",
                wanted: found.n as u64,
                got: parsed.len() as u64,
            });
        }
        Ok(Dataset {
            name: set.name.into(),
            images: found.pixels.into(),
            labels: parsed,
            channels: 1,
            height: found.height,
            width: found.width,
            class_names: owned(&set.classes),
            mean: [set.mean; 3],
            std: [set.std; 3],
        })
    };
    let [train_images, train_labels, test_images, test_labels] = files;
    let splits = Splits { train: half(train_images, train_labels)?, test: half(test_images, test_labels)? };
    for (what, wanted, got) in [
        ("test images of the training images' height", splits.train.height, splits.test.height),
        ("test images of the training images' width", splits.train.width, splits.test.width),
    ] {
        if wanted != got {
            let origin = test_images.1.to_owned();
            return Err(DataError::Mismatch { origin, what, wanted: wanted as u64, got: got as u64 });
        }
    }
    checked(splits.train, splits.test)
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&s| s.to_owned()).collect()
}

fn checked(train: Dataset, test: Dataset) -> Result<Splits, DataError> {
    train.check()?;
    test.check()?;
    Ok(Splits { train, test })
}

/// The first of `names` that exists in `folder` or one of `subfolders`.
fn find(dataset: &'static str, folder: &Path, subfolders: &[&str], names: &[&str]) -> Result<PathBuf, DataError> {
    let folders = std::iter::once(folder.to_owned()).chain(subfolders.iter().map(|s| folder.join(s)));
    for candidate in folders {
        for name in names {
            let path = candidate.join(name);
            // Anything but "not there" counts as found: the read that follows says what is wrong with it.
            if !matches!(fs::metadata(&path), Err(e) if absent(&e)) {
                return Ok(path);
            }
        }
    }
    Err(DataError::Missing {
        dataset,
        wanted: names.iter().map(|&n| n.to_owned()).collect(),
        folder: folder.to_owned(),
    })
}

fn absent(e: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(e.kind(), NotFound | NotADirectory)
}

/// The bytes of a file and its path as it stands in messages.
fn read(path: &Path) -> Result<(Vec<u8>, String), DataError> {
    let unreadable = |source| DataError::Unreadable { path: path.to_owned(), source };
    // Asked before opening: to open a pipe without a writer would hang.
    let meta = fs::metadata(path).map_err(unreadable)?;
    let origin = path.display().to_string();
    if !meta.is_file() {
        return Err(DataError::NotAFile { path: path.to_owned() });
    }
    if meta.len() > MAX_FILE_BYTES {
        return Err(DataError::TooLarge { origin, what: "data file", limit: MAX_FILE_BYTES, got: meta.len() });
    }
    Ok((fs::read(path).map_err(unreadable)?, origin))
}

/// Whole records are not enough: a file cut at a record's end must not pass for a smaller data set.
fn exact_length(bytes: &[u8], wanted: usize, origin: String) -> Result<(), DataError> {
    let (wanted, got) = (wanted as u64, bytes.len() as u64);
    match got.cmp(&wanted) {
        std::cmp::Ordering::Less => Err(DataError::Truncated { origin, what: "records", wanted, got }),
        std::cmp::Ordering::Greater => Err(DataError::TrailingBytes { origin, wanted, got }),
        std::cmp::Ordering::Equal => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn idx(dims: &[u32], data: &[u8]) -> Vec<u8> {
        let mut v = vec![0, 0, 8, dims.len() as u8];
        for d in dims {
            v.extend(d.to_be_bytes());
        }
        v.extend(data);
        v
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        e.write_all(bytes).expect("memory");
        e.finish().expect("memory")
    }

    fn cifar_file(labels: usize, records: usize) -> Vec<u8> {
        let mut v = Vec::new();
        for i in 0..records {
            v.extend(std::iter::repeat_n(i as u8 % 10, labels));
            v.extend([i as u8; cifar::IMAGE_BYTES]);
        }
        v
    }

    #[test]
    fn cifar10_from_the_folder_or_the_one_above() {
        let dir = tempfile::tempdir().expect("tmp");
        let sub = dir.path().join("cifar-10-batches-bin");
        fs::create_dir(&sub).expect("mkdir");
        for f in ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"] {
            fs::write(sub.join(format!("{f}.bin")), cifar_file(1, 3)).expect("write");
        }
        let e = cifar10_of(dir.path(), 3).expect_err("no test file").to_string();
        for part in ["test_batch.bin", "cargo xtask data cifar10", "--data FOLDER"] {
            assert!(e.contains(part), "{e}");
        }
        fs::write(sub.join("test_batch.bin"), cifar_file(1, 3)).expect("write");
        let a = cifar10_of(dir.path(), 3).expect("above");
        assert_eq!(a, cifar10_of(&sub, 3).expect("itself"));
        assert_eq!((a.train.len(), a.test.len()), (15, 3));
        assert_eq!(a.train.labels[3..6], [0, 1, 2]);
        let e = cifar10_of(&sub, 4).expect_err("cut at a record's end");
        assert!(matches!(e, DataError::Truncated { .. }), "{e}");
        let e = cifar10_of(&sub, 2).expect_err("too long");
        assert!(matches!(e, DataError::TrailingBytes { .. }), "{e}");
    }

    #[test]
    fn cifar100_fine_and_coarse() {
        let dir = tempfile::tempdir().expect("tmp");
        fs::write(dir.path().join("train.bin"), cifar_file(2, 4)).expect("write");
        fs::write(dir.path().join("test.bin"), cifar_file(2, 2)).expect("write");
        let fine = cifar100_of(dir.path(), [4, 2], false).expect("fine");
        let coarse = cifar100_of(dir.path(), [4, 2], true).expect("coarse");
        assert_eq!((fine.train.classes(), coarse.train.classes()), (100, 20));
        assert_eq!((fine.train.len(), fine.test.len()), (4, 2));
    }

    #[test]
    fn mnist_packed_plain_and_by_other_names() {
        let dir = tempfile::tempdir().expect("tmp");
        let put = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).expect("write");
        put("train-images-idx3-ubyte.gz", &gz(&idx(&[3, 2, 2], &[9; 12])));
        put("train-labels-idx1-ubyte", &idx(&[3], &[1, 2, 3]));
        put("t10k-images.idx3-ubyte", &idx(&[1, 2, 2], &[9; 4]));
        put("t10k-labels-idx1-ubyte", &idx(&[1], &[1]));
        let s = mnist(dir.path()).expect("good");
        assert_eq!((s.train.len(), s.test.len(), s.train.image_bytes()), (3, 1, 4));
        put("train-labels-idx1-ubyte", &idx(&[2], &[1, 2]));
        let e = mnist(dir.path()).expect_err("counts").to_string();
        assert!(e.contains("train-labels") && e.contains("3, got 2"), "{e}");
        put("train-labels-idx1-ubyte", &idx(&[3], &[1, 2, 3]));
        put("t10k-images.idx3-ubyte", &idx(&[1, 2, 3], &[9; 6]));
        let e = mnist(dir.path()).expect_err("sizes").to_string();
        assert!(e.contains("t10k-images") && e.contains("width 2, got 3"), "{e}");
    }

    #[test]
    fn a_folder_that_is_not_there_or_holds_a_folder_as_file() {
        let dir = tempfile::tempdir().expect("tmp");
        let e = fashion_mnist(&dir.path().join("nothing")).expect_err("missing");
        let text = e.to_string();
        assert!(matches!(e, DataError::Missing { .. }));
        assert!(text.contains("train-images-idx3-ubyte.gz") && text.contains("xtask data fashion-mnist"), "{text}");
        fs::create_dir(dir.path().join("train-images-idx3-ubyte.gz")).expect("mkdir");
        let e = fashion_mnist(dir.path()).expect_err("folder");
        assert!(matches!(e, DataError::NotAFile { .. }), "{e}");
    }

    #[test]
    fn embedded_bytes_are_named_in_messages() {
        let images = gz(&idx(&[1, 2, 2], &[9; 4]));
        let labels = gz(&idx(&[1], &[1]));
        let s = fashion_mnist_from_bytes(&images, &labels, &images, &labels).expect("good");
        assert_eq!(s.train.class_names[s.train.labels[0] as usize], "Trouser");
        let e = fashion_mnist_from_bytes(&images, &labels, &images[..20], &labels).expect_err("cut");
        assert!(e.to_string().contains("embedded fashion-mnist t10k-images"), "{e}");
    }

    #[test]
    fn default_folders() {
        let at = |name| default_folder(name, Path::new("c"));
        assert_eq!(at("cifar10"), Path::new("c/wgrad/cifar-10-batches-bin"));
        assert_eq!(at("mnist"), Path::new("c/wgrad/mnist"));
    }
}
