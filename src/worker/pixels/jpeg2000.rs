//! JPEG 2000: JP2 files and bare codestreams (ITU-T T.800), read by `hayro-jpeg2000`. Also the pixels of a DICOM file may be one.

use std::borrow::Cow;

use hayro_jpeg2000::{
    ColorSpace, DecodeError, DecodeSettings, DecoderContext, FormatError, Image, MarkerError,
};
use image::{DynamicImage, GrayAlphaImage, GrayImage, ImageBuffer, RgbImage, RgbaImage};

use super::fault::DecodeFault;

/// Values of an image that is decoded in full. A larger one is decoded at a smaller resolution, which the format provides for.
const MAX_VALUES: u64 = 64_000_000;
/// Bytes that the decoder needs for a value: coefficients and results as floats, and tables.
const BYTES_PER_VALUE: u64 = 16;

/// An image of which only the header has been read.
pub struct Codestream<'a> {
    image: Image<'a>,
    /// Of the image, not of the resolution that is decoded.
    pub width: u32,
    pub height: u32,
}

/// Values as stored, channel by channel.
pub struct Channels {
    /// Bits per value.
    pub bits: u8,
    pub values: Vec<Vec<f32>>,
}

impl<'a> Codestream<'a> {
    pub fn open(bytes: &'a [u8]) -> Result<Self, DecodeFault> {
        let full = Image::new(bytes, &DecodeSettings::default()).map_err(fault)?;
        let (width, height) = (full.width(), full.height());
        let channels = channels(&full);
        if !(1..=4).contains(&channels) {
            return Err(DecodeFault::variant(format!(
                "JPEG 2000 with {channels} channels"
            )));
        }
        let values =
            |width: u32, height: u32| (u64::from(width) * u64::from(height)).saturating_mul(channels);
        let mut image = full;
        let mut divisor = 2;
        while values(width.div_ceil(divisor), height.div_ceil(divisor)) > MAX_VALUES {
            divisor *= 2;
        }
        if values(width, height) > MAX_VALUES {
            let settings = DecodeSettings {
                target_resolution: Some(((width / divisor).max(1), (height / divisor).max(1))),
                ..DecodeSettings::default()
            };
            image = Image::new(bytes, &settings).map_err(fault)?;
            if values(image.width(), image.height()) > MAX_VALUES {
                return Err(DecodeFault::TooMuchMemory);
            }
        }
        // A decoder fills what is missing. The end marker cannot occur within coded data.
        if memchr::memmem::rfind(bytes, &[0xff, 0xd9]).is_none() {
            return Err(DecodeFault::Truncated);
        }
        Ok(Self { image, width, height })
    }

    /// Estimated memory of decoding.
    pub fn memory(&self) -> u64 {
        let pixels = u64::from(self.image.width()) * u64::from(self.image.height());
        pixels.saturating_mul(channels(&self.image) * BYTES_PER_VALUE)
    }

    pub fn read(&self) -> Result<DynamicImage, DecodeFault> {
        let colours = self.image.color_space().clone();
        let has_alpha = self.image.has_alpha();
        let mut context = DecoderContext::default();
        let decoded = self.image.decode(&mut context).map_err(fault)?;
        let channels = decoded.components().len();
        let (width, height) = (self.image.width(), self.image.height());
        // Of 16 bits not all may be used, which shows only in the whole dataset. Any other depth says itself how many are.
        let deep = decoded
            .components()
            .iter()
            .all(|channel| channel.bit_depth() == 16);
        let image = match channels - usize::from(has_alpha) {
            1 if deep => {
                let values = decoded.components()[0].samples().iter();
                let values = values
                    .map(|value| value.round().clamp(0.0, 65535.0) as u16)
                    .collect();
                ImageBuffer::from_raw(width, height, values).map(DynamicImage::ImageLuma16)
            }
            3 if deep => {
                let [red, green, blue] = [0, 1, 2].map(|channel| decoded.components()[channel].samples());
                let pixels = red.iter().zip(green).zip(blue);
                let values = pixels.flat_map(|((red, green), blue)| {
                    [red, green, blue].map(|value| value.round().clamp(0.0, 65535.0) as u16)
                });
                ImageBuffer::from_raw(width, height, values.collect()).map(DynamicImage::ImageRgb16)
            }
            count => {
                let bytes = decoded.data_u8();
                match (count, has_alpha) {
                    (1, false) => GrayImage::from_raw(width, height, bytes).map(DynamicImage::ImageLuma8),
                    (1, true) => {
                        GrayAlphaImage::from_raw(width, height, bytes).map(DynamicImage::ImageLumaA8)
                    }
                    (3, false) => RgbImage::from_raw(width, height, bytes).map(DynamicImage::ImageRgb8),
                    (3, true) => RgbaImage::from_raw(width, height, bytes).map(DynamicImage::ImageRgba8),
                    (4, _) if matches!(colours, ColorSpace::CMYK) => {
                        let mixed = |ink: &[u8]| {
                            [0, 1, 2]
                                .map(|at| (u32::from(255 - ink[at]) * u32::from(255 - ink[3]) / 255) as u8)
                        };
                        let rgb = bytes.chunks_exact(channels).flat_map(mixed).collect();
                        RgbImage::from_raw(width, height, rgb).map(DynamicImage::ImageRgb8)
                    }
                    _ => {
                        return Err(DecodeFault::variant(format!(
                            "JPEG 2000 with {channels} channels"
                        )));
                    }
                }
            }
        };
        image.ok_or(DecodeFault::Undecodable)
    }

    /// The values as they are stored, for who knows what they mean.
    pub fn channels(&self) -> Result<Channels, DecodeFault> {
        let mut context = DecoderContext::default();
        let decoded = self.image.decode(&mut context).map_err(fault)?;
        Ok(Channels {
            bits: decoded
                .components()
                .first()
                .map_or(0, |channel| channel.bit_depth()),
            values: decoded
                .components()
                .iter()
                .map(|channel| channel.samples().to_vec())
                .collect(),
        })
    }
}

fn channels(image: &Image<'_>) -> u64 {
    u64::from(image.color_space().num_channels()) + u64::from(image.has_alpha())
}

fn fault(error: DecodeError) -> DecodeFault {
    let is_unread = matches!(
        error,
        DecodeError::Format(FormatError::Unsupported) | DecodeError::Marker(MarkerError::Unsupported)
    );
    match is_unread {
        true => {
            DecodeFault::UnsupportedVariant(Cow::Borrowed("JPEG 2000 with a feature that is hardly used"))
        }
        false => DecodeFault::Undecodable,
    }
}
