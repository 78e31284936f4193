//! From an image file to upright RGB pixels, or a reason for people. The decoder's own messages are never shown.

use std::{
    io::{Cursor, ErrorKind},
    panic::{self, AssertUnwindSafe},
};

use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage,
};

use super::{
    Image,
    format::{Content, content},
    gif, jpeg,
    mode::Mode,
    tiff,
};

/// Why a file could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeFault {
    #[error("this is not an image; JPEG, PNG, WebP, GIF, BMP and TIFF are taken")]
    NotAnImage,
    #[error("{0} images are not taken; save it as JPEG or PNG")]
    UnsupportedFormat(&'static str),
    #[error("the image has {width} x {height} pixels and at most {max_pixels} are taken; make it smaller")]
    TooManyPixels {
        width: u32,
        height: u32,
        max_pixels: u64,
    },
    #[error(
        "the image needs too much memory to be read; save it with 8 bits per channel, or make it smaller"
    )]
    TooMuchMemory,
    #[error("the image is cut short; the file is incomplete")]
    Truncated,
    #[error("the image uses a variant of its format that is not taken; save it as an ordinary JPEG or PNG")]
    UnsupportedVariant,
    #[error("the image is damaged and cannot be read")]
    Undecodable,
}

impl DecodeFault {
    /// Stable code for programs, as in a dataset's report.
    pub fn code(&self) -> &'static str {
        match self {
            DecodeFault::NotAnImage => "not_an_image",
            DecodeFault::UnsupportedFormat(_) | DecodeFault::UnsupportedVariant => "unsupported_format",
            DecodeFault::TooManyPixels { .. } | DecodeFault::TooMuchMemory => "too_large",
            DecodeFault::Truncated => "truncated",
            DecodeFault::Undecodable => "undecodable",
        }
    }

    /// Whether the file is of an unsupported kind (415), rather than a supported one that cannot be read or is too large (422).
    pub fn is_unsupported(&self) -> bool {
        matches!(self, DecodeFault::NotAnImage | DecodeFault::UnsupportedFormat(_))
    }
}

/// Bytes per pixel that a decoder may use: 16-bit RGBA, the widest common format.
const MAX_BYTES_PER_PIXEL: u64 = 8;
/// Other bytes that a decoder may use: tables, profiles, metadata.
const DECODER_OVERHEAD: u64 = 16 << 20;

/// Reads JPEG, PNG, WebP, GIF (first frame), BMP or TIFF, detected by content, and applies the EXIF orientation.
///
/// Colours are those of Pillow's `convert("RGB")`: grey is repeated, palettes are looked up, alpha is dropped, CMYK converted, no profile
/// or gamma applied. 16 bits become 8 by dropping the lower ones, as in Pillow for colour; for 16-bit *grey* Pillow clips at 255 instead,
/// which makes nearly every such image white, and in that one case we do not follow it. A JPEG without an end marker counts as truncated,
/// as in Pillow. `max_pixels` is checked before anything is decoded.
pub fn decode(bytes: &[u8], max_pixels: u64) -> Result<Image, DecodeFault> {
    decode_with_mode(bytes, max_pixels).map(|(image, _)| image)
}

/// As [`decode`], and the colour mode of the file.
pub fn decode_with_mode(bytes: &[u8], max_pixels: u64) -> Result<(Image, Mode), DecodeFault> {
    Header::read(bytes, max_pixels)?.decode()
}

/// An image file of which only the header has been read: its memory requirements are known in advance.
pub struct Header<'a> {
    bytes: &'a [u8],
    opened: Opened<'a>,
}

impl<'a> Header<'a> {
    /// Refuses images with more than `max_pixels`.
    pub fn read(bytes: &'a [u8], max_pixels: u64) -> Result<Self, DecodeFault> {
        guarded(|| open(bytes, max_pixels)).map(|opened| Self { bytes, opened })
    }

    /// Width and height as stored, before the EXIF orientation is applied.
    pub fn dimensions(&self) -> (u32, u32) {
        self.opened.dimensions()
    }

    /// See [`decode`].
    pub fn decode(self) -> Result<(Image, Mode), DecodeFault> {
        guarded(|| decode_upright(self.bytes, self.opened))
    }
}

/// A decoder that panics on a crafted file affects only that file, not the run.
fn guarded<T>(work: impl FnOnce() -> Result<T, DecodeFault>) -> Result<T, DecodeFault> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(DecodeFault::Undecodable))
}

