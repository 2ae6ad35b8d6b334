//! What every kind of image file becomes, and that none of them can do harm.

mod images;

use image::{DynamicImage, GrayImage, ImageBuffer, ImageFormat, Luma, LumaA, Rgb, Rgba};
use images::{encoded, jpeg, picture, png};
use wgrad_tensor::philox::Stream;
use wgrad_trainer::DataError;
use wgrad_trainer::data::decode::{decode, decode_at_most};

fn says(bytes: &[u8], part: &str) {
    let error = decode(bytes, "file.jpg").expect_err("bad").to_string();
    assert!(error.contains("file.jpg") && error.contains(part), "{error}");
}

#[test]
fn jpeg_and_png_by_their_bytes() {
    let image = picture(23, 17, 1);
    let exact = decode(&png(&image), "called.jpeg").expect("PNG");
    assert_eq!((exact.width, exact.height), (23, 17));
    assert_eq!(exact.pixels, image.as_raw().as_slice());
    let near = decode(&jpeg(&image), "f").expect("JPEG");
    let worst = near.pixels.iter().zip(&exact.pixels).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(worst.is_some_and(|worst| worst < 30), "{worst:?}");
    for format in [ImageFormat::Bmp, ImageFormat::WebP, ImageFormat::Pnm] {
        let bytes = encoded(&DynamicImage::ImageRgb8(image.clone()), format);
        assert_eq!(decode(&bytes, "f").expect("lossless"), exact, "{format:?}");
    }
}

#[test]
fn grey_sixteen_bits_and_alpha_have_one_meaning() {
    let grey = GrayImage::from_fn(3, 1, |x, _| Luma([x as u8 * 100]));
    let wanted = [0, 0, 0, 100, 100, 100, 200, 200, 200];
    for bytes in [
        encoded(&DynamicImage::ImageLuma8(grey.clone()), ImageFormat::Png),
        encoded(&DynamicImage::ImageLuma8(grey.clone()), ImageFormat::Pnm),
    ] {
        assert_eq!(decode(&bytes, "f").expect("grey").pixels, wanted);
    }
    let mut bytes = Vec::new();
    let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 100);
    encoder.encode_image(&GrayImage::from_pixel(9, 9, Luma([77]))).expect("encodes");
    assert_eq!(decode(&bytes, "f").expect("grey JPEG").pixels, vec![77; 243]);

    let deep: ImageBuffer<Rgb<u16>, Vec<u16>> =
        ImageBuffer::from_raw(2, 1, vec![0, 257 * 3, 65535, 128, 129, 257 * 7 - 128]).expect("fits");
    let bytes = encoded(&DynamicImage::ImageRgb16(deep), ImageFormat::Png);
    assert_eq!(decode(&bytes, "f").expect("16 bits").pixels, [0, 3, 255, 0, 1, 7]);

    let clear: ImageBuffer<Rgba<u8>, Vec<u8>> = ImageBuffer::from_raw(1, 1, vec![10, 20, 30, 0]).expect("fits");
    let bytes = encoded(&DynamicImage::ImageRgba8(clear), ImageFormat::Png);
    assert_eq!(decode(&bytes, "f").expect("alpha").pixels, [10, 20, 30]);
    let clear: ImageBuffer<LumaA<u8>, Vec<u8>> = ImageBuffer::from_raw(1, 1, vec![10, 5]).expect("fits");
    let bytes = encoded(&DynamicImage::ImageLumaA8(clear), ImageFormat::Png);
    assert_eq!(decode(&bytes, "f").expect("grey and alpha").pixels, [10, 10, 10]);
}

#[test]
fn a_palette_becomes_its_colours() {
    let image = picture(5, 4, 3);
    let gif = encoded(&DynamicImage::ImageRgb8(image.clone()), ImageFormat::Gif);
    let got = decode(&gif, "f").expect("GIF");
    assert_eq!((got.width, got.height), (5, 4));
    assert!(got.pixels.iter().zip(image.as_raw()).all(|(a, b)| a.abs_diff(*b) < 8));
}

