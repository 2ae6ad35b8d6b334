//! The idx form of MNIST and its kin.
//!
//! Four bytes (0, 0, element type, rank), then each extent as a big-endian u32, then the elements. Only element type 8
//! (u8) occurs in image sets. Files come gzip-packed or plain; the first two bytes tell.
//! Source: Y. LeCun, C. Cortes and C. Burges, the MNIST database's page.

use std::io::Read;

use flate2::Crc;
use flate2::bufread::GzDecoder;

use super::DataError;

/// The largest array accepted, in bytes. The largest set in this form (EMNIST by class) has 0.55 GB.
pub const MAX_BYTES: usize = 1 << 30;
/// The largest extent of an image accepted, in pixels.
pub const MAX_SIDE: usize = 4096;

/// Images as they stand in an idx file of rank 3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// Pixels, shape `[n, height, width]`.
    pub pixels: Vec<u8>,
    /// Number of images.
    pub n: usize,
    /// Rows, in pixels.
    pub height: usize,
    /// Columns, in pixels.
    pub width: usize,
}

/// Reads a file of images (rank 3), gzip-packed or plain; `origin` names the bytes in messages.
///
/// # Errors
/// Wrong magic number, no image, sizes over [`MAX_BYTES`] or [`MAX_SIDE`], too few or too many bytes, broken gzip.
pub fn parse_images(bytes: &[u8], origin: &str) -> Result<Images, DataError> {
    let plain = unpacked(bytes, origin)?;
    let (dims, pixels) = parse::<3>(&plain, "idx file of u8 images", origin)?;
    let [n, height, width] = dims;
    for side in [height, width] {
        if side > MAX_SIDE {
            return Err(DataError::TooLarge {
                origin: origin.to_owned(),
                what: "a row or column of an image",
                limit: MAX_SIDE as u64,
                got: side as u64,
            });
        }
    }
    Ok(Images { pixels: pixels.to_vec(), n, height, width })
}

/// Reads a file of labels (rank 1), gzip-packed or plain; `origin` names the bytes in messages.
///
/// # Errors
/// As [`parse_images`], and a label of `classes` or more.
pub fn parse_labels(bytes: &[u8], classes: u32, origin: &str) -> Result<Vec<u32>, DataError> {
    let plain = unpacked(bytes, origin)?;
    let (_, labels) = parse::<1>(&plain, "idx file of u8 labels", origin)?;
    let labels: Vec<u32> = labels.iter().map(|&v| u32::from(v)).collect();
    super::check_labels(&labels, classes, origin)?;
    Ok(labels)
}

/// The extents and the elements of an array of `RANK` dimensions.
fn parse<'a, const RANK: usize>(
    bytes: &'a [u8],
    what: &'static str,
    origin: &str,
) -> Result<([usize; RANK], &'a [u8]), DataError> {
    let truncated = |what, wanted: usize| DataError::Truncated {
        origin: origin.to_owned(),
        what,
        wanted: wanted as u64,
        got: bytes.len() as u64,
    };
    let word = |i: usize| -> Option<u32> {
        let four = bytes.get(4 * i..4 * i + 4)?;
        Some(u32::from_be_bytes(four.try_into().ok()?))
    };
    let header = 4 + 4 * RANK;
    let magic = word(0).ok_or_else(|| truncated("idx header", header))?;
    let wanted = 0x0800 | RANK as u32;
    if magic != wanted {
        return Err(DataError::WrongMagic { origin: origin.to_owned(), what, wanted, got: magic });
    }
    let mut dims = [0; RANK];
    // The product is taken with a check and compared before anything is allocated: a header can state 2^96 elements.
    let mut count = Some(1usize);
    for (i, dim) in dims.iter_mut().enumerate() {
        *dim = word(1 + i).ok_or_else(|| truncated("idx header", header))? as usize;
        count = count.and_then(|n| n.checked_mul(*dim));
    }
    if dims.contains(&0) {
        return Err(DataError::Empty { origin: origin.to_owned(), what: "element in each dimension" });
    }
    let count = count.filter(|&n| n <= MAX_BYTES).ok_or_else(|| DataError::TooLarge {
        origin: origin.to_owned(),
        what: "elements",
        limit: MAX_BYTES as u64,
        got: count.map_or(u64::MAX, |n| n as u64),
    })?;
    match bytes.len().cmp(&(header + count)) {
        std::cmp::Ordering::Less => Err(truncated("idx header and elements", header + count)),
        std::cmp::Ordering::Greater => Err(DataError::TrailingBytes {
            origin: origin.to_owned(),
            wanted: (header + count) as u64,
            got: bytes.len() as u64,
        }),
        std::cmp::Ordering::Equal => Ok((dims, &bytes[header..])),
    }
}

