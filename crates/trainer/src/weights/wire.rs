//! The wire format of protocol buffers: fields by number, as far as Caffe uses it.

use super::cursor::Cursor;
use super::error::Defect;

/// One field of a message.
#[derive(Clone, Debug)]
pub(super) struct Field<'a> {
    /// Its number in the `.proto` file.
    pub(super) number: u64,
    /// Bytes of the file before its content.
    pub(super) at: usize,
    /// Its content.
    pub(super) content: Content<'a>,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Content<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    /// Text, a message or packed numbers.
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

/// The fields of a message whose first byte is number `start` of the file, one by one. Groups, which nothing has used since
/// 2008, are refused, so that nothing here nests.
pub(super) fn fields<'a>(
    message: &'a [u8],
    start: usize,
    part: &'a str,
) -> impl Iterator<Item = Result<Field<'a>, Defect>> {
    let mut cursor = Cursor::new(message, part);
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed || cursor.left() == 0 {
            return None;
        }
        let field = field(&mut cursor).map(|field| Field { at: field.at + start, ..field });
        failed = field.is_err();
        Some(field.map_err(|defect| Defect { at: defect.at + start, ..defect }))
    })
}

fn field<'a>(cursor: &mut Cursor<'a>) -> Result<Field<'a>, Defect> {
    let tag = cursor.varint()?;
    let mut at = cursor.position();
    let content = match tag & 7 {
        0 => Content::Varint(cursor.varint()?),
        1 => Content::Fixed64(cursor.u64()?.to_le_bytes()),
        2 => {
            let length = usize::try_from(cursor.varint()?).unwrap_or(usize::MAX);
            at = cursor.position();
            Content::Bytes(cursor.take(length)?)
        }
        5 => Content::Fixed32(cursor.u32()?.to_le_bytes()),
        kind => return Err(cursor.defect(format!("field {} is of wire type {kind}, which is not used", tag >> 3))),
    };
    Ok(Field { number: tag >> 3, at, content })
}
