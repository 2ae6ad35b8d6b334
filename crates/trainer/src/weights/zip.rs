//! The members of a zip archive that are stored uncompressed, as `torch.save` writes them.
//!
//! Only the central directory is believed: a member is a range of the file with a check sum. Archives of more than 4 GiB
//! (zip64) are read, too; compressed, encrypted or split ones are refused.

use super::cursor::Cursor;
use super::error::Defect;
use std::collections::BTreeMap;

/// Most members of an archive.
const MAX_MEMBERS: u64 = 1 << 20;
/// Longest end record: a comment may take 65,535 bytes.
const MAX_END_BYTES: usize = 22 + 0xffff;
const ALL_32: u64 = 0xffff_ffff;

/// Where a member lies in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Member {
    header: u64,
    bytes: u64,
    crc: u32,
    packed: bool,
}

/// An archive: names and places, no contents.
#[derive(Debug)]
pub(super) struct Archive<'a> {
    bytes: &'a [u8],
    members: BTreeMap<&'a str, Member>,
}

impl<'a> Archive<'a> {
    /// Reads the central directory.
    ///
    /// # Errors
    /// No end record, a directory that is cut off, more than a million members, two members of one name.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Archive<'a>, Defect> {
        let (start, count) = directory(bytes)?;
        if count > MAX_MEMBERS {
            return Err(Defect::new("zip directory", 0, format!("{count} members, at most {MAX_MEMBERS} may be")));
        }
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        let mut cursor = Cursor::at(bytes, start, "zip directory");
        let mut members = BTreeMap::new();
        for _ in 0..count {
            let (name, member) = entry(&mut cursor)?;
            if members.insert(name, member).is_some() {
                return Err(cursor.defect(format!("member {name:?} stands there twice")));
            }
        }
        Ok(Archive { bytes, members })
    }

    /// Names of all members, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.members.keys().copied()
    }

    /// The bytes of a member, whose check sum is right; `None` if there is no such member.
    ///
    /// # Errors
    /// A member that is compressed, lies outside the file, or is damaged.
    pub(super) fn get(&self, name: &str) -> Result<Option<&'a [u8]>, Defect> {
        let Some(member) = self.members.get(name) else { return Ok(None) };
        let data = self.data(member);
        data.map(Some).map_err(|defect| Defect { part: format!("zip member {name:?}"), ..defect })
    }

    fn data(&self, member: &Member) -> Result<&'a [u8], Defect> {
        let header = usize::try_from(member.header).unwrap_or(usize::MAX);
        let mut cursor = Cursor::at(self.bytes, header, "");
        if member.packed {
            return Err(cursor.defect("compressed or encrypted, wanted one that is stored as it is; save it again"));
        }
        if cursor.u32()? != 0x0403_4b50 {
            return Err(cursor.defect("no local header where the directory says it is"));
        }
        cursor.take(22)?;
        let (name_bytes, extra_bytes) = (cursor.u16()?, cursor.u16()?);
        cursor.take(usize::from(name_bytes) + usize::from(extra_bytes))?;
        let data = cursor.take(usize::try_from(member.bytes).unwrap_or(usize::MAX))?;
        let mut crc = flate2::Crc::new();
        crc.update(data);
        if crc.sum() != member.crc {
            let what = format!("its check sum is {:08x}, wanted {:08x}; fetch the file again", crc.sum(), member.crc);
            return Err(cursor.defect(what));
        }
        Ok(data)
    }
}

/// First byte and number of entries of the central directory.
fn directory(bytes: &[u8]) -> Result<(u64, u64), Defect> {
    const END: &str = "zip end record";
    let first = bytes.len().saturating_sub(MAX_END_BYTES);
    let tail = bytes.get(first..).unwrap_or_default();
    let found = tail.windows(4).rposition(|window| window == b"PK\x05\x06");
    let at = first + found.ok_or_else(|| Defect::new(END, bytes.len(), "there is none: the file is cut off"))?;
    let mut cursor = Cursor::at(bytes, at + 4, END);
    let disks = [cursor.u16()?, cursor.u16()?];
    let (_, count) = (cursor.u16()?, cursor.u16()?);
    let (_, start) = (cursor.u32()?, cursor.u32()?);
    let comment_bytes = usize::from(cursor.u16()?);
    cursor.take(comment_bytes)?;
    // A locator of 20 bytes stands before the end record of a zip64 archive.
    let locator = at.checked_sub(20).filter(|&locator| bytes[locator..].starts_with(b"PK\x06\x07"));
    if let Some(locator) = locator {
        let mut cursor = Cursor::at(bytes, locator + 8, END);
        let end = cursor.length(true)?;
        let mut cursor = Cursor::at(bytes, end, END);
        if cursor.u32()? != 0x0606_4b50 {
            return Err(cursor.defect("no zip64 end record where the locator says it is"));
        }
        cursor.take(28)?;
        let count = cursor.u64()?;
        cursor.take(8)?;
        return Ok((cursor.u64()?, count));
    }
    if disks != [0, 0] {
        return Err(cursor.defect("one part of a split archive"));
    }
    Ok((u64::from(start), u64::from(count)))
}

fn entry<'a>(cursor: &mut Cursor<'a>) -> Result<(&'a str, Member), Defect> {
    if cursor.u32()? != 0x0201_4b50 {
        return Err(cursor.defect("no entry where one should begin"));
    }
    cursor.take(4)?;
    let (flags, method) = (cursor.u16()?, cursor.u16()?);
    cursor.take(4)?;
    let (crc, packed_bytes, bytes) = (cursor.u32()?, u64::from(cursor.u32()?), u64::from(cursor.u32()?));
    let [name_bytes, extra_bytes, comment_bytes] = [cursor.u16()?, cursor.u16()?, cursor.u16()?].map(usize::from);
    cursor.take(8)?;
    let header = u64::from(cursor.u32()?);
    let name = cursor.text(name_bytes)?;
    let mut extra = Cursor::new(cursor.take(extra_bytes)?, "zip directory: extra field");
    cursor.take(comment_bytes)?;
    let mut wide = [bytes, packed_bytes, header];
    // Blocks of (kind, length); what is left over at the end may be padding.
    while extra.left() >= 4 {
        let (kind, length) = (extra.u16()?, usize::from(extra.u16()?));
        let mut block = Cursor::new(extra.take(length)?, "zip directory: zip64 field");
        if kind == 1 {
            for value in wide.iter_mut().filter(|value| **value == ALL_32) {
                *value = block.u64()?;
            }
        }
    }
    let [bytes, packed_bytes, header] = wide;
    let packed = flags & 1 != 0 || method != 0 || packed_bytes != bytes;
    Ok((name, Member { header, bytes, crc, packed }))
}