#[test]
fn cmyk_and_ycck_become_rgb() {
    // Cyan 1, magenta 0.2, yellow 0.6, key 0.4: (0, 0.8 * 0.6, 0.4 * 0.6) of 255.
    let ink = [255u8, 51, 153, 102].repeat(16 * 16);
    for kind in [jpeg_encoder::ColorType::Cmyk, jpeg_encoder::ColorType::CmykAsYcck] {
        let mut bytes = Vec::new();
        jpeg_encoder::Encoder::new(&mut bytes, 100).encode(&ink, 16, 16, kind).expect("encodes");
        let got = decode(&bytes, "f").expect("CMYK");
        assert_eq!((got.width, got.height, got.pixels.len()), (16, 16, 16 * 16 * 3));
        for pixel in got.pixels.chunks_exact(3) {
            assert!(pixel[0] < 6 && pixel[1].abs_diff(122) < 6 && pixel[2].abs_diff(61) < 6, "{kind:?}: {pixel:?}");
        }
    }
}

/// A JPEG with an EXIF segment that states an orientation.
fn oriented(image: &image::RgbImage, orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    let plain = jpeg(image);
    let mut bytes = plain[..2].to_vec();
    bytes.extend([0xff, 0xe1]);
    bytes.extend((exif.len() as u16 + 2).to_be_bytes());
    bytes.extend(exif);
    bytes.extend(&plain[2..]);
    bytes
}

#[test]
fn exif_orientation_turns_the_image_upright() {
    let image = picture(24, 16, 5);
    let flat = decode(&jpeg(&image), "f").expect("JPEG");
    assert_eq!(decode(&oriented(&image, 1), "f").expect("upright"), flat);
    let turned = decode(&oriented(&image, 6), "f").expect("turned");
    assert_eq!((turned.width, turned.height), (16, 24));
    // Orientation 6: the first row of the file is the right column, so the file's lower left corner comes to the top left.
    assert_eq!(turned.pixels[..3], flat.pixels[15 * 24 * 3..15 * 24 * 3 + 3]);
    let over = decode(&oriented(&image, 3), "f").expect("upside down");
    assert_eq!(over.pixels[..3], flat.pixels[flat.pixels.len() - 3..]);
}

#[test]
fn no_cut_of_a_jpeg_is_an_image() {
    let image = picture(40, 30, 7);
    let mut progressive = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut progressive, 90);
    encoder.set_progressive(true);
    encoder.encode(image.as_raw(), 40, 30, jpeg_encoder::ColorType::Rgb).expect("encodes");
    let mut restarts = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut restarts, 90);
    encoder.set_restart_interval(2);
    encoder.encode(image.as_raw(), 40, 30, jpeg_encoder::ColorType::Rgb).expect("encodes");
    for bytes in [jpeg(&image), progressive, restarts] {
        decode(&bytes, "f").expect("whole");
        for n in 0..bytes.len() {
            let error = decode(&bytes[..n], "f").expect_err("cut");
            assert!(matches!(error, DataError::Undecodable { .. }), "{n} of {}: {error}", bytes.len());
        }
        // What stands behind the end does no harm.
        decode(&[bytes.as_slice(), &[0; 9]].concat(), "f").expect("whole");
    }
    says(&jpeg(&image)[..700], "truncated JPEG of 700 bytes");
    let bytes = png(&image);
    for n in 0..bytes.len() - 12 {
        decode(&bytes[..n], "f").expect_err("cut PNG");
    }
}

/// Where the data of each scan begin and end.
fn scans(bytes: &[u8]) -> Vec<(usize, usize)> {
    let (mut at, mut scans) = (2, Vec::new());
    while bytes[at + 1] != 0xd9 {
        let end = at + 2 + usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
        let is_scan = bytes[at + 1] == 0xda;
        at = end;
        if is_scan {
            while bytes[at] != 0xff || matches!(bytes[at + 1], 0 | 0xd0..=0xd7) {
                at += 1;
            }
            scans.push((end, at));
        }
    }
    scans
}

