//! Everything about checkpoints that needs no device.

use super::*;

fn array(dims: impl Into<Shape>, start: f32) -> Array {
    let shape = dims.into();
    Array { shape, data: (0..shape.numel()).map(|i| start + i as f32).collect() }
}

fn sample() -> Checkpoint {
    let tensors = [
        ("conv.weight", array([2, 1, 3, 3], 0.5)),
        ("bn.running_var", array([2], 1.0)),
        ("optimizer.momentum.conv.weight", array([2, 1, 3, 3], -3.0)),
        ("scale", array([], 7.0)),
    ];
    let metadata =
        [("format", "wgrad"), ("version", "1"), ("model", "tiny"), ("step", "70"), ("epoch", "2"), ("seed", "9")];
    Checkpoint {
        tensors: tensors.map(|(name, array)| (name.to_string(), array)).into(),
        metadata: metadata.map(|(key, value)| (key.to_string(), value.to_string())).into(),
    }
}

fn wanted() -> Vec<(String, Shape)> {
    let names = ["conv.weight", "bn.running_var", "optimizer.momentum.conv.weight", "scale"];
    names.map(|name| (name.to_string(), sample().tensors[name].shape)).to_vec()
}

/// A safetensors file made by hand: header text and data.
fn raw(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

#[test]
fn there_and_back_and_always_the_same_bytes() {
    let bytes = sample().to_bytes();
    assert_eq!(Checkpoint::parse(&bytes, "x").expect("good"), sample());
    assert_eq!(sample().to_bytes(), bytes);
    let meta = sample().meta("x").expect("good");
    assert_eq!(meta, Meta { model: "tiny".into(), step: 70, epoch: 2, seed: 9, data: None });
    assert_eq!(sample().difference(&wanted()), None);
}

#[test]
fn names_with_odd_letters_survive() {
    let mut odd = sample();
    odd.tensors.insert("a \"b\"\n\\ é".into(), array([1], 1.0));
    odd.metadata.insert("model".into(), "\"q\"\u{1}".into());
    assert_eq!(Checkpoint::parse(&odd.to_bytes(), "x").expect("good"), odd);
}

#[test]
fn the_first_difference_and_the_counts_are_named() {
    let mut want = wanted();
    want[1].1 = Shape::from([3]);
    want[2].0 = "gone".into();
    let difference = sample().difference(&want).expect("differs");
    let counts = (difference.missing, difference.unexpected, difference.reshaped);
    assert_eq!(counts, (1, 1, 1));
    let text = difference.to_string();
    assert!(text.contains("\"bn.running_var\"") && text.contains("wants [3], the file has [2]"), "{text}");
    assert!(text.contains("checkpoint of \"tiny\""), "{text}");

    want = wanted();
    want.pop();
    let difference = sample().difference(&want).expect("differs");
    assert_eq!((difference.first.as_str(), difference.wanted), ("scale", None));
}

#[test]
fn what_to_do_is_said_where_only_the_optimiser_s_state_differs() {
    let model: Vec<_> = wanted().into_iter().filter(|(name, _)| !name.starts_with(OPTIMIZER)).collect();
    let text = sample().difference(&model).expect("one tensor too many").to_string();
    assert!(text.ends_with("go on from it with load"), "{text}");
    let weights = sample().model_tensors("");
    let text = weights.difference(&wanted()).expect("one tensor too few").to_string();
    assert!(text.ends_with("start from its weights with load_weights"), "{text}");
    let text = weights.difference(&wanted()[1..]).expect("differs in more").to_string();
    assert!(!text.contains("load"), "{text}");
}

#[test]
fn a_number_that_is_none_is_found() {
    assert_eq!(sample().not_finite(), None);
    let mut broken = sample();
    broken.tensors.insert("conv.weight".into(), Array { shape: Shape::from([2]), data: vec![1.0, f32::INFINITY] });
    assert_eq!(broken.not_finite(), Some(("conv.weight", f32::INFINITY)));
}

#[test]
fn foreign_metadata_is_refused_with_a_hint() {
    let says = |key: &str, value: &str, part: &str| {
        let mut changed = sample();
        changed.metadata.insert(key.into(), value.into());
        let error = changed.meta("a.safetensors").expect_err("bad").to_string();
        assert!(error.contains(part) && error.contains("a.safetensors"), "{error}");
    };
    says("format", "pt", "load_weights");
    says("version", "2", "version \"2\"");
    says("step", "-1", "\"step\" is \"-1\"");
    says("epoch", "5000000000", "epoch");
    says("data", "xyz", "hexadecimal");
    let none = Checkpoint { metadata: BTreeMap::new(), ..sample() };
    assert!(none.meta("x").is_err());
}

#[test]
fn other_data_are_refused_unless_forced() {
    let set = |label| Dataset {
        name: "made".into(),
        images: vec![1, 2].into(),
        labels: vec![0, label],
        channels: 1,
        height: 1,
        width: 1,
        class_names: vec!["a".into(), "b".into()],
        mean: [0.5; 3],
        std: [0.5; 3],
    };
    let mut file = sample();
    file.metadata.insert("data".into(), format!("{:08x}", set(1).fingerprint()));
    let file = Checkpoint::parse(&file.to_bytes(), "x").expect("good");
    let meta = file.meta("run/x").expect("good");
    assert_eq!(meta.data, Some(set(1).fingerprint()));
    meta.check_data(&set(1), false, "run/x").expect("the same");
    let error = meta.check_data(&set(0), false, "run/x").expect_err("other labels").to_string();
    for part in ["run/x", "made", "force_data", &format!("{:08x}", set(0).fingerprint())] {
        assert!(error.contains(part), "{error}");
    }
    meta.check_data(&set(0), true, "run/x").expect("forced");
    // Files of older versions say nothing.
    sample().meta("x").expect("good").check_data(&set(0), false, "x").expect("not known");
}

#[test]
fn broken_bytes_are_errors_and_never_panics() {
    let good = sample().to_bytes();
    for length in 0..good.len() {
        assert!(Checkpoint::parse(&good[..length], "x").is_err(), "{length} bytes");
    }
    for i in 0..good.len().min(400) {
        let mut bad = good.clone();
        bad[i] ^= 0x41;
        let _ = Checkpoint::parse(&bad, "x");
    }
    assert!(Checkpoint::parse(&raw("{}", &[]), "x").is_ok_and(|c| c.tensors.is_empty()));
    let five = r#"{"a":{"dtype":"F32","shape":[1,1,1,1,1],"data_offsets":[0,4]}}"#;
    let error = Checkpoint::parse(&raw(five, &[0; 4]), "x").expect_err("bad").to_string();
    assert!(error.contains("5 dimensions"), "{error}");
    let ints = r#"{"a":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}}"#;
    let error = Checkpoint::parse(&raw(ints, &[0; 4]), "x").expect_err("bad").to_string();
    assert!(error.contains("I32"), "{error}");
}

#[test]
fn other_floats_are_converted_and_counters_ignored() {
    let header = r#"{"b":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]},"h":{"dtype":"F16","shape":[1],"data_offsets":[2,4]},"bn.num_batches_tracked":{"dtype":"I64","shape":[],"data_offsets":[4,12]},"d":{"dtype":"F64","shape":[1],"data_offsets":[12,20]}}"#;
    let mut data = vec![0x80, 0xbf, 0x00, 0x3c];
    data.extend([0; 8]);
    data.extend(0.25f64.to_le_bytes());
    let parsed = Checkpoint::parse(&raw(header, &data), "x").expect("good");
    let values: Vec<f32> = parsed.tensors.values().map(|array| array.data[0]).collect();
    assert_eq!(values, [-1.0, 0.25, 1.0]);
}

#[test]
fn prefixes_and_optimiser_state_are_taken_off() {
    let mut torch = sample();
    torch.tensors = torch.tensors.into_iter().map(|(name, array)| (format!("module.{name}"), array)).collect();
    torch.tensors.insert("optimizer.x".into(), array([1], 0.0));
    let names: Vec<String> = torch.model_tensors("module.").tensors.into_keys().collect();
    assert_eq!(names, ["bn.running_var", "conv.weight", "optimizer.momentum.conv.weight", "scale"]);
}

#[test]
fn files_are_replaced_whole_and_leave_nothing_behind() {
    let folder = tempfile::tempdir().expect("tmp");
    let path = folder.path().join("a.safetensors");
    save_bytes(&path, b"one").expect("written");
    save_bytes(&path, b"two").expect("written");
    assert_eq!(read(&path).expect("there"), b"two");
    assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 1);
    assert!(matches!(save_bytes(&folder.path().join("no/such.folder"), b"x"), Err(CheckpointError::Write { .. })));
    assert!(save_bytes(folder.path(), b"x").is_err());
    for missing in [folder.path().to_owned(), folder.path().join("none")] {
        assert!(matches!(read(&missing), Err(CheckpointError::Read { .. })));
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 1);
}
