//! What is fuzzed: each parser on any bytes, as they are and, where sums or lengths would keep damage from coming far, with these
//! put right. The bodies use nothing of the fuzzer, so a test of the workspace runs them on the seeds, too.

use std::collections::BTreeMap;
use wgrad_tensor::Shape;
use wgrad_tensor::tune::Table;
use wgrad_trainer::data::{Dataset, Pixels, cifar, classes, decode, idx, list, record};
use wgrad_trainer::{Checkpoint, EpochRecord, ModelCard, Pattern, Precision, StepRecord, Weights};

/// The most pixels of an image.
const MAX_PIXELS: u64 = 1 << 20;

/// Images and labels in MNIST's form.
pub fn idx(bytes: &[u8]) {
    if let Ok(images) = idx::parse_images(bytes, "f") {
        assert_eq!(images.pixels.len(), images.n * images.height * images.width);
    }
    if let Ok(labels) = idx::parse_labels(bytes, 10, "f") {
        assert!(!labels.is_empty() && labels.iter().all(|&label| label < 10));
    }
}

/// Records of CIFAR-10 and CIFAR-100.
pub fn cifar(bytes: &[u8]) {
    for parsed in [cifar::parse_cifar10(bytes, "f"), cifar::parse_cifar100(bytes, "f")].into_iter().flatten() {
        assert_eq!(parsed.images.len(), parsed.labels.len() * cifar::IMAGE_BYTES);
    }
}

/// List files.
pub fn list(bytes: &[u8]) {
    if let Ok(list) = list::parse(bytes, "f") {
        assert_eq!(list.paths.len(), list.labels.len());
        assert!(list.labels.iter().all(|&label| (label as usize) < list.class_names.len()));
        assert_eq!(list.paths.len(), list.lines.len());
        let _ = list.check_training("f");
    }
}

/// Files that name classes, and what is done with them: names for a network, labels for a data set.
pub fn classes(bytes: &[u8]) {
    let Ok(found) = classes::parse(bytes, "f") else { return };
    assert!(!found.classes.is_empty());
    let count = found.classes.iter().map(|class| class.index as usize + 1).max().unwrap_or_default();
    let names = found.names(count, "f").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(names.len(), count);
    assert!(found.names(count - 1, "f").is_err());
    let class_names: Vec<String> = found.classes.iter().take(16).map(|class| class.folder.clone()).collect();
    let set = Dataset {
        name: "set".to_owned(),
        images: Pixels::Memory(vec![0; class_names.len()]),
        labels: (0..class_names.len() as u32).collect(),
        channels: 1,
        height: 1,
        width: 1,
        class_names,
        mean: [0.5; 3],
        std: [0.5; 3],
    };
    for given in [Some(&found), None] {
        if let Ok(set) = set.clone().with_labels_of(&names, given) {
            set.check().unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

/// What a model file says about its use: lines with its preprocessing, classes and network. What is read is written and read again.
pub fn model_card(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let keys = ["preprocessing", "classes", "architecture"].map(str::to_owned);
    let metadata: BTreeMap<String, String> = keys.into_iter().zip(text.splitn(3, '\n').map(str::to_owned)).collect();
    let Ok(Some(card)) = ModelCard::from_metadata(&metadata, "f") else { return };
    let mut written = BTreeMap::new();
    card.put(&mut written);
    let again = ModelCard::from_metadata(&written, "f");
    assert_eq!(again.unwrap_or_else(|error| panic!("{error}")), Some(card));
}

/// Record files.
pub fn record(bytes: &[u8]) {
    record_file(bytes);
    record_file(&with_sums(bytes));
}

fn record_file(bytes: &[u8]) {
    let Ok(header) = record::parse::header(bytes, bytes.len() as u64, "f") else { return };
    // The header has been compared with the length: these parts are there.
    let at = record::HEADER_BYTES + header.meta_bytes as usize;
    let Ok(meta) = record::parse::meta(&bytes[record::HEADER_BYTES..at], &header, "f") else { return };
    let index = &bytes[header.index_at_byte as usize..];
    let Ok(entries) = record::parse::index(index, &header, meta.class_names.len() as u32, "f") else { return };
    assert_eq!(entries.len() as u64, header.records);
    for entry in entries {
        let from = entry.at_byte as usize;
        let content = &bytes[from..from + entry.bytes as usize];
        if record::parse::record(content, &entry, "f").is_ok()
            && let record::parse::Kind::Raw { width, height } = entry.kind
        {
            assert_eq!(content.len(), 3 * usize::from(width) * usize::from(height));
        }
    }
}

/// A record file whose magic, version, length and sums are right.
fn with_sums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if bytes.len() < record::HEADER_BYTES {
        return bytes;
    }
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i])) as usize;
    let length = bytes.len();
    bytes[..4].copy_from_slice(&record::MAGIC.to_be_bytes());
    bytes[4..8].copy_from_slice(&record::VERSION.to_le_bytes());
    bytes[28..36].copy_from_slice(&(length as u64).to_le_bytes());
    let meta = record::HEADER_BYTES..(record::HEADER_BYTES + word(&bytes, 8)).min(length);
    let index = word(&bytes, 20).min(length)..length;
    for (at, part) in [(36, meta), (40, index)] {
        let sum = crc32fast::hash(&bytes[part]);
        bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
    }
    let sum = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Weights of any format: what is read is written and read again.