/// A setting of the encoder.
type Change = fn(&mut jpeg_encoder::Encoder<&mut Vec<u8>>);

#[test]
fn an_end_marker_too_early_ends_no_image() {
    let encode = |change: Change, grey: bool| {
        let image = picture(67, 45, 7);
        let mut bytes = Vec::new();
        let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, 90);
        change(&mut encoder);
        match grey {
            true => {
                let grey: Vec<u8> = image.as_raw().iter().step_by(3).copied().collect();
                encoder.encode(&grey, 67, 45, jpeg_encoder::ColorType::Luma)
            }
            false => encoder.encode(image.as_raw(), 67, 45, jpeg_encoder::ColorType::Rgb),
        }
        .expect("encodes");
        bytes
    };
    let forms: [(&str, Change); 6] = [
        ("plain", |_| {}),
        ("subsampled", |e| e.set_sampling_factor(jpeg_encoder::SamplingFactor::F_2_2)),
        ("own tables", |e| e.set_optimized_huffman_tables(true)),
        ("progressive", |e| e.set_progressive(true)),
        ("restarts", |e| e.set_restart_interval(3)),
        ("progressive restarts", |e| {
            e.set_progressive(true);
            e.set_restart_interval(3);
        }),
    ];
    for (name, change) in forms {
        for grey in [false, true] {
            let whole = encode(change, grey);
            decode(&whole, "f").unwrap_or_else(|error| panic!("{name}: {error}"));
            let parts = scans(&whole);
            let (_, end) = parts[parts.len() - 1];
            let comment = [&whole[..end], &[0xff, 0xfe, 0, 2], &whole[end..]].concat();
            decode(&comment, "f").unwrap_or_else(|error| panic!("{name}, a comment at the end: {error}"));
            let progressive = name.starts_with("progressive");
            // Of a progressive JPEG later scans only add detail: what is cut is the first, which makes the image, and the last.
            let cut = if progressive { vec![parts[0], parts[parts.len() - 1]] } else { parts };
            for (start, end) in cut {
                // The last byte holds padding, and a unit that ends there may be whole without it.
                for at in start..end - 2 {
                    if whole[at - 1] == 0xff {
                        continue;
                    }
                    // A comment between the data and the end marker belongs to no scan.
                    for rest in [&[0xff, 0xd9][..], &[0xff, 0xfe, 0, 2, 0xff, 0xd9]] {
                        let early = [&whole[..at], rest].concat();
                        let got = decode(&early, "f").map(|_| ());
                        let got = got.expect_err(&format!("{name}, grey {grey}: {at} of {end}, then {}", rest.len()));
                        assert!(matches!(got, DataError::Undecodable { .. }), "{got}");
                    }
                }
            }
        }
    }
}

#[test]
fn scans_too_many_or_too_few_and_restarts_without_end_are_refused() {
    let whole = jpeg(&picture(67, 45, 7));
    let (start, end) = scans(&whole)[0];
    let header = whole.windows(2).rposition(|pair| pair == [0xff, 0xda]).expect("a scan");
    let twice = [&whole[..start + 40], &whole[header..]].concat();
    says(&twice, "one more scan");
    // 9 times 6 units of 8 by 8 pixels: the restarts cost no more memory than that.
    let restarts = [&whole[..end], &[0xff, 0xd0].repeat(100_000), &whole[end..]].concat();
    says(&restarts, "more restart markers than its 54 units");
    // Where coefficients begin is said by progressive scans alone: in others it takes no colour away.
    let mut odd = whole.clone();
    odd[start - 3] = 1;
    let said = decode(&odd, "f").map_or_else(|error| error.to_string(), |_| "an image".to_owned());
    assert!(!said.contains("colours"), "{said}");
    let mut progressive = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut progressive, 90);
    encoder.set_progressive(true);
    encoder.encode(picture(67, 45, 7).as_raw(), 67, 45, jpeg_encoder::ColorType::Rgb).expect("encodes");
    let first = scans(&progressive)[0].1;
    says(&[&progressive[..first], &[0xff, 0xd9]].concat(), "a progressive JPEG that ends in its first scan");
    // A size that is too large is refused before anything else is looked at.
    let error = decode_at_most(&restarts, 67 * 45 - 1, "f").map(|_| ()).expect_err("too large");
    assert!(matches!(error, DataError::TooManyPixels { .. }), "{error}");
}