/// The bytes themselves, or what they unpack to where they start as gzip does.
fn unpacked<'a>(bytes: &'a [u8], origin: &str) -> Result<std::borrow::Cow<'a, [u8]>, DataError> {
    if bytes.starts_with(&[0x1f, 0x8b]) {
        gunzip(bytes, MAX_BYTES + 64, origin).map(Into::into)
    } else {
        Ok(bytes.into())
    }
}

/// Undoes gzip, giving at most `limit` bytes: a file of a megabyte can unpack to a gigabyte.
///
/// # Errors
/// A broken stream, a checksum that does not match, bytes behind the end, or more than `limit` bytes.
pub fn gunzip(bytes: &[u8], limit: usize, origin: &str) -> Result<Vec<u8>, DataError> {
    let mut decoder = GzDecoder::new(bytes);
    let mut out = Vec::new();
    let read = decoder.by_ref().take(limit as u64 + 1).read_to_end(&mut out);
    if out.len() > limit {
        return Err(DataError::TooLarge {
            origin: origin.to_owned(),
            what: "unpacked data",
            limit: limit as u64,
            got: out.len() as u64,
        });
    }
    if let Err(source) = read {
        return Err(checksum_error(bytes, &out, origin)
            .unwrap_or_else(|| DataError::Gzip { origin: origin.to_owned(), source }));
    }
    let rest = decoder.into_inner().len();
    if rest > 0 {
        return Err(DataError::TrailingBytes {
            origin: origin.to_owned(),
            wanted: (bytes.len() - rest) as u64,
            got: bytes.len() as u64,
        });
    }
    Ok(out)
}

