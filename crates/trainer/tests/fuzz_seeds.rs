//! The seeds of the fuzz targets: every parser takes them, and what was found once is never found again.
//!
//! `cargo test --release -p wgrad-trainer --test fuzz_seeds -- --ignored` writes the seeds anew. Inputs that fuzzing found
//! lie beside them as `found_*`.

mod images;
#[allow(unreachable_pub, reason = "a library where it is fuzzed")]
#[path = "../../../fuzz/src/lib.rs"]
mod targets;

use flate2::Compression;
use flate2::write::GzEncoder;
use image::{DynamicImage, GrayImage, ImageBuffer, ImageFormat};
use images::{encoded, jpeg, picture, png};
use jpeg_encoder::{ColorType, Encoder};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use wgrad_tensor::tune::{Entry, Machine, Table};
use wgrad_tensor::{Array, Shape};
use wgrad_trainer::data::record::{Payload, Writer, parse::Meta};
use wgrad_trainer::{Checkpoint, Weights};

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 14] = [
    ("idx", targets::idx),
    ("cifar", targets::cifar),
    ("list", targets::list),
    ("classes", targets::classes),
    ("model_card", targets::model_card),
    ("record", targets::record),
    ("safetensors", targets::safetensors),
    ("pth_zip", targets::pth_zip),
    ("pth_legacy", targets::pth_legacy),
    ("caffemodel", targets::caffemodel),
    ("checkpoint", targets::checkpoint),
    ("table", targets::table),
    ("image", targets::image),
    ("text", targets::text),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds")
}

#[test]
fn every_parser_takes_its_seeds_and_bears_damage() {
    for (name, target) in TARGETS {
        let files = fs::read_dir(folder().join(name)).into_iter().flatten();
        let mut seeds: Vec<Vec<u8>> = files.map(|file| fs::read(file.expect("entry").path()).expect("seed")).collect();
        assert!(!seeds.is_empty(), "{name} has no seeds");
        seeds.sort();
        for seed in &seeds {
            target(seed);
            // Cut, and with one bit flipped, at up to 64 places.
            for place in 0..seed.len().min(64) {
                let at = place * seed.len() / seed.len().min(64);
                target(&seed[..at]);
                let mut damaged = seed.clone();
                damaged[at] ^= 1 << (place % 8);
                target(&damaged);
            }
        }
    }
}

fn idx(dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    dims.iter().for_each(|extent| bytes.extend(extent.to_be_bytes()));
    [bytes, data.to_vec()].concat()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn record_file() -> Vec<u8> {
    let meta = Meta { name: "s".into(), class_names: vec!["a".into(), "b".into()], shards: 1, ..Meta::default() };
    let mut writer = Writer::new(Cursor::new(Vec::new()), &meta).expect("memory");
    writer.push(&Payload::File(png(&picture(3, 2, 1))), 0).expect("memory");
    let raw = wgrad_trainer::data::Picture { width: 4, height: 3, pixels: picture(4, 3, 2).into_raw() };
    writer.push(&Payload::Raw(raw), 1).expect("memory");
    writer.finish().expect("memory").into_inner()
}

fn array(dims: &[usize]) -> Array {
    let shape = Shape::try_new(dims).expect("at most four");
    Array { shape, data: (0..shape.numel()).map(|i| i as f32 / 8.0).collect() }
}

fn checkpoint() -> Vec<u8> {
    let tensors = [("conv.weight", array(&[2, 1, 3, 3])), ("bn.running_var", array(&[2])), ("scale", array(&[]))];
    let metadata =
        [("format", "wgrad"), ("version", "1"), ("model", "m"), ("step", "7"), ("epoch", "2"), ("seed", "9")];
    let text = |(key, value): (&str, &str)| (key.to_string(), value.to_string());
    let tensors = tensors.map(|(name, array)| (name.to_string(), array)).into();
    Checkpoint { tensors, metadata: metadata.map(text).into() }.to_bytes()
}

fn table() -> Vec<u8> {
    let machine = Machine {
        adapter: "a".into(),
        backend: "Vulkan".into(),
        driver: "d".into(),
        tier: "base".into(),
        subgroup_size: 32,
        workspace_bytes: 1 << 20,
        checked: false,
        kernels: "0".into(),
    };
    let ms = BTreeMap::from([("direct".to_string(), 0.1), ("im2col".to_string(), 1.0 / 3.0)]);
    let skipped = BTreeMap::from([("fft".to_string(), "too large".to_string())]);
    let mut table = Table::default();
    let entry = Entry { algorithm: "direct".into(), ms, skipped, lowering: "f".into() };
    table.insert(machine, [("conv(x)".to_string(), entry)]);
    table.to_json().into_bytes()
}

/// A member of an archive of PyTorch's, and as much for storages behind it.
fn pickle(archive: &[u8]) -> Vec<u8> {
    let name = archive.windows(8).position(|window| window == b"data.pkl").expect("there") + 8;
    let end = archive[name..].windows(2).position(|window| window == b"PK").expect("there");
    let mut bytes = archive[name..name + end].to_vec();
    let start = bytes.iter().position(|&byte| byte == 0x80).expect("a pickle begins so");
    bytes.drain(..start);
    bytes.resize(bytes.len() + bytes.len().div_ceil(3), 1);
    bytes
}

fn weights(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/weights").join(name)).expect("a file of the tests")
}

fn jpegs() -> Vec<Vec<u8>> {
    let image = picture(19, 17, 3);
    let encode = |kind, change: fn(&mut Encoder<&mut Vec<u8>>), pixels: &[u8]| {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, 60);
        change(&mut encoder);
        encoder.encode(pixels, 19, 17, kind).expect("encodes");
        bytes
    };
    let grey: Vec<u8> = image.as_raw().iter().step_by(3).copied().collect();
    let ink: Vec<u8> = image.as_raw().chunks(3).flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 9]).collect();
    vec![
        jpeg(&image),
        encode(ColorType::Rgb, |encoder| encoder.set_progressive(true), image.as_raw()),
        encode(ColorType::Rgb, |encoder| encoder.set_restart_interval(2), image.as_raw()),
        encode(ColorType::Luma, |_| {}, &grey),
        encode(ColorType::CmykAsYcck, |_| {}, &ink),
    ]
}

