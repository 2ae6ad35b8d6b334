//! A contact sheet of batches as a network gets them: look before you train.

use std::io::Cursor;

use image::{ImageFormat, RgbImage};

use crate::data::DataError;
use crate::loader::{Batch, NO_LABEL};

/// Columns of the sheet.
const COLUMNS: usize = 8;
/// Pixels between images.
const GAP: usize = 2;
/// The most images on a sheet.
const MOST: usize = 64;

/// A PNG of the first 64 images of some batches, eight in a row, as they are packed; grey ones stay grey. `channels`, `height`
/// and `width` are the data set's. Padding is left out.
///
/// # Errors
/// A batch without an image, images of another size or too large for a PNG.
pub fn contact_sheet(batches: &[Batch], channels: usize, height: usize, width: usize) -> Result<Vec<u8>, DataError> {
    let origin = || "contact sheet".to_owned();
    let pixels = height * width;
    let mut images = Vec::new();
    for batch in batches {
        let labels = batch.labels.iter().take(batch.valid);
        let counted = batch.images.chunks_exact(pixels.max(1)).zip(labels).filter(|(_, label)| **label != NO_LABEL);
        images.extend(counted.map(|(image, _)| image));
    }
    images.truncate(MOST);
    if images.is_empty() {
        return Err(DataError::Empty { origin: origin(), what: "image" });
    }
    let columns = images.len().min(COLUMNS);
    let rows = images.len().div_ceil(COLUMNS);
    let side = |n: usize, of: usize| (n * (of + GAP) + GAP) as u32;
    let mut sheet = RgbImage::from_pixel(side(columns, width), side(rows, height), image::Rgb([255; 3]));
    for (i, image) in images.iter().enumerate() {
        let (left, top) = (side(i % COLUMNS, width), side(i / COLUMNS, height));
        for (at, word) in image.iter().enumerate() {
            let [r, g, b, _] = word.to_le_bytes();
            let colour = if channels == 1 { [r, r, r] } else { [r, g, b] };
            sheet.put_pixel(left + (at % width) as u32, top + (at / width) as u32, image::Rgb(colour));
        }
    }
    let mut bytes = Cursor::new(Vec::new());
    sheet
        .write_to(&mut bytes, ImageFormat::Png)
        .map_err(|error| DataError::Undecodable { origin: origin(), message: error.to_string() })?;
    Ok(bytes.into_inner())
}
