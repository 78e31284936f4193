//! Bilevel TIFFs in the compressions of fax machines that the `tiff` crate leaves out: modified Huffman, group 3 in one and two dimensions,
//! and all of them with the bits of each byte reversed (ITU-T T.4 and T.6; TIFF 6.0, sections 10 and 11).

use fax::{
    BitReader, ByteReader,
    maps::{Mode, black, mode, white},
};
use image::{DynamicImage, GrayImage, metadata::Orientation};

use super::super::ifd::Description;

/// An image that has not been read yet.
pub struct Fax<'a> {
    bytes: &'a [u8],
    scheme: Scheme,
    pub width: u32,
    pub height: u32,
    rows_per_strip: u32,
    strips: Vec<(usize, usize)>,
    bits_reversed: bool,
    black_is_zero: bool,
    orientation: Option<Orientation>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    /// Runs of lengths, each row at the beginning of a byte.
    Huffman,
    /// Each row after an end-of-line code; in two dimensions a bit says which kind of row follows.
    Group3 {
        two_dimensions: bool,
    },
    Group4,
}

impl<'a> Fax<'a> {
    /// None if it is not one of these.
    pub fn open(bytes: &'a [u8]) -> Option<Self> {
        let described = Description::of(bytes)?;
        let bits_reversed = described.number(266, 1) == 2;
        let two_dimensions = described.number(292, 0) & 1 == 1;
        let scheme = match described.number(259, 1) {
            2 => Scheme::Huffman,
            3 => Scheme::Group3 { two_dimensions },
            4 if bits_reversed => Scheme::Group4,
            _ => return None,
        };
        let is_bilevel = described.number(258, 1) == 1 && described.number(277, 1) == 1;
        let width = u32::try_from(described.number(256, 0)).ok()?;
        let height = u32::try_from(described.number(257, 0)).ok()?;
        let rows_per_strip =
            u32::try_from(described.number(278, u64::from(height)).min(u64::from(height))).ok()?;
        if !is_bilevel || rows_per_strip == 0 {
            return None;
        }
        let count = height.div_ceil(rows_per_strip) as usize;
        let (offsets, lengths) = (described.numbers(273, count), described.numbers(279, count));
        let strips: Vec<(usize, usize)> = offsets
            .into_iter()
            .zip(lengths)
            .map_while(|(offset, length)| {
                Some((usize::try_from(offset).ok()?, usize::try_from(length).ok()?))
            })
            .collect();
        (strips.len() == count).then_some(Self {
            bytes,
            scheme,
            width,
            height,
            rows_per_strip,
            strips,
            bits_reversed,
            black_is_zero: described.number(262, 0) == 1,
            orientation: u8::try_from(described.number(274, 1))
                .ok()
                .and_then(Orientation::from_exif),
        })
    }

    pub fn orientation(&self) -> Option<Orientation> {
        self.orientation
    }

    /// None if the data is damaged.
    pub fn read(&self) -> Option<DynamicImage> {
        let (white, black) = if self.black_is_zero { (0, 255) } else { (255, 0) };
        let mut pixels = Vec::with_capacity(self.width as usize * self.height as usize);
        let mut rows_left = self.height;
        for (offset, length) in &self.strips {
            let strip = self.bytes.get(*offset..offset.checked_add(*length)?)?;
            let rows = rows_left.min(self.rows_per_strip);
            rows_left -= rows;
            let bytes = strip.iter().map(|byte| {
                if self.bits_reversed {
                    byte.reverse_bits()
                } else {
                    *byte
                }
            });
            // Codes are looked up by more bits than they have, also the last one.
            let bytes = bytes.chain([0; 4]);
            let mut reader = Rows::new(bytes, self.scheme, self.width)?;
            for _ in 0..rows {
                let (mut at, mut colour) = (0, white);
                for change in reader.next_row()? {
                    pixels.resize(pixels.len() + (change - at) as usize, colour);
                    (at, colour) = (*change, if colour == white { black } else { white });
                }
                pixels.resize(pixels.len() + (self.width - at) as usize, colour);
            }
        }
        GrayImage::from_raw(self.width, self.height, pixels).map(DynamicImage::ImageLuma8)
    }
}

/// Decodes row by row. A row is the places where its colour changes, in order, the first from white to black.
struct Rows<R> {
    reader: R,
    scheme: Scheme,
    width: u32,
    above: Vec<u32>,
    row: Vec<u32>,
}