fn other_images() -> Vec<Vec<u8>> {
    let image = DynamicImage::ImageRgb8(picture(7, 5, 1));
    let formats = [ImageFormat::Png, ImageFormat::Gif, ImageFormat::Bmp, ImageFormat::WebP, ImageFormat::Pnm];
    let mut all: Vec<Vec<u8>> = formats.map(|format| encoded(&image, format)).into();
    all.push(encoded(&DynamicImage::ImageLuma8(GrayImage::new(5, 3)), ImageFormat::Png));
    let deep = ImageBuffer::<image::Rgba<u16>, _>::from_raw(2, 1, vec![1, 700, 65535, 9, 4, 3, 2, 1]).expect("fits");
    all.push(encoded(&DynamicImage::ImageRgba16(deep), ImageFormat::Png));
    all
}

#[test]
#[ignore = "writes the seeds"]
fn write_the_seeds() {
    let safetensors = Weights::parse(&checkpoint(), "x").expect("good").to_bytes();
    let mixed = br#"{"a":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]},"b.num_batches_tracked":{"dtype":"I64","shape":[],"data_offsets":[2,10]}}"#;
    let header = [mixed.as_slice(), &[0; 10]].concat();
    let images = idx(&[2, 2, 3], &[9; 12]);
    let labels = idx(&[3], &[1, 2, 3]);
    let record = br#"{"epoch":1,"step":7,"loss":null,"accuracy":0.5,"lr":0.1,"images_per_s":9.0,"data_wait_share":0.0,"device_bytes":1}"#;
    let words = b"n01440764 tench, Tinca tinca\nn02102040 English springer\n";
    let card = br#"{"channels":3,"height":64,"width":96,"mean":[0.1,0.2,0.3],"std":[0.2,0.2,1.0],"order":"bgr","view":{"crop":{"shorter":0,"place":"centre","mirror":false}}}
["ant","bee"]
resnet18"#;
    let seeds: [(&str, Vec<Vec<u8>>); 14] = [
        ("idx", vec![gz(&images), gz(&labels), images, labels]),
        ("cifar", vec![vec![3; 3073], vec![3; 3074]]),
        ("list", vec![b"\xef\xbb\xbfa b/c.jpg 1\r\n\r\nd.png\t0\n".to_vec(), b"x\xff.jpg dog\ny.jpg ant\n".to_vec()]),
        (
            "classes",
            vec![words.to_vec(), b"0\tn1\tdog\n7\tn2\tcat\n".to_vec(), b"\xef\xbb\xbfdog\r\ncat\r\n\r\n".to_vec()],
        ),
        ("model_card", vec![card.to_vec()]),
        ("record", vec![record_file()]),
        ("safetensors", vec![safetensors, header]),
        (
            "pth_zip",
            vec![weights("zip_dtypes.pth"), pickle(&weights("zip_net.pth")), pickle(&weights("zip_strided.pth"))],
        ),
        (
            "pth_legacy",
            vec![weights("legacy_dtypes.pth"), weights("legacy_strided.pth"), weights("legacy_checkpoint.pth")],
        ),
        ("caffemodel", vec![weights("v1.caffemodel"), weights("v2.caffemodel")]),
        ("checkpoint", vec![checkpoint()]),
        ("table", vec![table()]),
        ("image", [jpegs(), other_images()].concat()),
        ("text", vec![b"mixed-f16".to_vec(), b"layer*.conv1\nlayer2.1.conv1.weight".to_vec(), record.to_vec()]),
    ];
    for (name, files) in seeds {
        let folder = folder().join(name);
        fs::create_dir_all(&folder).expect("folder");
        for (number, bytes) in files.iter().enumerate() {
            fs::write(folder.join(format!("seed_{number}")), bytes).expect("written");
        }
    }
}
