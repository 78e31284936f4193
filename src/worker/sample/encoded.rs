//! Drawn images as files.

use std::io::Cursor;

use image::{ExtendedColorType, ImageEncoder, codecs::jpeg::JpegEncoder, codecs::png::PngEncoder};

use crate::worker::pixels::Image;

pub fn jpeg(image: &Image, quality: u8) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality).write_image(
        &image.rgb,
        image.width,
        image.height,
        ExtendedColorType::Rgb8,
    )?;
    Ok(bytes)
}

pub fn png(image: &Image) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    PngEncoder::new(&mut bytes).write_image(
        &image.rgb,
        image.width,
        image.height,
        ExtendedColorType::Rgb8,
    )?;
    Ok(bytes.into_inner())
}
