//! Image files made on the spot.
#![allow(dead_code)] // Each test file compiles its own copy and none uses every part.

use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageFormat, RgbImage};
use std::io::Cursor;
use std::path::Path;

/// A picture that differs from place to place and from seed to seed, smooth enough for JPEG.
pub(crate) fn picture(width: u32, height: u32, seed: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let wave = |k: u32| 128.0 + 100.0 * ((x * (k + 1) + y * 2 + seed * 37 + k * 50) as f32 / 17.0).sin();
        image::Rgb([wave(0) as u8, wave(1) as u8, wave(2) as u8])
    })
}

pub(crate) fn jpeg(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 92).encode_image(image).expect("encodes");
    bytes
}

pub(crate) fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).expect("encodes");
    bytes.into_inner()
}

pub(crate) fn png(image: &RgbImage) -> Vec<u8> {
    encoded(&DynamicImage::ImageRgb8(image.clone()), ImageFormat::Png)
}

pub(crate) fn put(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().expect("has one")).expect("folder");
    std::fs::write(path, bytes).expect("file");
}

/// `train` and `val` with `classes` folders of `each` JPEGs (every fifth a PNG) of different sizes.
pub(crate) fn data_set(root: &Path, classes: u32, each: u32) {
    for (half, shift) in [("train", 0), ("val", 1000)] {
        for class in 0..classes {
            for i in 0..each {
                let seed = shift + class * 100 + i;
                let image = picture(20 + seed % 13, 18 + seed % 7, seed);
                let (bytes, ending) = if i % 5 == 4 { (png(&image), "png") } else { (jpeg(&image), "JPEG") };
                put(root, &format!("{half}/class{class}/img_{i:03}.{ending}"), &bytes);
            }
        }
    }
}
