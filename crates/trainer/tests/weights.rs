//! Files of weights made by PyTorch and by hand (`weights/make.py`): what is read, and that nothing else ever is.

mod common;

use common::{bits, device, net, splits};
use std::time::{Duration, Instant};
use wgrad_tensor::{Array, Params, Shape};
use wgrad_trainer::weights::Format;
use wgrad_trainer::{LoadOptions, NameMap, StepOptions, TrainStep, Weights, WeightsError};

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!("weights/", $name)).as_slice())),*]
    };
}

const FILES: [(&str, &[u8]); 18] = files![
    "zip_net.pth",
    "zip_strided.pth",
    "zip_dtypes.pth",
    "zip_checkpoint.pth",
    "zip_parameter.pth",
    "zip_foreign.pth",
    "zip_long.pth",
    "legacy_long.pth",
    "zip_beside.pth",
    "legacy_beside.pth",
    "legacy_net.pth",
    "legacy_strided.pth",
    "legacy_dtypes.pth",
    "legacy_checkpoint.pth",
    "legacy_parameter.pth",
    "legacy_foreign.pth",
    "v2.caffemodel",
    "v1.caffemodel",
];

fn bytes(name: &str) -> &'static [u8] {
    FILES.iter().find(|(known, _)| *known == name).expect("a file of the list").1
}

