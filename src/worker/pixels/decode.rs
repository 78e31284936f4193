//! From an image file to upright RGB pixels, or a reason for people. The decoder's own messages are never shown.

use std::{
    io::{Cursor, ErrorKind},
    panic::{self, AssertUnwindSafe},
};

use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageError, ImageFormat, ImageReader, ImageResult, Limits,
    metadata::Orientation,
};

use super::{
    Image, depth,
    dicom::Dicom,
    fault::DecodeFault,
    format::{Content, Format, content},
    fraction, gif,
    jpeg::{self, Frame},
    jpeg2000::Codestream,
    mode::Mode,
    pnm, raw,
    tiff::{self, fax::Fax},
};
use crate::domain::models::preprocessing::UsedBits;

/// Bytes per pixel that a decoder may use: 16-bit RGBA, the widest common format.
const MAX_BYTES_PER_PIXEL: u64 = 8;
/// Other bytes that a decoder may use: tables, profiles, metadata.
const DECODER_OVERHEAD: u64 = 16 << 20;
/// Most memory of decoding for each pixel of the result: coefficients or 16-bit channels, and the image.
const MEMORY_PER_PIXEL: u64 = 12;

/// Reads every [`Format`], detected by content; of several images in a file the first. Applies the EXIF orientation.
///
/// Colours are those of Pillow's `convert("RGB")`: grey is repeated, palettes are looked up, alpha is dropped, CMYK converted, no profile
/// or gamma applied. Of 16 bits the upper 8 of those that are used become 8 bits: of all 16, as in Pillow for colour; for 16-bit *grey*
/// Pillow clips at 255 instead, which makes nearly every such image white, and in that one case we do not follow it. A JPEG without an end
/// marker counts as truncated, as in Pillow. `max_pixels` is checked before anything is decoded; a JPEG may have more
/// ([`fraction::most_pixels`]), and one of more than [`fraction::FULL_PIXELS`] becomes a smaller image.
pub fn decode(bytes: &[u8], max_pixels: u64, used_bits: UsedBits) -> Result<Image, DecodeFault> {
    Header::read(bytes, max_pixels)?
        .decode(used_bits)
        .map(|decoded| decoded.image)
}

/// A decoded image, upright.
#[derive(Debug)]
pub struct Decoded {
    /// A large JPEG at a fraction of its size.
    pub image: Image,
    /// The whole size.
    pub width: u32,
    pub height: u32,
    pub mode: Mode,
    /// The largest value of an image with 16 bits in each channel.
    pub largest: Option<u16>,
}

/// An image file of which only the header has been read: its memory requirements are known in advance.
pub struct Header<'a> {
    bytes: &'a [u8],
    format: Format,
    opened: Opened<'a>,
}

impl<'a> Header<'a> {
    /// Refuses images with more than `max_pixels`.
    pub fn read(bytes: &'a [u8], max_pixels: u64) -> Result<Self, DecodeFault> {
        guarded(|| open(bytes, max_pixels)).map(|(format, opened)| Self {
            bytes,
            format,
            opened,
        })
    }

    /// Width and height as stored, before the EXIF orientation is applied.
    #[allow(dead_code, reason = "for tests and fuzz targets")]
    pub fn dimensions(&self) -> (u32, u32) {
        self.opened.dimensions()
    }

    /// Most bytes that decoding needs, with the result.
    pub fn memory(&self) -> u64 {
        let of = |width: u32, height: u32| u64::from(width) * u64::from(height) * MEMORY_PER_PIXEL;
        match &self.opened {
            Opened::Fraction { frame, size, .. } => {
                let coefficients = if frame.is_progressive() {
                    2 * frame.coefficients()
                } else {
                    0
                };
                of(size.0.into(), size.1.into()) + coefficients
            }
            Opened::Jpeg2000(codestream) => codestream.memory(),
            opened => {
                let (width, height) = opened.dimensions();
                of(width, height)
            }
        }
    }

    /// See [`decode`].
    pub fn decode(self, used_bits: UsedBits) -> Result<Decoded, DecodeFault> {
        guarded(|| decode_upright(self.bytes, self.format, self.opened, used_bits))
    }
}

/// A decoder that panics on a crafted file affects only that file, not the run.
fn guarded<T>(work: impl FnOnce() -> Result<T, DecodeFault>) -> Result<T, DecodeFault> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(DecodeFault::Undecodable))
}

