//! Reading little-endian numbers from bytes that may end too early.

use super::error::Defect;

/// A place in some bytes, and what they are called in messages.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    part: &'a str,
}

impl<'a> Cursor<'a> {
    /// The start of `bytes`.
    pub(super) fn new(bytes: &'a [u8], part: &'a str) -> Cursor<'a> {
        Cursor { bytes, at: 0, part }
    }

    /// A place that may lie behind the end: what is read there is an error.
    pub(super) fn at(bytes: &'a [u8], at: usize, part: &'a str) -> Cursor<'a> {
        Cursor { bytes, at, part }
    }

    /// Bytes before this place.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Bytes behind this place.
    pub(super) fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// A defect at this place.
    pub(super) fn defect(&self, what: impl Into<String>) -> Defect {
        Defect::new(self.part, self.at, what)
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Defect> {
        let end = self.at.checked_add(count);
        let Some(taken) = end.and_then(|end| self.bytes.get(self.at..end)) else {
            return Err(self.defect(format!("truncated: wanted {count} bytes, {} are left", self.left())));
        };
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Defect> {
        let taken = self.take(N)?;
        Ok(std::array::from_fn(|i| taken[i]))
    }

    pub(super) fn u8(&mut self) -> Result<u8, Defect> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, Defect> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Defect> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Defect> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A length in four or eight bytes, as a length of this machine.
    pub(super) fn length(&mut self, wide: bool) -> Result<usize, Defect> {
        let length = if wide { self.u64()? } else { u64::from(self.u32()?) };
        usize::try_from(length).map_err(|_| self.defect(format!("a length of {length} bytes, more than can be")))
    }

    /// A number of protocol buffers: seven bits a byte, at most ten bytes.
    pub(super) fn varint(&mut self) -> Result<u64, Defect> {
        let mut value = 0u64;
        for i in 0..10 {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.defect("a number of more than ten bytes"))
    }

    /// Text up to the next line feed, which is passed over.
    pub(super) fn line(&mut self) -> Result<&'a str, Defect> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let end = rest.iter().position(|&byte| byte == b'\n').ok_or_else(|| self.defect("a line without an end"))?;
        let text = self.text(end)?;
        self.at += 1;
        Ok(text)
    }

    /// The next `count` bytes as text.
    pub(super) fn text(&mut self, count: usize) -> Result<&'a str, Defect> {
        let start = self.at;
        let taken = self.take(count)?;
        std::str::from_utf8(taken).map_err(|_| Defect::new(self.part, start, "text that is not UTF-8"))
    }
}
