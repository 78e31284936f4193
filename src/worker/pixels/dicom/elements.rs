//! The elements of a DICOM data set (PS3.5, chapter 7): read one after the other, without recursion and without copying values. Only those
//! of the outermost level count; sequences are skipped.

use std::collections::HashMap;

/// Group and element number.
pub type Tag = (u16, u16);

pub const PIXEL_DATA: Tag = (0x7fe0, 0x0010);
const ITEM: Tag = (0xfffe, 0xe000);
const ITEM_END: Tag = (0xfffe, 0xe00d);
const SEQUENCE_END: Tag = (0xfffe, 0xe0dd);
const UNDEFINED: u32 = u32::MAX;
/// Most elements of the outermost level, and most fragments of pixels.
const MOST: usize = 10_000;

/// How elements are written.
#[derive(Clone, Copy)]
pub struct Writing {
    /// Each element says its type.
    pub explicit: bool,
    pub big_endian: bool,
}

/// What was found.
pub struct Elements<'a> {
    pub writing: Writing,
    values: HashMap<Tag, &'a [u8]>,
    /// The pixels: the value itself, or the fragments of a compressed image without the table of their offsets.
    pub pixels: Option<Pixels<'a>>,
}

pub enum Pixels<'a> {
    Plain(&'a [u8]),
    Fragments(Vec<&'a [u8]>),
}

impl<'a> Elements<'a> {
    /// Reads until the pixels, or until the end. Bytes that are no elements end it too: what is missing shows later.
    pub fn read(bytes: &'a [u8], writing: Writing) -> Self {
        let mut found = Self {
            writing,
            values: HashMap::new(),
            pixels: None,
        };
        let mut cursor = Cursor {
            bytes,
            at: 0,
            writing,
        };
        let mut depth = 0u32;
        while let Some((tag, length)) = cursor.head() {
            match tag {
                ITEM if length == UNDEFINED => depth += 1,
                ITEM_END | SEQUENCE_END => depth = depth.saturating_sub(1),
                PIXEL_DATA if depth == 0 => {
                    found.pixels = Some(match length {
                        UNDEFINED => Pixels::Fragments(cursor.fragments()),
                        // Cut short, perhaps: whoever counts the pixels notices.
                        length => Pixels::Plain(cursor.rest(length)),
                    });
                    break;
                }
                _ if length == UNDEFINED => depth += 1,
                _ => {
                    let Some(value) = cursor.value(length) else { break };
                    if depth == 0 && found.values.len() < MOST {
                        found.values.entry(tag).or_insert(value);
                    }
                }
            }
        }
        found
    }

    pub fn bytes(&self, tag: Tag) -> Option<&'a [u8]> {
        self.values.get(&tag).copied()
    }

    /// Text without its padding.
    pub fn text(&self, tag: Tag) -> Option<&'a str> {
        let text = std::str::from_utf8(self.bytes(tag)?).ok()?;
        Some(text.trim_matches(|c: char| c == '\0' || c.is_whitespace()))
    }

    /// The first of the unsigned short values.
    pub fn short(&self, tag: Tag) -> Option<u16> {
        self.shorts(tag).next()
    }

    pub fn shorts(&self, tag: Tag) -> impl Iterator<Item = u16> + use<'a> {
        let big_endian = self.writing.big_endian;
        let value = self.bytes(tag).unwrap_or_default();
        value.chunks_exact(2).map(move |pair| match big_endian {
            true => u16::from_be_bytes([pair[0], pair[1]]),
            false => u16::from_le_bytes([pair[0], pair[1]]),
        })
    }

    /// The first of several numbers that are written as text.
    pub fn decimal(&self, tag: Tag) -> Option<f64> {
        let first = self.text(tag)?.split('\\').next()?;
        first
            .trim()
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    writing: Writing,
}

impl<'a> Cursor<'a> {
    /// Tag and length of the next element.
    fn head(&mut self) -> Option<(Tag, u32)> {
        let tag = (self.short()?, self.short()?);
        // The marks of items have no type.
        if !self.writing.explicit || tag.0 == 0xfffe {
            return Some((tag, self.long()?));
        }
        let kind = self.value(2)?;
        let is_long = matches!(
            kind,
            b"OB"
                | b"OD"
                | b"OF"
                | b"OL"
                | b"OV"
                | b"OW"
                | b"SQ"
                | b"SV"
                | b"UC"
                | b"UN"
                | b"UR"
                | b"UT"
                | b"UV"
        );
        if is_long {
            self.value(2)?;
            return Some((tag, self.long()?));
        }
        Some((tag, u32::from(self.short()?)))
    }

    /// The items of pixels in several parts, but the first, a table.
    fn fragments(&mut self) -> Vec<&'a [u8]> {
        let mut fragments = Vec::new();
        let mut is_table = true;
        while let Some((ITEM, length)) = self.head() {
            let fragment = self.rest(length);
            if !std::mem::take(&mut is_table) && fragments.len() < MOST {
                fragments.push(fragment);
            }
        }
        fragments
    }

    fn value(&mut self, length: u32) -> Option<&'a [u8]> {
        let end = self.at.checked_add(usize::try_from(length).ok()?)?;
        let value = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(value)
    }

    /// As [`Cursor::value`], and fewer bytes if there are fewer.
    fn rest(&mut self, length: u32) -> &'a [u8] {
        let left = self.bytes.get(self.at..).unwrap_or_default();
        let value = left.get(..length as usize).unwrap_or(left);
        self.at += value.len();
        value
    }

    fn short(&mut self) -> Option<u16> {
        let bytes = self.value(2)?.try_into().ok()?;
        Some(if self.writing.big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        })
    }

    fn long(&mut self) -> Option<u32> {
        let bytes = self.value(4)?.try_into().ok()?;
        Some(if self.writing.big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    }
}