#[test]
fn what_is_no_image_is_named() {
    says(b"", "0 bytes of nothing");
    says(b"  <!DOCTYPE html><html>404</html>", "web page");
    says(b"just some words", "text");
    says(&[0, 1, 2, 3, 4], "[00, 01, 02, 03]");
    says(b"II*\0\x08\0\0\0", "Tiff, which is not read here");
}

/// A PNG of a few bytes that states any size.
fn stated_png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = b"IHDR".to_vec();
    chunk.extend(width.to_be_bytes());
    chunk.extend(height.to_be_bytes());
    chunk.extend([8, 2, 0, 0, 0]);
    bytes.extend(13u32.to_be_bytes());
    bytes.extend(&chunk);
    bytes.extend(crc32fast::hash(&chunk).to_be_bytes());
    bytes.extend(b"\0\0\0\x09IDAT\x78\x9c\x03\0\0\0\0\0\x01");
    bytes.extend(crc32fast::hash(b"IDAT\x78\x9c\x03\0\0\0\0\0\x01").to_be_bytes());
    bytes
}

#[test]
fn a_bomb_is_refused_before_it_is_unpacked() {
    let started = std::time::Instant::now();
    for (width, height) in [(60_000, 60_000), (2_000_000_000, 2), (1 << 30, 1 << 30)] {
        let error = decode(&stated_png(width, height), "f").expect_err("bomb");
        assert!(matches!(error, DataError::TooManyPixels { .. } | DataError::Undecodable { .. }), "{error}");
    }
    let mut bytes = jpeg(&picture(16, 16, 0));
    let at = bytes.windows(2).position(|two| two == [0xff, 0xc0]).expect("a frame header") + 5;
    bytes[at..at + 4].copy_from_slice(&[0xea, 0x60, 0xea, 0x60]);
    let error = decode(&bytes, "f").expect_err("bomb");
    assert!(matches!(error, DataError::TooManyPixels { width: 60_000, height: 60_000, .. }), "{error}");
    assert!(started.elapsed().as_secs_f64() < 1.0, "{:?}", started.elapsed());
    let error = decode_at_most(&png(&picture(11, 10, 0)), 109, "f").expect_err("110 pixels");
    assert!(error.to_string().contains("at most 109 pixels, got 11x10"), "{error}");
}

#[test]
fn flipped_bytes_never_panic_and_never_change_the_size_unnoticed() {
    let image = picture(30, 20, 9);
    let mut rng = Stream::new(11, 99, 0, 0);
    for original in [jpeg(&image), png(&image), encoded(&DynamicImage::ImageRgb8(image.clone()), ImageFormat::Gif)] {
        for _ in 0..3000 {
            let mut bytes = original.clone();
            for _ in 0..1 + rng.below(4) {
                let at = rng.below(bytes.len() as u32) as usize;
                bytes[at] = rng.next_u32() as u8;
            }
            if rng.chance(0.3) {
                bytes.truncate(rng.below(bytes.len() as u32) as usize);
            }
            if let Ok(picture) = decode_at_most(&bytes, 1 << 20, "f") {
                assert_eq!(picture.pixels.len(), 3 * picture.width * picture.height);
            }
        }
    }
}