impl<I: Iterator<Item = u8>> Rows<ByteReader<std::iter::Map<I, fn(u8) -> Result<u8, ()>>>> {
    fn new(bytes: I, scheme: Scheme, width: u32) -> Option<Self> {
        let reader = ByteReader::new(bytes.map(Ok as fn(u8) -> Result<u8, ()>)).ok()?;
        Some(Self {
            reader,
            scheme,
            width,
            above: Vec::new(),
            row: Vec::new(),
        })
    }
}

impl<R: BitReader> Rows<R> {
    fn next_row(&mut self) -> Option<&[u32]> {
        std::mem::swap(&mut self.above, &mut self.row);
        self.row.clear();
        match self.scheme {
            Scheme::Huffman => {
                let padding = self.reader.bits_to_byte_boundary();
                self.skip(padding)?;
                self.one_dimension()?;
            }
            Scheme::Group3 { two_dimensions } => {
                let after_end_of_line = self.skip_end_of_line()?;
                let in_one = !two_dimensions || !after_end_of_line || {
                    let tag = self.reader.peek(1)?;
                    self.skip(1)?;
                    tag == 1
                };
                if in_one {
                    self.one_dimension()?
                } else {
                    self.two_dimensions()?
                }
            }
            Scheme::Group4 => self.two_dimensions()?,
        }
        Some(&self.row)
    }

    fn skip(&mut self, bits: u8) -> Option<()> {
        self.reader.consume(bits).ok()
    }

    /// Whether there was one: eleven zeros or more, which no other code begins with, and a one.
    fn skip_end_of_line(&mut self) -> Option<bool> {
        if self.reader.peek(11) != Some(0) {
            return Some(false);
        }
        while self.reader.peek(1)? == 0 {
            self.skip(1)?;
        }
        self.skip(1)?;
        Some(true)
    }

    fn one_dimension(&mut self) -> Option<()> {
        let (mut at, mut is_black) = (0, false);
        while at < self.width {
            at = self.after_run(at, is_black)?;
            self.push(at)?;
            is_black = !is_black;
        }
        Some(())
    }

    /// None if there are more changes than pixels: runs of no length, which would fill the memory.
    fn push(&mut self, at: u32) -> Option<()> {
        self.row.push(at);
        (self.row.len() <= self.width as usize + 2).then_some(())
    }

    /// Relative to the row above (T.6, 2.2).
    fn two_dimensions(&mut self) -> Option<()> {
        // Before the first pixel there is an imaginary white one, which a change at place 0 is still right of.
        let (mut at, mut begun, mut is_black) = (0, false, false);
        let mut place = 0;
        while at < self.width {
            // The first change above to the right, from this colour to the other. A negative shift may have led back by a few places.
            place = usize::saturating_sub(place, 2) & !1 | usize::from(is_black);
            while self
                .above
                .get(place)
                .is_some_and(|change| if begun { *change <= at } else { *change < at })
            {
                place += 2;
            }
            let change = |place: usize| self.above.get(place).copied().unwrap_or(self.width);
            match mode::decode(&mut self.reader)? {
                Mode::Pass => at = change(place + 1),
                Mode::Horizontal => {
                    for is_black in [is_black, !is_black] {
                        at = self.after_run(at, is_black)?;
                        self.push(at)?;
                    }
                }
                Mode::Vertical(by) => {
                    let moved = i64::from(change(place)) + i64::from(by);
                    let moved = u32::try_from(moved.clamp(0, i64::from(self.width))).ok()?;
                    if moved < at {
                        return None;
                    }
                    at = moved;
                    self.push(at)?;
                    is_black = !is_black;
                }
                Mode::Extension | Mode::EOF => return None,
            }
            begun = true;
        }
        Some(())
    }

    /// Where a run of this colour ends that begins at a place. Long runs have several codes, the last for less than 64 pixels.
    fn after_run(&mut self, at: u32, is_black: bool) -> Option<u32> {
        let mut end = at;
        loop {
            let run = if is_black {
                black::decode(&mut self.reader)?
            } else {
                white::decode(&mut self.reader)?
            };
            end = end.saturating_add(u32::from(run)).min(self.width);
            if run < 64 {
                return Some(end);
            }
        }
    }
}