fn weights(bytes: &[u8]) {
    if let Ok(weights) = Weights::parse(bytes, "f") {
        for array in weights.tensors.values() {
            assert_eq!(array.data.len(), array.shape.numel());
        }
        let written = weights.to_bytes();
        let again = Weights::parse(&written, "f").unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(again.to_bytes(), written);
    }
}

/// Safetensors: as they are, and with a header as long as it is up to the first zero byte.
pub fn safetensors(bytes: &[u8]) {
    weights(bytes);
    let header = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    weights(&[&(header as u64).to_le_bytes(), bytes].concat());
}

/// Weights of PyTorch: an archive as it is, and an archive of a pickle that is the first half of the bytes, with storages of
/// the second half.
pub fn pth_zip(bytes: &[u8]) {
    weights(bytes);
    let (pickle, storage) = bytes.split_at(bytes.len() - bytes.len() / 4);
    weights(&archive(&[
        ("a/data.pkl", pickle),
        ("a/data/0", storage),
        ("a/data/1", storage),
        ("a/byteorder", b"little"),
    ]));
}

/// A zip archive of members that are stored as they are.
pub fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in members {
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        common.extend(crc32fast::hash(content).to_le_bytes());
        common.extend((content.len() as u32).to_le_bytes());
        common.extend((content.len() as u32).to_le_bytes());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend((bytes.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        bytes.extend(b"PK\x03\x04");
        bytes.extend(&common);
        bytes.extend(name.as_bytes());
        bytes.extend(*content);
    }
    let start = bytes.len() as u32;
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend([members.len() as u8, 0, members.len() as u8, 0]);
    bytes.extend((directory.len() as u32).to_le_bytes());
    bytes.extend(start.to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}

/// Weights of PyTorch before 1.6: pickles one after another, as they are and behind the first of them.
pub fn pth_legacy(bytes: &[u8]) {
    weights(bytes);
    let start = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}q\0.";
    weights(&[start, bytes].concat());
}

/// Caffe's weights: as they are, and as one layer.
pub fn caffemodel(bytes: &[u8]) {
    weights(bytes);
    let mut layer = vec![0xa2, 0x06];
    let mut length = bytes.len();
    while length > 0x7f {
        layer.push(length as u8 | 0x80);
        length >>= 7;
    }
    layer.push(length as u8);
    weights(&[&layer, bytes].concat());
}

/// Checkpoints.
pub fn checkpoint(bytes: &[u8]) {
    let Ok(checkpoint) = Checkpoint::parse(bytes, "f") else { return };
    let _ = checkpoint.meta("f");
    let _ = checkpoint.not_finite();
    let wanted = [("conv.weight".to_string(), Shape::from([2, 1, 3, 3]))];
    let _ = checkpoint.difference(&wanted).map(|difference| difference.to_string());
    let written = checkpoint.to_bytes();
    let again = Checkpoint::parse(&written, "f").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(again.to_bytes(), written);
}

/// Tables of measured algorithms.
pub fn table(bytes: &[u8]) {
    let Ok(table) = Table::parse(bytes) else { return };
    let written = table.to_json();
    let again = Table::parse(written.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(again.len(), table.len());
    assert_eq!(again.to_json(), written);
}

/// Image files.
pub fn image(bytes: &[u8]) {
    if let Ok(picture) = decode::decode_at_most(bytes, MAX_PIXELS, "f") {
        assert!(picture.width > 0 && picture.height > 0 && picture.width * picture.height <= MAX_PIXELS as usize);
        assert_eq!(picture.pixels.len(), 3 * picture.width * picture.height);
    }
}

/// What is given as text: precisions, patterns, records of a log.
pub fn text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = text.parse::<Precision>();
    if let Some((pattern, name)) = text.split_once('\n') {
        let found = Pattern::new(pattern).matches(name);
        assert!(!pattern.bytes().all(|byte| byte == b'*') || pattern.is_empty() || found);
    }
    if let Ok(record) = serde_json::from_str::<EpochRecord>(text) {
        assert!(!record.csv().contains('\n'));
    }
    if let Ok(record) = serde_json::from_str::<StepRecord>(text) {
        assert!(!record.csv().contains('\n'));
    }
    let _ = serde_json::from_str::<BTreeMap<String, Pattern>>(text);
}
