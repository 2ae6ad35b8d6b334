//! A hash over all bytes of a file, inside the file.
//!
//! The metadata of a sealed safetensors file hold `"sha256"`: SHA-256 of the whole file as it is with 64 zeros in the place of the
//! digits. So one flipped bit anywhere shows, and any reader of safetensors passes over it.

use sha2::{Digest, Sha256};

/// Key of the hash in the metadata.
pub(crate) const KEY: &str = "sha256";
/// What stands there while the hash is computed.
pub(crate) const BLANK: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Puts the hash into bytes whose metadata hold [`BLANK`] under [`KEY`].
///
/// Returns false where they do not.
pub(crate) fn seal(bytes: &mut [u8]) -> bool {
    let Some(at) = digits(bytes).filter(|at| &bytes[at.clone()] == BLANK.as_bytes()) else { return false };
    let hash = hex(&Sha256::digest(&*bytes));
    bytes[at].copy_from_slice(hash.as_bytes());
    true
}

/// Whether the bytes are those that were sealed; none where they hold no seal.
pub(crate) fn is_whole(bytes: &[u8]) -> Option<bool> {
    let at = digits(bytes)?;
    let mut sum = Sha256::new();
    sum.update(&bytes[..at.start]);
    sum.update(BLANK);
    sum.update(&bytes[at.end..]);
    Some(hex(&sum.finalize()).as_bytes() == &bytes[at])
}

/// Where the digits stand. The key with its quotes is nowhere else in the header: quotes within a text are escaped.
fn digits(bytes: &[u8]) -> Option<std::ops::Range<usize>> {
    let length = u64::from_le_bytes(*bytes.first_chunk::<8>()?);
    let header = bytes.get(8..8usize.checked_add(usize::try_from(length).ok()?)?)?;
    let key = format!("\"{KEY}\":\"");
    let first = 8 + header.windows(key.len()).position(|window| window == key.as_bytes())? + key.len();
    let digits = first..first + BLANK.len();
    let is_hex = |byte: &u8| byte.is_ascii_hexdigit();
    bytes.get(digits.clone())?.iter().all(is_hex).then_some(digits)
}

fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;
    use wgrad_tensor::{Array, Shape};

    fn sealed() -> Vec<u8> {
        let mut checkpoint = Checkpoint::default();
        let array = Array::new(Shape::from([3]), vec![1.0, -2.0, 0.5]).expect("three");
        checkpoint.tensors.insert("w".to_string(), array);
        // A text that looks like the key, and one that comes before it in the order of keys.
        checkpoint.metadata.insert("classes".to_string(), format!("[\"\\\"{KEY}\\\":\\\"{BLANK}\\\"\"]"));
        checkpoint.to_sealed_bytes()
    }

    #[test]
    fn one_flipped_bit_anywhere_shows() {
        let bytes = sealed();
        assert_eq!(is_whole(&bytes), Some(true));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut broken = bytes.clone();
                broken[at] ^= 1 << bit;
                // A flip in the key or the digits' form leaves no seal, which no reader of sealed files takes either.
                assert_ne!(is_whole(&broken), Some(true), "byte {at}, bit {bit}");
            }
        }
        for length in 0..bytes.len() {
            assert_ne!(is_whole(&bytes[..length]), Some(true), "{length} bytes");
        }
    }

    #[test]
    fn what_is_not_sealed_is_told_from_what_is_broken() {
        assert_eq!(is_whole(&Checkpoint::default().to_bytes()), None);
        assert_eq!(is_whole(b""), None);
        assert_eq!(is_whole(&u64::MAX.to_le_bytes()), None);
        assert!(!seal(&mut Checkpoint::default().to_bytes()));
        let bytes = sealed();
        assert!(Checkpoint::parse(&bytes, "x").is_ok_and(|read| read.metadata[KEY].len() == 64));
    }
}
