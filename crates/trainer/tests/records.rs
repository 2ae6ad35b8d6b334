//! Record files: the same batches as the folder they were made from, and what damaged ones do.

mod images;

use images::{data_set, jpeg, picture, png, put};
use std::fs;
use std::io::{Cursor as Memory, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use wgrad_tensor::philox::Stream;
use wgrad_trainer::data::folder;
use wgrad_trainer::data::open;
use wgrad_trainer::data::record::parse::{self, Header, Meta};
use wgrad_trainer::data::record::{self, Access, HEADER_BYTES, Payload, RecordStore, Writer};
use wgrad_trainer::{Augment, Batch, DataError, Dataset, Loader, LoaderOptions, Pixels, View};

fn batches(set: Dataset) -> Vec<Batch> {
    let augment = Augment::none().view(View::RANDOM_RESIZED).flip().trivial();
    let loader = Loader::new(Arc::new(set), LoaderOptions::train(4, 3).augment(augment)).expect("good");
    loader.epoch(1).map(|batch| batch.expect("batch")).collect()
}

fn store(set: &Dataset) -> &dyn wgrad_trainer::data::ImageStore {
    match &set.images {
        Pixels::Stored(store) => &**store,
        Pixels::Memory(_) => panic!("in files"),
    }
}

fn meta(set: &Dataset, shard: u32, shards: u32) -> Meta {
    Meta { name: set.name.clone(), class_names: set.class_names.clone(), shard, shards, ..Meta::default() }
}

/// Packs a half of a data set as `xtask data pack` does.
fn pack(set: &Dataset, path: &Path, shards: u32, shorter: usize, raw: bool) {
    for shard in 0..shards {
        let n = set.len();
        let part = |k: u32| n * k as usize / shards as usize;
        let path = record::shard_name(path, shard, shards);
        record::write_file::<DataError>(&path, &meta(set, shard, shards), |writer| {
            for i in part(shard)..part(shard + 1) {
                let payload = record::payload(store(set), i, shorter, raw)?;
                writer.push(&payload, set.labels[i]).expect("written");
            }
            Ok(())
        })
        .expect("packed");
    }
}

#[test]
fn identical_pixels_give_identical_batches() {
    let dir = tempfile::tempdir().expect("tmp");
    data_set(dir.path(), 2, 9);
    let splits = folder::open(dir.path(), 16).expect("good");
    let wanted = batches(splits.train.clone());
    for (name, shards, raw) in [("files", 1, false), ("raw", 1, true), ("sharded", 3, false), ("both", 4, true)] {
        let base = dir.path().join(format!("{name}.wgr"));
        pack(&splits.train, &dir.path().join(format!("{name}-train.wgr")), shards, 0, raw);
        pack(&splits.test, &dir.path().join(format!("{name}-val.wgr")), shards, 0, raw);
        for access in [Access::Positions, Access::Memory] {
            let got = record::open_splits(&base, 16, access).expect("good");
            assert_eq!(got.train.labels, splits.train.labels, "{name}");
            assert_eq!(got.test.class_names, splits.test.class_names, "{name}");
            assert!(batches(got.train) == wanted, "{name} {access:?}");
        }
        let got = open::images(&base, 16).expect("good");
        assert_eq!(got.test.len(), 18);
        assert!(store(&got.train).fingerprint().is_some());
    }
}

#[test]
fn a_thousand_shards_are_found_and_some_may_be_empty() {
    let dir = tempfile::tempdir().expect("tmp");
    let meta = |shard| Meta { name: "s".into(), class_names: vec!["a".into()], shard, shards: 1200, ..Meta::default() };
    let bytes = png(&picture(4, 4, 1));
    for half in ["train", "val"] {
        for shard in 0..1200 {
            let path = record::shard_name(&dir.path().join(format!("x-{half}.wgr")), shard, 1200);
            let mut writer = Writer::new(Memory::new(Vec::new()), &meta(shard)).expect("memory");
            if shard == 7 || shard == 1198 {
                writer.push(&Payload::File(bytes.clone()), 0).expect("memory");
            }
            fs::write(path, writer.finish().expect("memory").into_inner()).expect("written");
        }
    }
    let got = record::open_splits(&dir.path().join("x.wgr"), 4, Access::Memory).expect("found");
    assert_eq!((got.train.len(), got.test.len()), (2, 2));
    for i in 0..2 {
        assert_eq!(store(&got.train).picture(i).expect("there").width, 4);
    }
    assert!(store(&got.train).origin(1).contains("01198-of-01200"), "{}", store(&got.train).origin(1));
    assert!(store(&got.train).picture(2).is_err());
    // Nothing at all is no data set.
    for shard in 0..2 {
        let path = record::shard_name(&dir.path().join("none.wgr"), shard, 2);
        let meta = Meta { shards: 2, ..meta(shard) };
        let writer = Writer::new(Memory::new(Vec::new()), &meta).expect("memory");
        fs::write(path, writer.finish().expect("memory").into_inner()).expect("written");
    }
    let path = record::shard_name(&dir.path().join("none.wgr"), 0, 2);
    assert!(matches!(record::open(&path, 4, Access::Positions), Err(DataError::Empty { .. })));
}

#[test]
fn resizing_shortens_the_shorter_side_and_never_lengthens_it() {
    let dir = tempfile::tempdir().expect("tmp");
    put(dir.path(), "a/1.png", &png(&picture(60, 40, 1)));
    put(dir.path(), "b/1.jpg", &jpeg(&picture(20, 30, 2)));
    let set = folder::scan(dir.path()).expect("good").dataset(16);
    for raw in [false, true] {
        let path = dir.path().join(format!("{raw}.wgr"));
        pack(&set, &path, 1, 24, raw);
        let got = record::open(&path, 16, Access::Positions).expect("good");
        let sizes = [0, 1].map(|i| store(&got).picture(i).map(|p| (p.width, p.height)).expect("good"));
        assert_eq!(sizes, [(36, 24), (20, 30)]);
        // Packing what was packed changes nothing more.
        let again = dir.path().join(format!("{raw}-again.wgr"));
        pack(&got, &again, 1, 24, raw);
        let again = record::open(&again, 16, Access::Positions).expect("good");
        assert_eq!(store(&again).picture(0).expect("good"), store(&got).picture(0).expect("good"));
    }
}

#[test]
fn a_file_is_written_whole_or_not_at_all() {
    let dir = tempfile::tempdir().expect("tmp");
    let path = dir.path().join("x.wgr");
    let meta = Meta { name: "x".into(), class_names: vec!["a".into()], shards: 1, ..Meta::default() };
    let stopped = record::write_file::<DataError>(&path, &meta, |_| {
        Err(DataError::Empty { origin: "here".into(), what: "image" })
    });
    assert!(stopped.is_err());
    assert_eq!(fs::read_dir(dir.path()).expect("folder").count(), 0);
    fs::write(&path, b"precious").expect("write");
    let error = record::write_file::<DataError>(&path, &meta, |_| Ok(())).expect_err("there").to_string();
    assert!(error.contains("x.wgr") && error.contains("cannot be written"), "{error}");
    assert_eq!(fs::read(&path).expect("there"), b"precious");
}

/// A small record file in memory: two files and one of raw pixels.
fn sample() -> Vec<u8> {
    let meta = Meta { name: "s".into(), class_names: vec!["a".into(), "b".into()], shards: 1, ..Meta::default() };
    let mut writer = Writer::new(Memory::new(Vec::new()), &meta).expect("memory");
    writer.push(&Payload::File(jpeg(&picture(9, 8, 1))), 0).expect("memory");
    let raw = picture(5, 4, 2);
    let raw = wgrad_trainer::data::Picture { width: 5, height: 4, pixels: raw.into_raw() };
    writer.push(&Payload::Raw(raw), 1).expect("memory");
    writer.push(&Payload::File(png(&picture(7, 7, 3))), 1).expect("memory");
    writer.finish().expect("memory").into_inner()
}

fn opened(bytes: &[u8]) -> Result<RecordStore, DataError> {
    let dir = tempfile::tempdir().expect("tmp");
    let path = dir.path().join("s.wgr");
    fs::write(&path, bytes).expect("write");
    RecordStore::open(&path, Access::Memory)
}

/// `bytes` with a header that is right but for what `change` does to it.
fn with_header(change: impl Fn(&mut Header)) -> Vec<u8> {
    let mut bytes = sample();
    let mut header = parse::header(&bytes, bytes.len() as u64, "f").expect("good");
    change(&mut header);
    bytes[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
    bytes
}

#[test]
fn damaged_files_are_refused_by_their_cause() {
    let good = sample();
    opened(&good).expect("good");
    let says = |bytes: &[u8], part: &str| {
        let error = opened(bytes).expect_err("bad").to_string();
        assert!(error.contains("s.wgr") && error.contains(part), "{part}: {error}");
    };
    says(b"", "truncated");
    says(&good[..good.len() - 1], "truncated");
    says(&[good.as_slice(), b"x"].concat(), "the rest is not part");
    says(&[b"JUNK", &good[4..]].concat(), "magic number 0x57475243");
    says(&[&good[..4], &2u32.to_le_bytes(), &good[8..]].concat(), "version 1 or older, got 2");
    let mut flipped = good.clone();
    flipped[9] ^= 1;
    says(&flipped, "header: wanted checksum");
    flipped = good.clone();
    flipped[HEADER_BYTES + 3] ^= 1;
    says(&flipped, "class names: wanted checksum");
    flipped = good.clone();
    *flipped.last_mut().expect("one") ^= 1;
    says(&flipped, "index: wanted checksum");
    says(&with_header(|h| h.records = u64::MAX), "an index that ends where the file does");
    says(&with_header(|h| (h.records, h.index_at_byte) = (0, h.file_bytes)), "at least one record");
    says(&with_header(|h| h.index_at_byte = u64::MAX - 3), "an index that ends");
    says(&with_header(|h| h.meta_bytes = u32::MAX), "bytes of class names");
    says(&with_header(|h| h.file_bytes = u64::MAX), "truncated");
}

/// The sample with entry `record` of its index changed, and sums that fit.
fn with_entry(record: usize, change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut bytes = sample();
    let header = parse::header(&bytes, bytes.len() as u64, "f").expect("good");
    let at = header.index_at_byte as usize;
    change(&mut bytes[at + 32 * record..at + 32 * record + 32]);
    let header = Header { index_crc: crc32fast::hash(&bytes[at..]), ..header };
    bytes[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
    bytes
}

#[test]
fn hostile_indices_are_refused_before_anything_is_allocated() {
    let says = |bytes: Vec<u8>, part: &str| {
        let error = opened(&bytes).expect_err("bad").to_string();
        assert!(error.contains(part), "{part}: {error}");
    };
    says(
        with_entry(1, |e| e[8..12].copy_from_slice(&u32::MAX.to_le_bytes())),
        "record 1: wanted a place before the index",
    );
    says(with_entry(0, |e| e[..8].copy_from_slice(&u64::MAX.to_le_bytes())), "record 0: wanted a place");
    says(with_entry(0, |e| e[..8].copy_from_slice(&3u64.to_le_bytes())), "record 0: wanted a place");
    says(with_entry(2, |e| e[16] = 2), "record 2 has label 2, wanted one below 2");
    says(with_entry(2, |e| e[24] = 9), "record 2: wanted a known kind");
    says(with_entry(1, |e| e[20] = 6), "record 1: wanted a known kind, got kind 1, 6x4, 60 bytes");
}

#[test]
fn a_damaged_record_is_one_bad_image() {
    let mut bytes = sample();
    let header = parse::header(&bytes, bytes.len() as u64, "f").expect("good");
    let first = HEADER_BYTES + header.meta_bytes as usize;
    bytes[first + 20] ^= 4;
    let dir = tempfile::tempdir().expect("tmp");
    let path = dir.path().join("s.wgr");
    fs::write(&path, &bytes).expect("write");
    let set = record::open(&path, 8, Access::Positions).expect("opens");
    let loader = Loader::new(Arc::new(set), LoaderOptions::eval(3)).expect("good");
    let batch = loader.epoch(0).next().expect("one").expect("good");
    assert_eq!((batch.valid, &batch.indices[..2]), (2, &[1, 2][..]));
    let faults = loader.faults();
    assert!(faults.len() == 1 && faults[0].message.contains("s.wgr, record 0, content: wanted checksum"), "{faults:?}");

    // Cut while it is open: an error for the record, no signal.
    let set = record::open(&path, 8, Access::Positions).expect("opens");
    let mut file = fs::OpenOptions::new().write(true).open(&path).expect("open");
    file.set_len(first as u64 + 10).expect("cut");
    file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(b"x")).expect("write");
    let error = store(&set).picture(2).expect_err("gone");
    assert!(matches!(error, DataError::Truncated { .. }), "{error}");
    assert!(store(&set).picture(3).is_err());
}

#[test]
fn shards_must_belong_together() {
    let dir = tempfile::tempdir().expect("tmp");
    data_set(dir.path(), 2, 3);
    let set = folder::open(dir.path(), 8).expect("good").train;
    let path = dir.path().join("t.wgr");
    pack(&set, &path, 2, 0, false);
    let shard = |k| record::shard_name(&path, k, 2);
    assert_eq!(record::open(&shard(1), 8, Access::Positions).expect("any shard").len(), 6);
    fs::copy(shard(0), dir.path().join("else.wgr")).expect("copy");
    let error = record::open(&dir.path().join("else.wgr"), 8, Access::Positions).expect_err("renamed").to_string();
    assert!(error.contains("NAME-00000-of-00002"), "{error}");
    fs::copy(shard(0), shard(1)).expect("copy");
    let error = record::open(&shard(0), 8, Access::Positions).expect_err("twice the same").to_string();
    assert!(error.contains("shard 0 of"), "{error}");
    fs::remove_file(shard(1)).expect("rm");
    assert!(matches!(record::open(&shard(0), 8, Access::Positions), Err(DataError::Unreadable { .. })));
}

/// All parsers on one buffer, without files.
fn parsed(bytes: &[u8]) -> Result<usize, DataError> {
    let header = parse::header(bytes, bytes.len() as u64, "f")?;
    let at = HEADER_BYTES + header.meta_bytes as usize;
    let meta = parse::meta(&bytes[HEADER_BYTES..at], &header, "f")?;
    let entries = parse::index(&bytes[header.index_at_byte as usize..], &header, meta.class_names.len() as u32, "f")?;
    for entry in &entries {
        let from = entry.at_byte as usize;
        let _ = parse::record(&bytes[from..from + entry.bytes as usize], entry, "f");
    }
    Ok(entries.len())
}

#[test]
fn flipped_and_cut_bytes_never_panic() {
    let good = sample();
    assert_eq!(parsed(&good).expect("good"), 3);
    let index = parse::header(&good, good.len() as u64, "f").expect("good").index_at_byte as usize;
    let mut rng = Stream::new(13, 99, 0, 0);
    let (mut refused, mut through) = (0, 0);
    for _ in 0..30_000 {
        let mut bytes = good.clone();
        for _ in 0..1 + rng.below(3) {
            // The parts that are parsed are small: they get most of the damage.
            let at = match rng.below(3) {
                0 => rng.below(HEADER_BYTES as u32) as usize,
                1 => index + rng.below((good.len() - index) as u32) as usize,
                _ => rng.below(good.len() as u32) as usize,
            };
            bytes[at] = rng.next_u32() as u8;
        }
        if rng.chance(0.2) {
            bytes.truncate(rng.below(bytes.len() as u32) as usize);
        }
        // Sums that fit let the damage through to what stands behind them.
        if rng.chance(0.7) && bytes.len() > index {
            let crc = crc32fast::hash(&bytes[index..]);
            bytes[40..44].copy_from_slice(&crc.to_le_bytes());
            let crc = crc32fast::hash(&bytes[..60]);
            bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        }
        match parsed(&bytes) {
            Ok(_) => through += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 10_000 && through > 100, "{refused} {through}");
}