fn parse(name: &str) -> Weights {
    Weights::parse(bytes(name), name).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(bytes: &[u8]) -> String {
    Weights::parse(bytes, "x").expect_err("bad").to_string()
}

/// `counting` of make.py.
fn counting(place: usize, dims: &[usize]) -> Array {
    let shape = Shape::try_new(dims).expect("at most four");
    Array { shape, data: (0..shape.numel()).map(|i| i as f32 / 8.0 + place as f32).collect() }
}

const NET: [(&str, &[usize]); 8] = [
    ("conv.weight", &[3, 2, 3, 3]),
    ("conv.bias", &[3]),
    ("bn.weight", &[3]),
    ("bn.bias", &[3]),
    ("bn.running_mean", &[3]),
    ("bn.running_var", &[3]),
    ("fc.weight", &[4, 3]),
    ("fc.bias", &[4]),
];

fn assert_net(weights: &Weights, prefix: &str) {
    assert_eq!(weights.tensors.len(), NET.len());
    for (place, (name, dims)) in NET.iter().enumerate() {
        assert_eq!(weights.tensors[&format!("{prefix}{name}")], counting(place, dims), "{name}");
    }
}

fn raw(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

#[test]
fn both_forms_of_pytorch_and_safetensors_hold_the_same() {
    for name in ["zip_net.pth", "legacy_net.pth"] {
        let weights = parse(name);
        assert_net(&weights, "");
        assert_eq!(weights.skipped, [("bn.num_batches_tracked".to_string(), "whole numbers".to_string())]);
        let bytes = weights.to_bytes();
        assert_eq!(Format::of(&bytes), Some(Format::Safetensors));
        assert_eq!(Weights::parse(&bytes, "x").expect("good").tensors, weights.tensors);
    }
}

#[test]
fn strides_are_followed() {
    for name in ["zip_strided.pth", "legacy_strided.pth"] {
        let weights = parse(name);
        let whole = counting(0, &[2, 3, 4, 5]);
        let at = |n: usize, c: usize, h: usize, w: usize| whole.data[((n * 3 + c) * 4 + h) * 5 + w];
        let tensor = |name: &str| &weights.tensors[name];
        assert_eq!(*tensor("whole"), whole);
        assert_eq!(*tensor("channels_last"), whole);
        let mut transposed = Vec::new();
        (0..5).for_each(|w| (0..4).for_each(|h| transposed.push(at(0, 0, h, w))));
        assert_eq!(*tensor("transposed"), Array::new([5, 4], transposed).expect("20"));
        let mut second = Vec::new();
        for (n, c) in [(0, 0), (0, 2), (1, 0), (1, 2)] {
            (1..3).for_each(|h| (0..5).step_by(2).for_each(|w| second.push(at(n, c, h, w))));
        }
        assert_eq!(*tensor("every_second"), Array::new([2, 2, 2, 3], second).expect("24"));
        assert_eq!(tensor("offset").data, whole.data[60..]);
        assert_eq!(*tensor("expanded"), Array::new([3], vec![0.0; 3]).expect("3"));
        assert_eq!(*tensor("scalar"), Array::new([], vec![at(1, 1, 1, 1)]).expect("1"));
        assert_eq!(tensor("empty").shape, Shape::from([0, 3]));
    }
}

#[test]
fn floating_point_types_become_f32_and_others_are_told() {
    for name in ["zip_dtypes.pth", "legacy_dtypes.pth"] {
        let weights = parse(name);
        assert_eq!(weights.tensors["float64"].data, [0.0, 1.0, -2.5, 0.1]);
        assert_eq!(weights.tensors["float16"].data, [0.0, 1.0, -2.5, 0.099_975_586]);
        assert_eq!(weights.tensors["bfloat16"].data, [0.0, 1.0, -2.5, 0.100_097_656]);
        let skipped: Vec<&str> = weights.skipped.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(skipped, ["bool", "int32"]);
    }
}

#[test]
fn a_state_dict_is_found_inside_a_checkpoint() {
    for name in ["zip_checkpoint.pth", "legacy_checkpoint.pth"] {
        assert_net(&parse(name), "module.");
    }
    for name in ["zip_parameter.pth", "legacy_parameter.pth"] {
        assert_eq!(parse(name).tensors["weight"], counting(0, &[2, 3]));
    }
    // PyTorch's own ImageNet example keeps its best accuracy as a tensor beside the state dict.
    for name in ["zip_beside.pth", "legacy_beside.pth"] {
        assert_eq!(parse(name).tensors.into_iter().collect::<Vec<_>>(), [("weight".to_string(), counting(0, &[2]))]);
    }
}

#[test]
fn names_are_bounded() {
    for name in ["zip_long.pth", "legacy_long.pth"] {
        let error = Weights::parse(bytes(name), name).expect_err("too long").to_string();
        assert!(error.contains("a name of 2000 bytes, at most 1024"), "{error}");
    }
    // A layer (field 100) whose name (field 1) is too long.
    let layer = [[0x0a, 0xd0, 0x0f].as_slice(), &[b'x'; 2000]].concat();
    let file = [[0xa2, 0x06, 0xd3, 0x0f].as_slice(), &layer].concat();
    let error = Weights::parse(&file, "net.caffemodel").expect_err("too long").to_string();
    assert!(error.contains("a name of 2000 bytes, at most 1024"), "{error}");
}

#[test]
fn nothing_of_a_pickle_is_run_and_what_it_wanted_is_named() {
    for name in ["zip_foreign.pth", "legacy_foreign.pth"] {
        let error = Weights::parse(bytes(name), name).expect_err("foreign").to_string();
        assert!(error.starts_with(name) && error.contains("wants to call __builtin__.print"), "{error}");
        assert!(error.contains("byte "), "{error}");
    }
}

#[test]
fn caffe_s_layers_get_pytorch_s_names_and_shapes() {
    let v2 = parse("v2.caffemodel");
    let names: Vec<&str> = v2.tensors.keys().map(String::as_str).collect();
    let wanted = [
        "bn.running_mean",
        "bn.running_var",
        "conv.bias",
        "conv.weight",
        "fc.bias",
        "fc.weight",
        "scale.bias",
        "scale.weight",
    ];
    assert_eq!(names, wanted);
    for (place, (name, dims)) in NET.iter().enumerate() {
        let mut want = counting(place, dims);
        // The batch norm's sums count twice.
        if name.contains("running") {
            want.data.iter_mut().for_each(|x| *x /= 2.0);
        }
        let name = if place == 2 || place == 3 { name.replace("bn", "scale") } else { name.to_string() };
        assert_eq!(v2.tensors[&name], want, "{name}");
    }
    let v1 = parse("v1.caffemodel");
    for (place, (name, dims)) in NET.iter().enumerate().filter(|(i, _)| ![2, 3, 4, 5].contains(i)) {
        assert_eq!(v1.tensors[*name], counting(place, dims), "{name}");
    }
    assert_eq!(v1.tensors.len(), 4);
    assert_eq!(v1.metadata["name"], "old net");
}

/// A generator good enough to choose places and bytes.
fn noise(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize
}

#[test]
fn damaged_files_are_errors_in_bounded_time_and_never_panics() {
    let safetensors = parse("zip_net.pth").to_bytes();
    let mut files: Vec<(&str, &[u8])> = FILES.to_vec();
    files.push(("net.safetensors", &safetensors));
    let (mut state, mut refusals) = (7, 0);
    let start = Instant::now();
    for (name, good) in files {
        for length in 0..good.len() {
            let cut = Weights::parse(&good[..length], name);
            // A Caffe network may end behind any layer.
            assert!(cut.is_err() || name.ends_with("caffemodel"), "{name}: {length} of {} bytes", good.len());
        }
        for _ in 0..3000 {
            let mut bad = good.to_vec();
            for _ in 0..1 + noise(&mut state) % 3 {
                let at = noise(&mut state) % bad.len();
                bad[at] = match noise(&mut state) % 4 {
                    0 => 0xff,
                    1 => bad[at] ^ 1 << (noise(&mut state) % 8),
                    2 => bad[at].wrapping_add(1),
                    _ => noise(&mut state) as u8,
                };
            }
            match Weights::parse(&bad, name) {
                Err(error) => {
                    refusals += 1;
                    assert!(error.to_string().starts_with(name), "{error}");
                }
                Ok(weights) => {
                    let elements: usize = weights.tensors.values().map(|array| array.data.len()).sum();
                    assert!(elements <= good.len(), "{name} gives {elements} elements");
                }
            }
        }
    }
    assert!(refusals > 20_000, "{refusals}");
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

#[test]
fn hostile_headers_of_safetensors_are_refused_at_once() {
    let entry = |name: &str, shape: &str, first: u64, end: u64| {
        format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{first},{end}]}}"#)
    };
    let many: Vec<String> = (0..100_000).map(|i| entry(&format!("t{i}"), "[1]", 4 * i, 4 * i + 4)).collect();
    let list = format!("[{}1]", "1,".repeat(8 << 20 >> 1));
    let cases = [
        ([&(1u64 << 63).to_le_bytes()[..], b"{}"].concat(), "9223372036854775808 bytes"),
        ([&(1u64 << 20).to_le_bytes()[..], b"{}"].concat(), "truncated"),
        (raw(&format!("{{{}}}", many.join(",")), &vec![0; 400_000]), "more than 65536 tensors"),
        (raw(&format!("{{{},{}}}", entry("a", "[2]", 0, 8), entry("b", "[1]", 4, 8)), &[0; 8]), "byte 8"),
        (
            raw(&format!("{{{},{}}}", entry("a", "[1]", 0, 4), entry("a", "[1]", 0, 4)), &[0; 4]),
            "\"a\" stands there twice",
        ),
        (raw(&format!("{{{}}}", entry("a", "[4294967296,4294967296,4]", 0, 4)), &[0; 4]), "byte 8"),
        (raw(&format!("{{{}}}", entry("a", "[NaN]", 0, 4)), &[0; 4]), "byte 8"),
        (raw(&format!("{{{}}}", entry("a", "[1,1,1,1,1]", 0, 4)), &[0; 4]), "5 dimensions"),
        (raw(&format!("{{{}}}", "[".repeat(1 << 20)), &[]), "byte 8"),
        // What would be held at 32 bytes for two of text.
        (raw(&format!("{{{}}}", entry("a", &list, 0, 4)), &[0; 4]), "at most 16 numbers"),
        (raw(&format!(r#"{{"a":{{"data_offsets":{list}}}}}"#), &[0; 4]), "at most 16 numbers"),
        (raw(&format!(r#"{{"a":{{"other":{list}}}}}"#), &[0; 4]), "a tensor has no \"other\""),
        (
            raw(&format!(r#"{{"__metadata__":{{{}"z":""}}}}"#, r#""a":"","#.repeat(1 << 20)), &[]),
            "4096 lines of metadata",
        ),
        (raw(&format!(r#"{{"{}":{{}}}}"#, "a".repeat(1 << 20)), &[]), "a name of 1048576 bytes"),
    ];
    for (bytes, part) in &cases {
        let start = Instant::now();
        let error = refused(bytes);
        assert!(error.contains(part), "{error}");
        // A tenth of a second is what is promised; a busy machine may take a break.
        assert!(start.elapsed() < Duration::from_secs(1), "{error}: {:?}", start.elapsed());
    }
}

/// A legacy file whose object is this pickle and whose list of storages is empty.
fn legacy(pickle: &[u8]) -> Vec<u8> {
    let start = &bytes("legacy_net.pth")[..15];
    [start, b"\x80\x02M\xe9\x03.", b"\x80\x02}.", pickle, b"\x80\x02]."].concat()
}

#[test]
fn hostile_pickles_are_refused() {
    let deep = [vec![b')'; 1 << 20], b".".to_vec()].concat();
    let nested = [vec![b')'], vec![0x85; 400_000], b".".to_vec()].concat();
    // A list that holds itself twice, again and again: 2^n items, were they ever counted out.
    let doubling = [b"]q\x00".to_vec(), b"(h\x00h\x00e".repeat(100_000), b".".to_vec()].concat();
    let cases: [(&[u8], &str); 12] = [
        (&deep, "more than 524288 objects"),
        (&nested, "wanted a dictionary of tensors, got a tuple"),
        (&doubling, "wanted a dictionary of tensors, got a list"),
        (b"cos\nsystem\n(S'x'\ntR.", "os.system"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "os.system"),
        (b"ccollections\nOrderedDict\n.", "got a function"),
        (b"h\x07.", "object 7 is used before it is made"),
        (b"R.", "an operand is missing"),
        (b"(t(0.", "an operand is missing"),
        (b"I12\n.", "opcode 0x49"),
        (b"X\xff\xff\xff\xffabc", "truncated"),
        (b"}(X\x01\x00\x00\x00au.", "a key without a value"),
    ];
    for (pickle, part) in cases {
        let error = refused(&legacy(pickle));
        assert!(error.contains(part), "wanted {part:?} in {error}");
    }
}

/// A pickle of one tensor: `size`, `strides` and `offset` as opcodes.
fn one_tensor(numel: &[u8], offset: &[u8], size: &[u8], strides: &[u8]) -> Vec<u8> {
    [
        b"}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
            .as_slice(),
        b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpu",
        numel,
        b"tQ",
        offset,
        b"(",
        size,
        b"t(",
        strides,
        b"t\x89ccollections\nOrderedDict\n)RtRs.",
    ]
    .concat()
}

#[test]
fn tensors_cannot_leave_their_storage_nor_grow_beyond_the_file() {
    let with_storage = |pickle: Vec<u8>| {
        let keys = b"\x80\x02]X\x01\x00\x00\x000a.";
        let start = &bytes("legacy_net.pth")[..15];
        let data = [1.0f32, 2.0, 3.0, 4.0].map(f32::to_le_bytes).concat();
        [start, b"\x80\x02M\xe9\x03.\x80\x02}.", &pickle, keys, &4u64.to_le_bytes(), &data].concat()
    };
    let good = with_storage(one_tensor(b"K\x04", b"K\x01", b"K\x03", b"K\x01"));
    assert_eq!(Weights::parse(&good, "x").expect("good").tensors["a"].data, [2.0, 3.0, 4.0]);
    for (numel, offset, size, strides, part) in [
        (b"K\x04".as_slice(), b"K\x02".as_slice(), b"K\x03".as_slice(), b"K\x01".as_slice(), "leaves its storage of 4"),
        (b"K\x04", b"K\x00", b"K\x03", b"K\x02", "leaves its storage of 4"),
        (b"K\x05", b"K\x01", b"K\x04", b"K\x01", "fewer than the tensor needs"),
        (b"K\x04", b"J\xff\xff\xff\xff", b"K\x02", b"K\x01", "an offset of -1"),
        (b"K\x04", b"K\x00", b"J\xff\xff\xff\x7f", b"K\x00", "more elements than the whole file"),
        (b"K\x04", b"K\x00", b"K\x02J\xff\xff\xff\xff", b"K\x01K\x01", "an extent of -1"),
        (b"K\x04", b"K\x00", b"K\x02", b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f", "leaves its storage"),
        (b"K\x04", b"K\x00", b"K\x02", b"K\x01K\x01", "1 extents and 2 strides"),
        (b"K\x04", b"K\x00", b"K\x01K\x01K\x01K\x01K\x01", b"K\x01K\x01K\x01K\x01K\x01", "5 extents"),
        (b"J\xff\xff\xff\xff", b"K\x00", b"K\x02", b"K\x01", "elements of a storage must be at least 0"),
    ] {
        let error = refused(&with_storage(one_tensor(numel, offset, size, strides)));
        assert!(error.contains(part), "wanted {part:?} in {error}");
    }
}

#[test]
fn hostile_protocol_buffers_are_refused() {
    let cases: [(&[u8], &str); 8] = [
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "truncated"),
        (b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", "more than ten bytes"),
        (b"\x0a\x00\x0b\x0b\x0b\x0b", "wire type 3"),
        (b"\xa2\x06\x04\x0a\x00\x3a\x80", "truncated"),
        (b"\xa2\x06\x06\x3a\x04\x2a\x02\x00\x00", "2 bytes of numbers of 4 bytes each"),
        (b"\xa2\x06\x08\x3a\x06\x08\xff\xff\xff\xff\x0f", "0 numbers for [4294967295, 1, 1, 1]"),
        (b"\x12\x02\x0a\x00", "upgrade_net_proto_binary"),
        (b"\xa2\x06\x02\x3a\x00\xa2\x06\x02\x3a\x00", "a second layer of that name"),
    ];
    for (bytes, part) in cases {
        let error = refused(bytes);
        assert!(error.starts_with("x: .caffemodel: ") && error.contains(part), "wanted {part:?} in {error}");
    }
}

#[test]
fn other_files_are_not_taken_for_weights() {
    for bytes in [b"".as_slice(), b"GIF89a", b"\x89HDF\r\n\x1a\n", b"\x80\x03}q\x00.", b"<html>"] {
        assert!(matches!(Weights::parse(bytes, "x"), Err(WeightsError::Unknown { .. })), "{bytes:?}");
    }
}

fn start(seed: u64, classes: usize) -> Params {
    let device = device();
    let mut params = Params::new(&device, seed);
    let mut data = splits().train;
    data.class_names.truncate(classes);
    TrainStep::new(&device, &mut params, &net(), &StepOptions::new(&data, 20)).expect("compiles");
    params
}

#[test]
fn weights_go_into_a_model_and_out_again() {
    let source = start(1, 4);
    let saved = Weights::of(&source).expect("reads");
    assert_eq!(saved.metadata["format"], "pt");
    let mut torch = Weights::parse(&saved.to_bytes(), "saved").expect("good");
    torch.tensors = torch.tensors.into_iter().map(|(name, array)| (format!("module.{name}"), array)).collect();

    let mut params = start(2, 4);
    let fresh = bits(&params);
    let report = torch.load_into(&mut params, &LoadOptions::new(), "saved").expect("fits");
    assert_eq!(report.matched.len(), saved.tensors.len());
    assert_eq!(Weights::of(&params).expect("reads"), saved);

    // A head of other classes: refused without a change, then left as it was initialised.
    let mut params = start(2, 4);
    torch.tensors.insert("module.4.weight".into(), counting(0, &[1000, 48]));
    torch.tensors.insert("module.4.bias".into(), counting(0, &[1000]));
    let error = torch.load_into(&mut params, &LoadOptions::new(), "saved").expect_err("another head").to_string();
    assert!(error.contains("4.weight: model [4, 48], file [1000, 48]"), "{error}");
    assert_eq!(bits(&params), fresh);
    let report = torch.load_into(&mut params, &LoadOptions::new().fresh("4"), "saved").expect("fits");
    assert_eq!(report.fresh, ["4.weight", "4.bias"]);
    let loaded = Weights::of(&params).expect("reads");
    for (name, array) in &loaded.tensors {
        let same = *array == saved.tensors[name];
        assert_eq!(same, !name.starts_with("4."), "{name}");
    }

    // Lenient takes what there is, but not nothing.
    torch.tensors.retain(|name, _| name == "module.0.0.weight");
    let report = torch.load_into(&mut params, &LoadOptions::new().lenient(), "saved").expect("one fits");
    assert_eq!((report.loaded(), report.missing.len()), (1, saved.tensors.len() - 1));
    let names = NameMap::new().replace("0.0.", "first.");
    assert!(torch.load_into(&mut params, &LoadOptions::new().lenient().names(names), "saved").is_err());
}