fn decode_upright(bytes: &[u8], opened: Opened<'_>) -> Result<(Image, Mode), DecodeFault> {
    let (image, orientation, is_cmyk) = match opened {
        Opened::Tiff(mut rest) => {
            let orientation = rest.orientation();
            (rest.read().ok_or(DecodeFault::Undecodable)?, orientation, false)
        }
        Opened::Usual(mut decoder) => {
            // Unreadable EXIF data is no reason to refuse a readable image.
            let orientation = decoder.orientation().ok();
            let is_cmyk = jpeg::components(bytes) == Some(4)
                || matches!(
                    decoder.original_color_type(),
                    ExtendedColorType::Cmyk8 | ExtendedColorType::Cmyk16
                );
            (
                DynamicImage::from_decoder(decoder).map_err(fault)?,
                orientation,
                is_cmyk,
            )
        }
    };
    let is_gif = content(bytes) == Content::Image(ImageFormat::Gif);
    let mode = match is_cmyk {
        true => Mode::Cmyk,
        // A GIF has a palette, and its transparent values mean nothing.
        false if is_gif => Mode::Colour,
        false => Mode::of(&image),
    };
    let mut rgb = to_rgb(image);
    if is_gif {
        gif::paint_around(bytes, &mut rgb);
    }
    let mut upright = DynamicImage::ImageRgb8(rgb);
    if let Some(orientation) = orientation {
        upright.apply_orientation(orientation);
    }
    let rgb = upright.into_rgb8();
    let image = Image {
        width: rgb.width(),
        height: rgb.height(),
        rgb: rgb.into_raw(),
    };
    Ok((image, mode))
}

/// An image of which the header has been read.
enum Opened<'a> {
    Usual(Box<dyn ImageDecoder + 'a>),
    Tiff(Box<tiff::Rest>),
}

impl Opened<'_> {
    fn dimensions(&self) -> (u32, u32) {
        match self {
            Opened::Usual(decoder) => decoder.dimensions(),
            Opened::Tiff(rest) => (rest.width, rest.height),
        }
    }
}

fn open(bytes: &[u8], max_pixels: u64) -> Result<Opened<'_>, DecodeFault> {
    let format = match content(bytes) {
        Content::Image(format) => format,
        Content::OtherImage(name) => return Err(DecodeFault::UnsupportedFormat(name)),
        Content::NotAnImage => return Err(DecodeFault::NotAnImage),
    };
    if format == ImageFormat::Jpeg && !jpeg::reaches_its_end(bytes) {
        return Err(DecodeFault::Truncated);
    }
    // A PNG may contain a compressed profile of any expanded size, which its decoder reads with the header.
    let most_pixels = match format {
        ImageFormat::Png => png_pixels(bytes).min(max_pixels),
        _ => max_pixels,
    };
    let max_bytes = most_pixels
        .saturating_mul(MAX_BYTES_PER_PIXEL)
        .saturating_add(DECODER_OVERHEAD);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(max_bytes);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let opened = match reader.into_decoder().map_err(fault) {
        Ok(decoder) => Opened::Usual(Box::new(decoder)),
        Err(fault) if format == ImageFormat::Tiff => {
            Opened::Tiff(Box::new(tiff::Rest::open(bytes, max_bytes).ok_or(fault)?))
        }
        Err(fault) => return Err(fault),
    };
    let (width, height) = opened.dimensions();
    if width == 0 || height == 0 {
        return Err(DecodeFault::Undecodable);
    }
    if u64::from(width) * u64::from(height) > max_pixels {
        return Err(DecodeFault::TooManyPixels {
            width,
            height,
            max_pixels,
        });
    }
    Ok(opened)
}

/// From its first chunk, which is always the header (PNG specification, 11.2.2).
fn png_pixels(bytes: &[u8]) -> u64 {
    let number = |at: usize| {
        let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, |bytes| u64::from(u32::from_be_bytes(bytes)))
    };
    number(16).saturating_mul(number(20))
}

fn fault(error: ImageError) -> DecodeFault {
    match error {
        ImageError::Limits(_) => DecodeFault::TooMuchMemory,
        ImageError::Unsupported(_) => DecodeFault::UnsupportedVariant,
        ImageError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => DecodeFault::Truncated,
        _ => DecodeFault::Undecodable,
    }
}

fn to_rgb(image: DynamicImage) -> RgbImage {
    let (width, height) = (image.width(), image.height());
    let rgb = match image {
        DynamicImage::ImageRgb8(image) => return image,
        DynamicImage::ImageLuma8(image) => repeat(image.as_raw(), 1, |value| value),
        DynamicImage::ImageLumaA8(image) => repeat(image.as_raw(), 2, |value| value),
        DynamicImage::ImageLuma16(image) => repeat(image.as_raw(), 1, high_byte),
        DynamicImage::ImageLumaA16(image) => repeat(image.as_raw(), 2, high_byte),
        DynamicImage::ImageRgba8(image) => first_three(image.as_raw(), 4, |value| value),
        DynamicImage::ImageRgb16(image) => first_three(image.as_raw(), 3, high_byte),
        DynamicImage::ImageRgba16(image) => first_three(image.as_raw(), 4, high_byte),
        floating => return floating.into_rgb8(),
    };
    RgbImage::from_raw(width, height, rgb).expect("three bytes were made of each pixel")
}

fn high_byte(value: u16) -> u8 {
    (value >> 8) as u8
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
