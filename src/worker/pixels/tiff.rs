//! Kinds of TIFF that `image` does not support but that people have: palettes, grey with 2 and 4 bits, grey with alpha, YCbCr, above all as
//! JPEG.

pub mod fax;

use std::{borrow::Cow, io::Cursor};

use image::{DynamicImage, GrayAlphaImage, GrayImage, ImageBuffer, RgbImage, metadata::Orientation};
use tiff::{
    ColorType, TiffError,
    decoder::{Decoder, DecodingResult, Limits},
    tags::{PlanarConfiguration, Tag},
};

use super::{fault::DecodeFault, ifd::Description, ycbcr};

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
    YCbCr,
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
                bit_depth: 8 | 16,
                num_samples: 2,
            } => Kind::GreyAlpha,
            ColorType::YCbCr(8) => Kind::YCbCr,
            _ => return None,
        };
        let planes = decoder.get_tag_unsigned::<u16>(Tag::PlanarConfiguration).ok();
        let is_planar = planes == Some(PlanarConfiguration::Planar.to_u16());
        if is_planar && !matches!(kind, Kind::Values { .. }) {
            return None;
        }
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

    /// # Errors
    /// Why it cannot be read: `bytes` are those of the file, which tells what it is.
    pub fn read(mut self, bytes: &[u8]) -> Result<DynamicImage, DecodeFault> {
        match self.decoder.read_image() {
            Ok(values) => self.image(values).ok_or(DecodeFault::Undecodable),
            Err(TiffError::UnsupportedError(_)) => Err(DecodeFault::UnsupportedVariant(variant(bytes))),
            Err(TiffError::LimitsExceeded) => Err(DecodeFault::TooMuchMemory),
            Err(_) => Err(DecodeFault::Undecodable),
        }
    }

    fn image(self, values: DecodingResult) -> Option<DynamicImage> {
        let (width, height) = (self.width, self.height);
        let values = match values {
            DecodingResult::U8(values) => values,
            DecodingResult::U16(values) if matches!(self.kind, Kind::GreyAlpha) => {
                return ImageBuffer::from_raw(width, height, values).map(DynamicImage::ImageLumaA16);
            }
            _ => return None,
        };
        match self.kind {
            Kind::YCbCr => {
                let colour = |pixel: &[u8]| ycbcr::to_rgb([pixel[0], pixel[1], pixel[2]]);
                let rgb = values.chunks_exact(3).flat_map(colour).collect();
                RgbImage::from_raw(width, height, rgb).map(DynamicImage::ImageRgb8)
            }
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
    let found = Description::of(bytes).and_then(|described| described.low_byte_of(PHOTOMETRIC));
    let value = found.and_then(|at| bytes.get_mut(at));
    match value {
        Some(value) if *value == PALETTE => {
            *value = BLACK_IS_ZERO;
            true
        }
        _ => false,
    }
}

/// The name of a variant that no decoder here reads, by what the file says of itself.
pub fn variant(bytes: &[u8]) -> Cow<'static, str> {
    let Some(described) = Description::of(bytes) else {
        return "variant of TIFF".into();
    };
    let number = |tag, default| described.number(tag, default);
    let compression = match number(259, 1) {
        1 | 2 | 3 | 4 | 5 | 7 | 8 | 32773 | 32946 => None,
        6 => Some("old-style JPEG"),
        32809 => Some("ThunderScan"),
        33003 | 33004 | 33005 | 34712 => Some("JPEG 2000"),
        34661 => Some("JBIG"),
        34676 | 34677 => Some("SGI"),
        34887 => Some("LERC"),
        34925 => Some("LZMA"),
        50000 => Some("Zstandard"),
        50001 => Some("WebP"),
        50002 | 52546 => Some("JPEG XL"),
        _ => Some("unknown"),
    };
    let (bits, samples, photometric) = (number(258, 1), number(277, 1), number(262, 1));
    match (compression, number(339, 1), photometric) {
        (Some(name), _, _) => format!("TIFF with {name} compression").into(),
        (_, 2, _) => "TIFF with signed values".into(),
        (_, 3, _) => format!("TIFF with floating-point values of {bits} bits").into(),
        (_, 5 | 6, _) => "TIFF with complex values".into(),
        (_, _, 8..=10) => "TIFF in CIELAB colours".into(),
        (_, _, 32844 | 32845) => "TIFF in LogLuv colours".into(),
        (_, _, 4) => "TIFF with a transparency mask".into(),
        (_, _, 6) if bits == 8 => "TIFF with subsampled YCbCr colours".into(),
        _ if samples > 4 => format!("TIFF with {samples} channels").into(),
        _ => format!("TIFF with {samples} x {bits} bits").into(),
    }
}
