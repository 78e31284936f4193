//! From 16 bits in a channel to 8.

use image::{DynamicImage, RgbImage};

use crate::domain::models::preprocessing::UsedBits;

/// The largest value of a channel that is used, of an image with 16 bits in each; none of any other image.
pub fn largest(image: &DynamicImage) -> Option<u16> {
    let of = |values: &[u16], channels: usize, colours: usize| {
        let pixels = values.chunks_exact(channels);
        pixels.flat_map(|pixel| &pixel[..colours]).copied().max()
    };
    match image {
        DynamicImage::ImageLuma16(image) => of(image.as_raw(), 1, 1),
        DynamicImage::ImageLumaA16(image) => of(image.as_raw(), 2, 1),
        DynamicImage::ImageRgb16(image) => of(image.as_raw(), 3, 3),
        DynamicImage::ImageRgba16(image) => of(image.as_raw(), 4, 3),
        _ => None,
    }
}

/// `used_bits` are those of 16.
pub fn to_rgb(image: DynamicImage, used_bits: UsedBits) -> RgbImage {
    let (width, height) = (image.width(), image.height());
    let to_byte = |value| used_bits.to_byte(value);
    let rgb = match image {
        DynamicImage::ImageRgb8(image) => return image,
        DynamicImage::ImageLuma8(image) => repeat(image.as_raw(), 1, |value| value),
        DynamicImage::ImageLumaA8(image) => repeat(image.as_raw(), 2, |value| value),
        DynamicImage::ImageLuma16(image) => repeat(image.as_raw(), 1, to_byte),
        DynamicImage::ImageLumaA16(image) => repeat(image.as_raw(), 2, to_byte),
        DynamicImage::ImageRgba8(image) => first_three(image.as_raw(), 4, |value| value),
        DynamicImage::ImageRgb16(image) => first_three(image.as_raw(), 3, to_byte),
        DynamicImage::ImageRgba16(image) => first_three(image.as_raw(), 4, to_byte),
        floating => return floating.into_rgb8(),
    };
    RgbImage::from_raw(width, height, rgb).expect("three bytes were made of each pixel")
}

/// Grey: the first of every `channels` values, three times.
fn repeat<T: Copy>(values: &[T], channels: usize, to_byte: impl Fn(T) -> u8) -> Vec<u8> {
    values
        .chunks_exact(channels)
        .flat_map(|pixel| [to_byte(pixel[0]); 3])
        .collect()
}

/// Colour: the first three of every `channels` values.
fn first_three<T: Copy>(values: &[T], channels: usize, to_byte: impl Fn(T) -> u8) -> Vec<u8> {
    values
        .chunks_exact(channels)
        .flat_map(|pixel| [to_byte(pixel[0]), to_byte(pixel[1]), to_byte(pixel[2])])
        .collect()
}
