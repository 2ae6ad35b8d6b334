//! Bytes of an image file to RGB pixels.
//!
//! The format is told by the first bytes, never by a name. Every kind of image has one defined result:
//!
//! | image | becomes |
//! |---|---|
//! | grey | three equal channels |
//! | 16 bits a channel | the nearest of 256 steps |
//! | alpha | dropped, the colours stay as they are stored (as Pillow's `convert("RGB")`) |
//! | palette | its colours |
//! | CMYK, YCCK | RGB, `channel = 255 * (1-c) * (1-k)`; Adobe's inverted storage is undone |
//! | EXIF orientation (JPEG, PNG, WebP) | turned upright |
//! | animation | its first frame |
//! | colour profile | ignored |
//! | progressive JPEG of one scan | refused: no more than one that was cut there |
//!
//! A JPEG that ends early is an error even where a decoder would fill the rest with grey; so is one whose end marker comes too
//! early.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::{DataError, Picture, jpeg};

/// The most pixels accepted: 64 Mi, 192 MiB of RGB. Larger images are refused before anything is allocated for them.
pub const MAX_PIXELS: u64 = 1 << 26;

/// The pixels of an image file; `origin` names the bytes in messages.
///
/// # Errors
/// Bytes of no known format, a damaged or truncated file, more than [`MAX_PIXELS`] pixels.
pub fn decode(bytes: &[u8], origin: &str) -> Result<Picture, DataError> {
    decode_at_most(bytes, MAX_PIXELS, origin)
}

/// As [`decode`], with a limit of one's own.
///
/// # Errors
/// As [`decode`].
pub fn decode_at_most(bytes: &[u8], max_pixels: u64, origin: &str) -> Result<Picture, DataError> {
    // A bug of a decoder costs one image and not the run. Nothing outlives the panic.
    catch_unwind(AssertUnwindSafe(|| match is_jpeg(bytes) {
        true => decode_jpeg(bytes, max_pixels, origin),
        false => other(bytes, max_pixels, origin),
    }))
    .unwrap_or_else(|_| Err(broken(origin, "bytes at which the decoder panics")))
}

/// Whether the bytes begin as a JPEG does.
#[must_use]
pub fn is_jpeg(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xff, 0xd8, 0xff])
}

fn broken(origin: &str, message: impl ToString) -> DataError {
    let message: String = message.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    DataError::Undecodable { origin: origin.to_owned(), message }
}

fn within(size: (u64, u64), limit: u64, origin: &str) -> Result<(), DataError> {
    let (width, height) = size;
    if width == 0 || height == 0 {
        return Err(broken(origin, format!("{width}x{height} pixels")));
    }
    if width.saturating_mul(height) > limit {
        return Err(DataError::TooManyPixels { origin: origin.to_owned(), width, height, limit });
    }
    Ok(())
}

fn decode_jpeg(bytes: &[u8], max_pixels: u64, origin: &str) -> Result<Picture, DataError> {
    // Strict: otherwise what is missing or unreadable becomes grey pixels without a word.
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(1 << 16)
        .set_max_height(1 << 16)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let headers = |bytes| {
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
        decoder.decode_headers().map_err(|error| broken(origin, format!("a broken JPEG ({error})")))?;
        let (width, height) = decoder.dimensions().ok_or_else(|| broken(origin, "a JPEG without a size"))?;
        within((width as u64, height as u64), max_pixels, origin)?;
        Ok((decoder, width, height))
    };
    // The size goes first: sealing costs memory, too.
    headers(bytes)?;
    let sealed = jpeg::sealed(bytes).map_err(|missing| broken(origin, missing))?;
    let (mut decoder, width, height) = headers(&sealed)?;
    let pixels = decoder.decode().map_err(|error| broken(origin, format!("a broken JPEG ({error})")))?;
    if decoder.output_colorspace() != Some(ColorSpace::RGB) || pixels.len() != 3 * width * height {
        return Err(broken(origin, "a JPEG whose colours are not known"));
    }
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    upright(Picture { width, height, pixels }, orientation, origin)
}

fn other(bytes: &[u8], max_pixels: u64, origin: &str) -> Result<Picture, DataError> {
    let format = image::guess_format(bytes).map_err(|_| broken(origin, seen(bytes)))?;
    let known = [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Gif, ImageFormat::WebP, ImageFormat::Pnm];
    if !known.contains(&format) {
        return Err(broken(origin, format!("{format:?}, which is not read here")));
    }
    let said = |error| broken(origin, format!("a broken {format:?} ({error})"));
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = image::Limits::default();
    // Decoders hold up to 8 bytes a pixel (16-bit RGBA) and rows of their own.
    limits.max_alloc = Some(max_pixels.saturating_mul(8).saturating_add(1 << 20));
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(said)?;
    let (width, height) = decoder.dimensions();
    within((width.into(), height.into()), max_pixels, origin)?;
    let orientation = decoder.orientation().ok();
    let image = DynamicImage::from_decoder(decoder).map_err(said)?;
    let image = image.into_rgb8();
    let (width, height) = (image.width() as usize, image.height() as usize);
    upright(Picture { width, height, pixels: image.into_raw() }, orientation, origin)
}

fn upright(picture: Picture, orientation: Option<Orientation>, origin: &str) -> Result<Picture, DataError> {
    let Some(orientation) = orientation.filter(|&o| o != Orientation::NoTransforms) else {
        return Ok(picture);
    };
    let image = RgbImage::from_raw(picture.width as u32, picture.height as u32, picture.pixels)
        .ok_or_else(|| broken(origin, "an image whose size and pixels disagree"))?;
    let mut image = DynamicImage::ImageRgb8(image);
    image.apply_orientation(orientation);
    let image = image.into_rgb8();
    Ok(Picture { width: image.width() as usize, height: image.height() as usize, pixels: image.into_raw() })
}

/// What bytes of no image look like.
fn seen(bytes: &[u8]) -> String {
    let text = bytes.trim_ascii_start();
    match text {
        [] => format!("{} bytes of nothing", bytes.len()),
        [b'<', ..] => "text that looks like a web page".to_owned(),
        _ if text.iter().take(64).all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()) => "text".to_owned(),
        _ => format!("bytes that begin with {:02x?}", &bytes[..bytes.len().min(4)]),
    }
}