/// The checksum error, if all of the content unpacked (its length is the one stated in the last four bytes) and only the
/// CRC-32 before them differs.
fn checksum_error(bytes: &[u8], out: &[u8], origin: &str) -> Option<DataError> {
    let (rest, length) = bytes.split_last_chunk::<4>()?;
    let (_, stated) = rest.split_last_chunk::<4>()?;
    let mut crc = Crc::new();
    crc.update(out);
    let (stated, found) = (u32::from_le_bytes(*stated), crc.sum());
    (u32::from_le_bytes(*length) == out.len() as u32 && stated != found).then(|| DataError::Checksum {
        origin: origin.to_owned(),
        wanted: format!("{stated:08x}"),
        got: format!("{found:08x}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn idx(dims: &[u32], data: &[u8]) -> Vec<u8> {
        let mut v = vec![0, 0, 8, dims.len() as u8];
        for d in dims {
            v.extend(d.to_be_bytes());
        }
        v.extend(data);
        v
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut e = GzEncoder::new(Vec::new(), Compression::fast());
        e.write_all(bytes).expect("memory");
        e.finish().expect("memory")
    }

    #[test]
    fn images_and_labels_plain_and_packed() {
        let file = idx(&[2, 1, 3], &[1, 2, 3, 4, 5, 6]);
        let want = Images { pixels: vec![1, 2, 3, 4, 5, 6], n: 2, height: 1, width: 3 };
        assert_eq!(parse_images(&file, "f").expect("plain"), want);
        assert_eq!(parse_images(&gz(&file), "f").expect("packed"), want);
        assert_eq!(parse_labels(&idx(&[3], &[0, 9, 1]), 10, "f").expect("labels"), [0, 9, 1]);
    }

    #[test]
    fn wrong_kind_of_file() {
        let labels = idx(&[1], &[0]);
        let e = parse_images(&labels, "f").expect_err("rank");
        assert!(matches!(e, DataError::WrongMagic { wanted: 0x803, got: 0x801, .. }), "{e}");
        let e = parse_labels(b"<html>not found</html>", 10, "f").expect_err("text");
        assert!(e.to_string().contains("0x3c68746d"), "{e}");
    }

    #[test]
    fn every_cut_is_an_error_and_never_a_panic() {
        let file = idx(&[2, 2, 2], &[7; 8]);
        for n in 0..file.len() {
            let e = parse_images(&file[..n], "f").expect_err("cut");
            assert!(matches!(e, DataError::Truncated { .. }), "{n}: {e}");
        }
        let packed = gz(&file);
        for n in 2..packed.len() {
            let e = parse_images(&packed[..n], "f").expect_err("cut");
            assert!(matches!(e, DataError::Gzip { .. } | DataError::Checksum { .. }), "{n}: {e}");
        }
    }

    #[test]
    fn a_flipped_bit_of_a_packed_file_never_gives_other_pixels() {
        let packed = gz(&idx(&[2, 2, 2], &[1, 2, 3, 4, 5, 6, 7, 8]));
        let good = parse_images(&packed, "f").expect("good");
        // The first ten bytes hold the time and other fields that no checksum covers.
        for i in 10..packed.len() {
            for bit in 0..8 {
                let mut broken = packed.clone();
                broken[i] ^= 1 << bit;
                // A few bits pad the packed data to whole bytes and mean nothing.
                assert!(parse_images(&broken, "f").map_or(true, |x| x == good), "byte {i} bit {bit}");
            }
        }
    }

    #[test]
    fn checksum_and_tail() {
        let mut packed = gz(&idx(&[1], &[3]));
        let at = packed.len() - 8;
        packed[at] ^= 1;
        let e = parse_labels(&packed, 10, "f").expect_err("crc");
        assert!(matches!(e, DataError::Checksum { .. }), "{e}");
        packed[at] ^= 1;
        packed.push(0);
        let e = parse_labels(&packed, 10, "f").expect_err("tail");
        assert!(matches!(e, DataError::TrailingBytes { .. }), "{e}");
        let e = parse_labels(&idx(&[1], &[3, 3]), 10, "f").expect_err("tail");
        assert!(matches!(e, DataError::TrailingBytes { wanted: 9, got: 10, .. }), "{e}");
    }

    #[test]
    fn sizes_are_capped_before_allocation() {
        let huge = idx(&[u32::MAX, u32::MAX, u32::MAX], &[]);
        let e = parse_images(&huge, "f").expect_err("2^96");
        assert!(matches!(e, DataError::TooLarge { got: u64::MAX, .. }), "{e}");
        let e = parse_images(&idx(&[1 << 20, 64, 64], &[]), "f").expect_err("4 GiB");
        assert!(matches!(e, DataError::TooLarge { got: 0x1_0000_0000, .. }), "{e}");
        let e = parse_images(&idx(&[1, 1, 5000], &[0; 5000]), "f").expect_err("side");
        assert!(matches!(e, DataError::TooLarge { got: 5000, .. }), "{e}");
        let e = gunzip(&gz(&[0; 100_000]), 1000, "f").expect_err("bomb");
        assert!(matches!(e, DataError::TooLarge { limit: 1000, .. }), "{e}");
        let e = parse_images(&idx(&[0, 28, 28], &[]), "f").expect_err("none");
        assert!(matches!(e, DataError::Empty { .. }), "{e}");
    }

    #[test]
    fn labels_have_a_limit() {
        let e = parse_labels(&idx(&[2], &[9, 10]), 10, "f").expect_err("label");
        assert!(matches!(e, DataError::WrongLabel { record: 1, value: 10, limit: 10, .. }));
    }
}