fn decode_upright(
    bytes: &[u8],
    format: Format,
    opened: Opened<'_>,
    used_bits: UsedBits,
) -> Result<Decoded, DecodeFault> {
    let (width, height) = opened.dimensions();
    let (image, orientation, is_cmyk) = opened.read(bytes, format)?;
    let mode = match is_cmyk {
        true => Mode::Cmyk,
        // A GIF has a palette, and its transparent values mean nothing.
        false if format == Format::Gif => Mode::Colour,
        false => Mode::of(&image),
    };
    // A Netpbm file says how large its values may be, and they have been scaled by that.
    let says_itself = format == Format::Pnm && pnm::stated_largest(bytes) != Some(u32::from(u16::MAX));
    let largest = if says_itself { None } else { depth::largest(&image) };
    let used_bits = largest.map_or(UsedBits::ALL, |_| used_bits);
    let mut rgb = depth::to_rgb(image, used_bits);
    if format == Format::Gif {
        gif::paint_around(bytes, &mut rgb);
    }
    let mut upright = DynamicImage::ImageRgb8(rgb);
    let is_turned = matches!(
        orientation,
        Some(
            Orientation::Rotate90
                | Orientation::Rotate270
                | Orientation::Rotate90FlipH
                | Orientation::Rotate270FlipH
        )
    );
    if let Some(orientation) = orientation {
        upright.apply_orientation(orientation);
    }
    let rgb = upright.into_rgb8();
    let (width, height) = if is_turned {
        (height, width)
    } else {
        (width, height)
    };
    Ok(Decoded {
        image: Image {
            width: rgb.width(),
            height: rgb.height(),
            rgb: rgb.into_raw(),
        },
        width,
        height,
        mode,
        largest,
    })
}

/// An image of which the header has been read.
enum Opened<'a> {
    Usual(Box<dyn ImageDecoder + 'a>),
    /// A JPEG that is decoded at this size; the other decoder knows the orientation.
    Fraction {
        usual: Box<dyn ImageDecoder + 'a>,
        frame: Frame,
        size: (u16, u16),
    },
    Tiff(Box<tiff::Rest>),
    Fax(Fax<'a>),
    Jpeg2000(Box<Codestream<'a>>),
    Dicom(Box<Dicom<'a>>),
}

impl Opened<'_> {
    fn dimensions(&self) -> (u32, u32) {
        match self {
            Opened::Usual(decoder) => decoder.dimensions(),
            Opened::Fraction { usual, .. } => usual.dimensions(),
            Opened::Tiff(rest) => (rest.width, rest.height),
            Opened::Fax(fax) => (fax.width, fax.height),
            Opened::Jpeg2000(codestream) => (codestream.width, codestream.height),
            Opened::Dicom(dicom) => (dicom.width, dicom.height),
        }
    }

    /// The image as stored, its orientation, and whether it is CMYK.
    fn read(
        self,
        bytes: &[u8],
        format: Format,
    ) -> Result<(DynamicImage, Option<Orientation>, bool), DecodeFault> {
        Ok(match self {
            Opened::Tiff(mut rest) => {
                let orientation = rest.orientation();
                (rest.read(bytes)?, orientation, false)
            }
            Opened::Fax(fax) => (
                fax.read().ok_or(DecodeFault::Undecodable)?,
                fax.orientation(),
                false,
            ),
            Opened::Jpeg2000(codestream) => (codestream.read()?, None, false),
            Opened::Dicom(dicom) => (dicom.read()?, None, false),
            Opened::Fraction {
                mut usual,
                frame,
                size,
            } => {
                let orientation = usual.orientation().ok();
                (fraction::decode(bytes, size)?, orientation, frame.channels() == 4)
            }
            Opened::Usual(mut decoder) => {
                // Unreadable EXIF data is no reason to refuse a readable image.
                let orientation = decoder.orientation().ok();
                let is_cmyk = (format == Format::Jpeg
                    && Frame::of(bytes).is_some_and(|frame| frame.channels() == 4))
                    || matches!(
                        decoder.original_color_type(),
                        ExtendedColorType::Cmyk8 | ExtendedColorType::Cmyk16
                    );
                let image =
                    DynamicImage::from_decoder(decoder).map_err(|error| fault(error, format, bytes))?;
                (image, orientation, is_cmyk)
            }
        })
    }
}

fn open(bytes: &[u8], max_pixels: u64) -> Result<(Format, Opened<'_>), DecodeFault> {
    let format = match content(bytes) {
        Content::Image(format) => format,
        Content::OtherImage(name) | Content::Other(name) => return Err(DecodeFault::UnsupportedFormat(name)),
        Content::NotAnImage => return Err(DecodeFault::NotAnImage),
    };
    let (opened, max_pixels) = match format {
        Format::Jpeg => (open_jpeg(bytes)?, fraction::most_pixels(max_pixels)),
        Format::Jpeg2000 => (Opened::Jpeg2000(Box::new(Codestream::open(bytes)?)), max_pixels),
        Format::Dicom => {
            let dicom = Dicom::open(
                bytes,
                max_pixels.saturating_mul(2).saturating_add(DECODER_OVERHEAD),
            )?;
            (Opened::Dicom(Box::new(dicom)), max_pixels)
        }
        Format::Tiff => (open_tiff(bytes, max_pixels)?, max_pixels),
        _ => (open_usual(bytes, format, max_pixels)?, max_pixels),
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
    Ok((format, opened))
}

fn open_jpeg(bytes: &[u8]) -> Result<Opened<'_>, DecodeFault> {
    // Before anything else: a decoder calls a variant that it does not know damaged, or cut short.
    let frame = Frame::of(bytes);
    if let Some(variant) = frame.as_ref().and_then(Frame::unread_variant) {
        return Err(DecodeFault::UnsupportedVariant(variant));
    }
    if !jpeg::reaches_its_end(bytes) {
        return Err(DecodeFault::Truncated);
    }
    let frame = frame.ok_or(DecodeFault::Undecodable)?;
    let Some(size) = fraction::size(frame.width, frame.height, fraction::FULL_PIXELS) else {
        // The whole image is at most that large.
        return open_usual(bytes, Format::Jpeg, fraction::FULL_PIXELS);
    };
    if !fraction::is_bounded(&frame) {
        return Err(DecodeFault::TooMuchMemory);
    }
    let usual = open_decoder(bytes, ImageFormat::Jpeg, fraction::FULL_PIXELS);
    let usual = usual.map_err(|error| fault(error, Format::Jpeg, bytes))?;
    Ok(Opened::Fraction { usual, frame, size })
}

fn open_tiff(bytes: &[u8], max_pixels: u64) -> Result<Opened<'_>, DecodeFault> {
    if let Some(name) = raw::camera_raw(bytes) {
        return Err(DecodeFault::UnsupportedFormat(name));
    }
    if let Some(fax) = Fax::open(bytes) {
        return Ok(Opened::Fax(fax));
    }
    match open_decoder(bytes, ImageFormat::Tiff, max_pixels) {
        Ok(decoder) => Ok(Opened::Usual(decoder)),
        Err(error) => match tiff::Rest::open(bytes, max_bytes(max_pixels)) {
            Some(rest) => Ok(Opened::Tiff(Box::new(rest))),
            None => Err(fault(error, Format::Tiff, bytes)),
        },
    }
}

fn open_usual(bytes: &[u8], format: Format, max_pixels: u64) -> Result<Opened<'_>, DecodeFault> {
    let (decoder, most_pixels) = match format {
        // A PNG may contain a compressed profile of any expanded size, which its decoder reads with the header.
        Format::Png => (ImageFormat::Png, png_pixels(bytes).min(max_pixels)),
        Format::Gif => (ImageFormat::Gif, max_pixels),
        Format::WebP => (ImageFormat::WebP, max_pixels),
        Format::Bmp => (ImageFormat::Bmp, max_pixels),
        Format::Pnm => (ImageFormat::Pnm, max_pixels),
        _ => (ImageFormat::Jpeg, max_pixels),
    };
    if let Some(variant) = unread_variant(bytes, format) {
        return Err(DecodeFault::variant(variant));
    }
    let opened = open_decoder(bytes, decoder, most_pixels);
    opened
        .map(Opened::Usual)
        .map_err(|error| fault(error, format, bytes))
}

