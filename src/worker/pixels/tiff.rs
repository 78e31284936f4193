//! Kinds of TIFF that `image` does not support but that people have: palettes, grey with 2 and 4 bits, grey with alpha.

use std::io::Cursor;

use image::{DynamicImage, GrayAlphaImage, GrayImage, RgbImage, metadata::Orientation};
use tiff::{
    ColorType,
    decoder::{Decoder, DecodingResult, Limits},
    tags::Tag,
};

/// Photometric interpretation, and its values for "black is zero" and "palette" (TIFF 6.0, section 8).
const PHOTOMETRIC: u16 = 262;
const BLACK_IS_ZERO: u8 = 1;
const PALETTE: u8 = 3;

/// An image that has not been read yet.
pub struct Rest {
    decoder: Decoder<Cursor<Vec<u8>>>,
    kind: Kind,
    pub width: u32,
    pub height: u32,
}

enum Kind {
    /// Bits per value, and the palette; none if the values are levels of grey.
    Values {
        bits: u8,
        palette: Option<Vec<[u8; 3]>>,
    },
    GreyAlpha,
}

impl Rest {
    /// None if it is none of these kinds.
    pub fn open(bytes: &[u8], max_bytes: u64) -> Option<Self> {
        let mut bytes = bytes.to_vec();
        let is_palette = claim_grey(&mut bytes);
        let mut limits = Limits::default();
        limits.decoding_buffer_size = usize::try_from(max_bytes).ok()?;
        limits.intermediate_buffer_size = limits.decoding_buffer_size;
        let mut decoder = Decoder::new(Cursor::new(bytes)).ok()?.with_limits(limits);
        let (width, height) = decoder.dimensions().ok()?;
        let kind = match decoder.colortype().ok()? {
            ColorType::Gray(bits @ (1 | 2 | 4 | 8)) => Kind::Values {
                bits,
                palette: match is_palette {
                    true => Some(palette(&decoder.get_tag_u16_vec(Tag::ColorMap).ok()?)),
                    false => None,
                },
            },
            ColorType::Multiband {
                bit_depth: 8,
                num_samples: 2,
            } => Kind::GreyAlpha,
            _ => return None,
        };
        Some(Self {
            decoder,
            kind,
            width,
            height,
        })
    }

    pub fn orientation(&mut self) -> Option<Orientation> {
        let value = self.decoder.get_tag_unsigned::<u8>(Tag::Orientation).ok()?;
        Orientation::from_exif(value)
    }

    /// None if the data is damaged.
    pub fn read(mut self) -> Option<DynamicImage> {
        let DecodingResult::U8(values) = self.decoder.read_image().ok()? else {
            return None;
        };
        let (width, height) = (self.width, self.height);
        match self.kind {
            Kind::GreyAlpha => GrayAlphaImage::from_raw(width, height, values).map(DynamicImage::ImageLumaA8),
            Kind::Values { bits, palette } => {
                let values = unpacked(&values, bits, width as usize);
                match palette {
                    None => {
                        let most = u32::from(u8::MAX >> (8 - bits));
                        let grey = values
                            .map(|value| (u32::from(value) * 255 / most) as u8)
                            .collect();
                        GrayImage::from_raw(width, height, grey).map(DynamicImage::ImageLuma8)
                    }
                    Some(palette) => {
                        let colour = |value: u8| palette.get(usize::from(value)).copied().unwrap_or_default();
                        let rgb = values.flat_map(colour).collect();
                        RgbImage::from_raw(width, height, rgb).map(DynamicImage::ImageRgb8)
                    }
                }
            }
        }
    }
}

/// The single values of rows that each start at a byte boundary.
fn unpacked(values: &[u8], bits: u8, width: usize) -> impl Iterator<Item = u8> {
    let in_byte = 8 / usize::from(bits);
    let row_bytes = width.div_ceil(in_byte).max(1);
    values.chunks_exact(row_bytes).flat_map(move |row| {
        (0..width).map(move |x| {
            let shift = 8 - usize::from(bits) * (x % in_byte + 1);
            row[x / in_byte] >> shift & (u8::MAX >> (8 - bits))
        })
    })
}

/// The colour map contains all reds, then all greens, then all blues, with 16 bits each; the upper ones count.
fn palette(map: &[u16]) -> Vec<[u8; 3]> {
    let colours = map.len() / 3;
    let byte = |value: u16| (value >> 8) as u8;
    (0..colours)
        .map(|colour| [0, 1, 2].map(|channel| byte(map[channel * colours + colour])))
        .collect()
}

/// Makes a palette image claim to be grey, because the decoder reads the values of grey images and refuses palettes. True if it was a
/// palette image.
fn claim_grey(bytes: &mut [u8]) -> bool {
    let found = photometric_value(bytes);
    let value = found.and_then(|at| bytes.get_mut(at));
    match value {
        Some(value) if *value == PALETTE => {
            *value = BLACK_IS_ZERO;
            true
        }
        _ => false,
    }
}

/// Offset of the low byte of the first image's photometric interpretation.
fn photometric_value(bytes: &[u8]) -> Option<usize> {
    let little = bytes.starts_with(b"II");
    let number = |at: usize, length: usize| -> Option<u64> {
        let digits = bytes.get(at..at.checked_add(length)?)?;
        let add = |sum: u64, digit: &u8| sum << 8 | u64::from(*digit);
        Some(if little {
            digits.iter().rev().fold(0, add)
        } else {
            digits.iter().fold(0, add)
        })
    };
    let is_big = number(2, 2)? == 43;
    // Lengths of an offset, of the number of fields, and of a field.
    let (offset_at, word, counter, field) = if is_big { (8, 8, 8, 20) } else { (4, 4, 2, 12) };
    let directory = usize::try_from(number(offset_at, word)?).ok()?;
    let fields = usize::try_from(number(directory, counter)?).ok()?.min(4096);
    for place in 0..fields {
        let at = directory.checked_add(counter + place * field)?;
        if number(at, 2)? == u64::from(PHOTOMETRIC) {
            let value = at + field - word;
            return Some(if little { value } else { value + 1 });
        }
    }
    None
}
