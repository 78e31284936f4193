//! How a DICOM file stores the values of its pixels (PS3.5, chapter 8).

use super::elements::{Elements, Tag};
use crate::worker::pixels::{fault::DecodeFault, jpeg::Frame};

const SAMPLES: Tag = (0x0028, 0x0002);
const PLANAR: Tag = (0x0028, 0x0006);
pub const ROWS: Tag = (0x0028, 0x0010);
pub const COLUMNS: Tag = (0x0028, 0x0011);
const BITS_ALLOCATED: Tag = (0x0028, 0x0100);
const BITS_STORED: Tag = (0x0028, 0x0101);
const HIGH_BIT: Tag = (0x0028, 0x0102);
const SIGNED: Tag = (0x0028, 0x0103);

/// How the values of pixels are stored.
#[derive(Clone, Copy)]
pub struct Storage {
    pub width: usize,
    pub height: usize,
    pub samples: usize,
    /// Bytes per value, 1 or 2.
    pub bytes: usize,
    pub stored: u32,
    pub high_bit: u32,
    pub signed: bool,
    pub planar: bool,
}

impl Storage {
    pub fn of(elements: &Elements<'_>) -> Result<Self, DecodeFault> {
        let number = |tag, default: u16| elements.short(tag).unwrap_or(default);
        let allocated = number(BITS_ALLOCATED, 8);
        if !matches!(allocated, 8 | 16) {
            return Err(DecodeFault::variant(format!(
                "DICOM with {allocated} bits for a value"
            )));
        }
        let stored = u32::from(number(BITS_STORED, allocated)).clamp(1, allocated.into());
        Ok(Self {
            width: number(COLUMNS, 0).into(),
            height: number(ROWS, 0).into(),
            samples: number(SAMPLES, 1).into(),
            bytes: usize::from(allocated / 8),
            stored,
            high_bit: u32::from(number(HIGH_BIT, stored as u16 - 1))
                .clamp(stored - 1, u32::from(allocated) - 1),
            signed: number(SIGNED, 0) == 1,
            planar: number(PLANAR, 0) == 1,
        })
    }

    /// What is stored in the bytes of a value: some programs keep other things in the bits that are not used.
    pub fn signed_values(&self, bytes: &[u8], big_endian: bool) -> Vec<i32> {
        let unused = self.high_bit + 1 - self.stored;
        let value = |word: u16| self.with_sign(u32::from(word) >> unused);
        match self.bytes {
            1 => bytes.iter().map(|byte| value((*byte).into())).collect(),
            _ if big_endian => bytes
                .chunks_exact(2)
                .map(|pair| value(u16::from_be_bytes([pair[0], pair[1]])))
                .collect(),
            _ => bytes
                .chunks_exact(2)
                .map(|pair| value(u16::from_le_bytes([pair[0], pair[1]])))
                .collect(),
        }
    }

    pub fn with_sign(&self, value: u32) -> i32 {
        let above = 32 - self.stored;
        match self.signed {
            true => (value << above) as i32 >> above,
            false => (value << above >> above) as i32,
        }
    }

    /// Whether a JPEG has the size and the number of channels that the file says.
    pub fn fits(&self, frame: &Frame) -> bool {
        let size = (usize::from(frame.width), usize::from(frame.height));
        size == (self.width, self.height) && frame.channels() == self.samples
    }
}