/// Variants that decoders take for damage.
fn unread_variant(bytes: &[u8], format: Format) -> Option<&'static str> {
    match format {
        // Where the header should be, there is a mark of programs for iPhones, and the rest is not quite PNG.
        Format::Png if bytes.get(12..16) == Some(b"CgBI") => Some("PNG for iPhone apps (CgBI)"),
        Format::Bmp => match bytes.get(30..34)? {
            [4, 0, 0, 0] => Some("BMP with a JPEG inside"),
            [5, 0, 0, 0] => Some("BMP with a PNG inside"),
            _ => None,
        },
        _ => None,
    }
}

fn open_decoder(
    bytes: &[u8],
    format: ImageFormat,
    max_pixels: u64,
) -> ImageResult<Box<dyn ImageDecoder + '_>> {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(max_bytes(max_pixels));
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    Ok(Box::new(reader.into_decoder()?))
}

fn max_bytes(max_pixels: u64) -> u64 {
    max_pixels
        .saturating_mul(MAX_BYTES_PER_PIXEL)
        .saturating_add(DECODER_OVERHEAD)
}

/// From its first chunk, which is always the header (PNG specification, 11.2.2).
fn png_pixels(bytes: &[u8]) -> u64 {
    let number = |at: usize| {
        let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, |bytes| u64::from(u32::from_be_bytes(bytes)))
    };
    number(16).saturating_mul(number(20))
}

fn fault(error: ImageError, format: Format, bytes: &[u8]) -> DecodeFault {
    match error {
        ImageError::Limits(_) => DecodeFault::TooMuchMemory,
        ImageError::Unsupported(_) => DecodeFault::UnsupportedVariant(match format {
            Format::Tiff => tiff::variant(bytes),
            Format::Png => "variant of PNG".into(),
            Format::Gif => "variant of GIF".into(),
            Format::WebP => "variant of WebP".into(),
            Format::Bmp => "variant of BMP".into(),
            Format::Pnm => "variant of PNM".into(),
            _ => "variant of JPEG".into(),
        }),
        ImageError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => DecodeFault::Truncated,
        _ => DecodeFault::Undecodable,
    }
}
