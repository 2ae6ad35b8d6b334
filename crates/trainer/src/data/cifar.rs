//! The official binary form of CIFAR-10 and CIFAR-100.
//!
//! A file is a row of records with nothing around them. A record is its label bytes (CIFAR-10: the class; CIFAR-100: the
//! coarse class, then the fine class) and 3072 bytes of pixels: the red plane of 32 rows of 32, then green, then blue.
//! Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009, and the data's own page.

use super::{DataError, check_labels};

/// Rows and columns of an image.
pub const SIDE: usize = 32;
/// Bytes of one image.
pub const IMAGE_BYTES: usize = 3 * SIDE * SIDE;
/// Bytes of one CIFAR-10 record.
pub const CIFAR10_RECORD_BYTES: usize = 1 + IMAGE_BYTES;
/// Bytes of one CIFAR-100 record.
pub const CIFAR100_RECORD_BYTES: usize = 2 + IMAGE_BYTES;

/// What one or more files held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// Pixels, shape `[n, 32, 32, 3]`.
    pub images: Vec<u8>,
    /// Class of each image (CIFAR-100: one of 100 fine classes).
    pub labels: Vec<u32>,
    /// CIFAR-100: one of 20 coarse classes of each image. Empty for CIFAR-10.
    pub coarse: Vec<u32>,
}

impl Records {
    /// Adds the records of another file behind these.
    pub fn append(&mut self, mut other: Self) {
        self.images.append(&mut other.images);
        self.labels.append(&mut other.labels);
        self.coarse.append(&mut other.coarse);
    }
}

/// Reads the bytes of one CIFAR-10 file; `origin` names them in messages.
///
/// # Errors
/// No record, a partial last record, or a label above 9.
pub fn parse_cifar10(bytes: &[u8], origin: &str) -> Result<Records, DataError> {
    let mut records = Records::default();
    for record in split(bytes, CIFAR10_RECORD_BYTES, origin)? {
        records.labels.push(u32::from(record[0]));
        push_image(&record[1..], &mut records.images);
    }
    check_labels(&records.labels, 10, origin)?;
    Ok(records)
}

/// Reads the bytes of one CIFAR-100 file; `origin` names them in messages.
///
/// # Errors
/// No record, a partial last record, a fine label above 99 or a coarse label above 19.
pub fn parse_cifar100(bytes: &[u8], origin: &str) -> Result<Records, DataError> {
    let mut records = Records::default();
    for record in split(bytes, CIFAR100_RECORD_BYTES, origin)? {
        records.coarse.push(u32::from(record[0]));
        records.labels.push(u32::from(record[1]));
        push_image(&record[2..], &mut records.images);
    }
    check_labels(&records.coarse, 20, origin)?;
    check_labels(&records.labels, 100, origin)?;
    Ok(records)
}

fn split<'a>(bytes: &'a [u8], record_bytes: usize, origin: &str) -> Result<std::slice::ChunksExact<'a, u8>, DataError> {
    if bytes.is_empty() {
        return Err(DataError::Empty { origin: origin.to_owned(), what: "record" });
    }
    if !bytes.len().is_multiple_of(record_bytes) {
        return Err(DataError::Truncated {
            origin: origin.to_owned(),
            what: "whole records",
            wanted: bytes.len().next_multiple_of(record_bytes) as u64,
            got: bytes.len() as u64,
        });
    }
    Ok(bytes.chunks_exact(record_bytes))
}

/// Three colour planes to pixels of three colours.
fn push_image(planes: &[u8], images: &mut Vec<u8>) {
    let (red, rest) = planes.split_at(SIDE * SIDE);
    let (green, blue) = rest.split_at(SIDE * SIDE);
    for ((&r, &g), &b) in red.iter().zip(green).zip(blue) {
        images.extend_from_slice(&[r, g, b]);
    }
}

/// The ten classes of CIFAR-10, in label order.
pub const CIFAR10_CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// The hundred fine classes of CIFAR-100, in label order.
#[rustfmt::skip]
pub const CIFAR100_FINE: [&str; 100] = [
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
    "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
    "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur",
    "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard",
    "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain",
    "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
    "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket",
    "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider",
    "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor",
    "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
];

/// The twenty coarse classes of CIFAR-100, in label order.
#[rustfmt::skip]
pub const CIFAR100_COARSE: [&str; 20] = [
    "aquatic_mammals", "fish", "flowers", "food_containers", "fruit_and_vegetables",
    "household_electrical_devices", "household_furniture", "insects", "large_carnivores",
    "large_man-made_outdoor_things", "large_natural_outdoor_scenes", "large_omnivores_and_herbivores",
    "medium_mammals", "non-insect_invertebrates", "people", "reptiles", "small_mammals", "trees",
    "vehicles_1", "vehicles_2",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn record(labels: &[u8]) -> Vec<u8> {
        let mut r = labels.to_vec();
        r.extend((0..IMAGE_BYTES).map(|i| (i / 1024 * 80 + i % 64) as u8));
        r
    }

    #[test]
    fn planes_become_pixels() {
        let bytes = [record(&[3]), record(&[9])].concat();
        let r = parse_cifar10(&bytes, "f").expect("good");
        assert_eq!(r.labels, [3, 9]);
        assert_eq!(r.images.len(), 2 * IMAGE_BYTES);
        assert_eq!(&r.images[..6], &[0, 80, 160, 1, 81, 161]);
        // Row 1, column 2 of image 1 stands at plane offset 34.
        let at = IMAGE_BYTES + 3 * 34;
        assert_eq!(&r.images[at..at + 3], &[34, 114, 194]);
    }

    #[test]
    fn cifar100_has_coarse_then_fine() {
        let r = parse_cifar100(&record(&[19, 99]), "f").expect("good");
        assert_eq!((r.coarse, r.labels), (vec![19], vec![99]));
    }

    #[test]
    fn bad_bytes_are_named() {
        let good = record(&[3]);
        let e = parse_cifar10(&good[..3000], "f").expect_err("short").to_string();
        assert!(e.contains("truncated") && e.contains("3073") && e.contains("3000"), "{e}");
        let e = parse_cifar10(&[], "f").expect_err("empty").to_string();
        assert!(e.contains("at least one record"), "{e}");
        let e = parse_cifar10(&[good, record(&[10])].concat(), "f").expect_err("label");
        assert!(matches!(e, DataError::WrongLabel { record: 1, value: 10, limit: 10, .. }));
        let e = parse_cifar100(&record(&[20, 0]), "f").expect_err("coarse");
        assert!(matches!(e, DataError::WrongLabel { value: 20, limit: 20, .. }));
        let e = parse_cifar100(&record(&[0, 100]), "f").expect_err("fine");
        assert!(matches!(e, DataError::WrongLabel { value: 100, limit: 100, .. }));
    }

    #[test]
    fn class_names_are_in_order() {
        assert!(CIFAR100_FINE.is_sorted() && CIFAR100_COARSE.is_sorted() && CIFAR10_CLASSES.is_sorted());
    }
}
