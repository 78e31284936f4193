//! The directories of a TIFF file, read only as far as it takes to tell what the file is. The pixels are read by the `tiff` crate.

/// Most fields of a directory that are looked at.
const MOST_FIELDS: usize = 4096;

/// A TIFF file, or a BigTIFF, with its byte order.
#[derive(Clone, Copy)]
pub struct Tiff<'a> {
    bytes: &'a [u8],
    little: bool,
    big: bool,
}

/// A field of a directory.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub tag: u16,
    kind: u16,
    count: u64,
    /// Where its values are.
    pub at: usize,
}

impl<'a> Tiff<'a> {
    /// None if this is not a TIFF.
    pub fn of(bytes: &'a [u8]) -> Option<Self> {
        let little = match bytes.get(..2)? {
            b"II" => true,
            b"MM" => false,
            _ => return None,
        };
        let mut tiff = Self {
            bytes,
            little,
            big: false,
        };
        tiff.big = match tiff.number(2, 2)? {
            42 => false,
            43 => true,
            _ => return None,
        };
        Some(tiff)
    }

    pub fn is_little(&self) -> bool {
        self.little
    }

    /// The first image's directory.
    pub fn first(&self) -> Option<u64> {
        let (at, length) = if self.big { (8, 8) } else { (4, 4) };
        self.number(at, length)
    }

    /// The fields of the directory there, and where the next directory is; 0 if there is none.
    pub fn directory(&self, at: u64) -> Option<(Vec<Field>, u64)> {
        // Lengths of the number of fields, of a field, and of an offset.
        let (counter, length, word) = if self.big { (8, 20, 8) } else { (2, 12, 4) };
        let begin = usize::try_from(at).ok()?;
        let count = usize::try_from(self.number(begin, counter)?).ok()?;
        let mut fields = Vec::new();
        for place in 0..count.min(MOST_FIELDS) {
            let at = begin.checked_add(counter + place * length)?;
            let Some(field) = self.field(at, word) else { break };
            fields.push(field);
        }
        let end = count
            .checked_mul(length)
            .and_then(|length| length.checked_add(begin)?.checked_add(counter));
        let next = end.and_then(|end| self.number(end, word)).unwrap_or(0);
        Some((fields, next))
    }

    fn field(&self, at: usize, word: usize) -> Option<Field> {
        let kind = self.number(at + 2, 2)? as u16;
        let count = self.number(at + 4, word)?;
        let inside = at + 4 + word;
        let fits = count
            .checked_mul(size_of_kind(kind) as u64)
            .is_some_and(|bytes| bytes <= word as u64);
        let place = if fits {
            inside
        } else {
            usize::try_from(self.number(inside, word)?).ok()?
        };
        Some(Field {
            tag: self.number(at, 2)? as u16,
            kind,
            count,
            at: place,
        })
    }

    /// Its values as whole numbers, at most `most` of them.
    pub fn numbers(&self, field: &Field, most: usize) -> Vec<u64> {
        let size = size_of_kind(field.kind);
        let count = usize::try_from(field.count).unwrap_or(usize::MAX).min(most);
        let places = (0..count).map_while(|place| field.at.checked_add(place * size));
        places.map_while(|at| self.number(at, size)).collect()
    }

    /// Its bytes.
    pub fn text(&self, field: &Field) -> &'a [u8] {
        let length = usize::try_from(field.count).unwrap_or(usize::MAX);
        let end = field.at.saturating_add(length).min(self.bytes.len());
        self.bytes.get(field.at..end).unwrap_or_default()
    }

    fn number(&self, at: usize, length: usize) -> Option<u64> {
        let digits = self.bytes.get(at..at.checked_add(length)?)?;
        let add = |sum: u64, digit: &u8| sum << 8 | u64::from(*digit);
        Some(if self.little {
            digits.iter().rev().fold(0, add)
        } else {
            digits.iter().fold(0, add)
        })
    }
}

/// TIFF 6.0, section 2, and BigTIFF.
fn size_of_kind(kind: u16) -> usize {
    match kind {
        3 | 8 => 2,
        4 | 9 | 11 | 13 => 4,
        5 | 10 | 12 | 16 | 17 | 18 => 8,
        _ => 1,
    }
}

/// The fields of the first image by tag, with a default for those that are absent.
pub struct Description<'a> {
    tiff: Tiff<'a>,
    fields: Vec<Field>,
}

impl<'a> Description<'a> {
    pub fn of(bytes: &'a [u8]) -> Option<Self> {
        let tiff = Tiff::of(bytes)?;
        let (fields, _) = tiff.directory(tiff.first()?)?;
        Some(Self { tiff, fields })
    }

    pub fn number(&self, tag: u16, default: u64) -> u64 {
        self.numbers(tag, 1).first().copied().unwrap_or(default)
    }

    /// At most `most` of them.
    pub fn numbers(&self, tag: u16, most: usize) -> Vec<u64> {
        let field = self.fields.iter().find(|field| field.tag == tag);
        field
            .map(|field| self.tiff.numbers(field, most))
            .unwrap_or_default()
    }

    /// Where the low byte of a short value is in the file.
    pub fn low_byte_of(&self, tag: u16) -> Option<usize> {
        let field = self.fields.iter().find(|field| field.tag == tag)?;
        Some(if self.tiff.is_little() {
            field.at
        } else {
            field.at + 1
        })
    }
}
