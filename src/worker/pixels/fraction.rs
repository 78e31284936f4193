//! JPEGs of so many pixels that they are decoded at a half, a quarter or an eighth of their size: the memory depends on the result, not on
//! the sensor. A training reads a few hundred pixels of a side in any case.

use image::{DynamicImage, GrayImage, RgbImage};
use jpeg_decoder::{Decoder, PixelFormat};

use super::{fault::DecodeFault, jpeg::Frame};

/// JPEGs of more pixels are decoded at a fraction. A constant, because the pixels that a model sees must not depend on a setting.
pub const FULL_PIXELS: u64 = 64_000_000;
/// How many times as many pixels a JPEG may have as other images, if the limit is at least [`FULL_PIXELS`].
const MORE_IN_JPEG: u64 = 4;
/// Most bytes of the coefficients of a progressive JPEG, which are needed whatever the fraction.
const MAX_COEFFICIENT_BYTES: u64 = 12 * FULL_PIXELS;

/// The most pixels of a JPEG where `max_pixels` is the limit for images.
pub fn most_pixels(max_pixels: u64) -> u64 {
    if max_pixels >= FULL_PIXELS {
        max_pixels.saturating_mul(MORE_IN_JPEG)
    } else {
        max_pixels
    }
}

/// The size at which an image is decoded that has more than `full` pixels; none if it has not.
pub fn size(width: u16, height: u16, full: u64) -> Option<(u16, u16)> {
    let pixels = |(width, height): (u16, u16)| u64::from(width) * u64::from(height);
    if pixels((width, height)) <= full {
        return None;
    }
    let divided = |by: u16| (width.div_ceil(by), height.div_ceil(by));
    let fitting = [2, 4].map(divided).into_iter().find(|size| pixels(*size) <= full);
    Some(fitting.unwrap_or(divided(8)))
}

/// Whether the coefficients fit into memory.
pub fn is_bounded(frame: &Frame) -> bool {
    !frame.is_progressive() || frame.coefficients().saturating_mul(2) <= MAX_COEFFICIENT_BYTES
}

/// Decodes the whole image at this size, one of [`size`]'s. The orientation is not applied.
pub fn decode(bytes: &[u8], (width, height): (u16, u16)) -> Result<DynamicImage, DecodeFault> {
    let mut decoder = Decoder::new(bytes);
    let damaged = |_| DecodeFault::Undecodable;
    let scaled = decoder.scale(width, height).map_err(damaged)?;
    let values = decoder.decode().map_err(damaged)?;
    let (width, height) = (u32::from(scaled.0), u32::from(scaled.1));
    let image = match decoder.info().ok_or(DecodeFault::Undecodable)?.pixel_format {
        PixelFormat::L8 => GrayImage::from_raw(width, height, values).map(DynamicImage::ImageLuma8),
        PixelFormat::RGB24 => RgbImage::from_raw(width, height, values).map(DynamicImage::ImageRgb8),
        PixelFormat::CMYK32 => {
            RgbImage::from_raw(width, height, from_cmyk(&values)).map(DynamicImage::ImageRgb8)
        }
        PixelFormat::L16 => None,
    };
    image.ok_or(DecodeFault::Undecodable)
}

/// `(255 - c) · (255 - k) / 255`, as Pillow.
fn from_cmyk(values: &[u8]) -> Vec<u8> {
    let mixed = |colour: u8, black: u8| {
        let product = u32::from(255 - colour) * u32::from(255 - black);
        ((product + 127) / 255) as u8
    };
    values
        .chunks_exact(4)
        .flat_map(|ink| {
            [
                mixed(ink[0], ink[3]),
                mixed(ink[1], ink[3]),
                mixed(ink[2], ink[3]),
            ]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sensors_of_phones_fit_and_larger_ones_are_halved_until_they_do() {
        let of = |width, height| size(width, height, FULL_PIXELS);
        assert_eq!(of(8160, 6144), None);
        assert_eq!(of(9248, 6936), Some((4624, 3468)));
        assert_eq!(of(12000, 9000), Some((6000, 4500)));
        assert_eq!(of(16320, 12240), Some((8160, 6120)));
        assert_eq!(of(30001, 20000), Some((7501, 5000)));
        assert_eq!(of(65535, 65535), Some((8192, 8192)));
        assert_eq!(most_pixels(FULL_PIXELS), 4 * FULL_PIXELS);
        assert_eq!(most_pixels(1000), 1000);
    }
}
