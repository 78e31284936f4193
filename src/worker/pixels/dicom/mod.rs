//! DICOM: single images of 8 and 16 bits, as a viewer shows them (PS3.3, C.7.6.3 and C.11; PS3.5, chapter 8). Grey values are rescaled and
//! the file's window is applied, the first if there are several. Without a window the darkest value becomes black and the brightest white.
//!
//! Our own reading: the Rust libraries for it depend on the crate `encoding`, which is unmaintained (RUSTSEC-2021-0153), and build a tree of
//! the whole file. Few elements are needed here. The pixels are decompressed by the crates that also read JPEG and JPEG 2000.

mod elements;
mod grey;
mod packed;
mod storage;
mod syntax;

use std::borrow::Cow;

use image::{DynamicImage, GrayImage, RgbImage};

use self::{
    elements::{Elements, Pixels, Writing},
    grey::Shades,
    storage::{COLUMNS, ROWS, Storage},
    syntax::Compression,
};
use super::{fault::DecodeFault, jpeg2000::Codestream};

const PHOTOMETRIC: elements::Tag = (0x0028, 0x0004);
const FRAMES: elements::Tag = (0x0028, 0x0008);

/// An image that has not been read yet.
pub struct Dicom<'a> {
    /// The data set, inflated if it was deflated.
    data: Cow<'a, [u8]>,
    writing: Writing,
    compression: Compression,
    pub width: u32,
    pub height: u32,
}

impl<'a> Dicom<'a> {
    /// `most_bytes` is for a data set that is deflated.
    pub fn open(bytes: &'a [u8], most_bytes: u64) -> Result<Self, DecodeFault> {
        let (data, writing, compression) = syntax::data_set(bytes, most_bytes)?;
        let elements = Elements::read(&data, writing);
        let (Some(height), Some(width), Some(_)) =
            (elements.short(ROWS), elements.short(COLUMNS), &elements.pixels)
        else {
            // Cut short before its pixels, or a report, a plan, a directory.
            let described = elements.short(ROWS).is_some();
            return Err(match described {
                true => DecodeFault::Truncated,
                false => DecodeFault::variant("DICOM file without an image"),
            });
        };
        let frames = elements.decimal(FRAMES).unwrap_or(1.0);
        if frames > 1.0 {
            return Err(DecodeFault::variant(format!("DICOM with {frames} frames")));
        }
        Ok(Self {
            width: width.into(),
            height: height.into(),
            data,
            writing,
            compression,
        })
    }

    pub fn read(&self) -> Result<DynamicImage, DecodeFault> {
        let elements = Elements::read(&self.data, self.writing);
        let storage = Storage::of(&elements)?;
        let photometric = elements.text(PHOTOMETRIC).unwrap_or("MONOCHROME2");
        let (width, height) = (self.width, self.height);
        match (storage.samples, photometric) {
            (1, "MONOCHROME1" | "MONOCHROME2") => {
                let values = self.values(&elements, &storage)?;
                let shades = Shades::of(&elements, &storage, &values);
                let inverted = photometric == "MONOCHROME1";
                let shade = |value: &i32| {
                    if inverted {
                        255 - shades.of_value(*value)
                    } else {
                        shades.of_value(*value)
                    }
                };
                GrayImage::from_raw(width, height, values.iter().map(shade).collect())
                    .map(DynamicImage::ImageLuma8)
            }
            (1, "PALETTE COLOR") => {
                let palette = grey::palette(&elements).ok_or(DecodeFault::Undecodable)?;
                let values = self.values(&elements, &storage)?;
                let rgb = values.iter().flat_map(|value| palette.colour(*value)).collect();
                RgbImage::from_raw(width, height, rgb).map(DynamicImage::ImageRgb8)
            }
            (3, "RGB" | "YBR_FULL" | "YBR_FULL_422" | "YBR_PARTIAL_422" | "YBR_ICT" | "YBR_RCT")
                if storage.bytes == 1 =>
            {
                let rgb = self.colours(&elements, &storage, photometric)?;
                RgbImage::from_raw(width, height, rgb).map(DynamicImage::ImageRgb8)
            }
            (samples, _) => {
                let bits = storage.stored;
                return Err(DecodeFault::variant(format!(
                    "DICOM in {photometric} with {samples} x {bits} bits"
                )));
            }
        }
        .ok_or(DecodeFault::Undecodable)
    }

    /// Grey values, or places in a palette, with their sign.
    fn values(&self, elements: &Elements<'_>, storage: &Storage) -> Result<Vec<i32>, DecodeFault> {
        let count = storage.width * storage.height;
        match self.compression {
            Compression::None => {
                let plain = plain(elements, count * storage.bytes)?;
                Ok(storage.signed_values(plain, self.writing.big_endian))
            }
            Compression::RunLengths => {
                let planes = packed::planes(&fragments(elements), count, storage.bytes)?;
                // The upper byte of all values comes first.
                let together: Vec<u8> = (0..count)
                    .flat_map(|at| planes.iter().map(move |plane| plane[at]))
                    .collect();
                Ok(storage.signed_values(&together, true))
            }
            Compression::Jpeg => {
                let values = packed::jpeg(&fragments(elements), storage, false)?;
                Ok(values
                    .into_iter()
                    .map(|value| storage.with_sign(value.into()))
                    .collect())
            }
            Compression::Jpeg2000 => {
                let fragments = fragments(elements);
                let channels = self.codestream(&fragments)?.channels()?;
                let [values] = channels.values.as_slice() else {
                    return Err(DecodeFault::Undecodable);
                };
                // The decoder treats all values as if they had no sign, and shifts them up by half of the range.
                let shift = if storage.signed {
                    1 << (u32::from(channels.bits.max(1)) - 1)
                } else {
                    0
                };
                Ok(values.iter().map(|value| value.round() as i32 - shift).collect())
            }
        }
    }

    /// Red, green and blue of each pixel.
    fn colours(
        &self,
        elements: &Elements<'_>,
        storage: &Storage,
        photometric: &str,
    ) -> Result<Vec<u8>, DecodeFault> {
        let count = storage.width * storage.height;
        let mut rgb = match self.compression {
            Compression::None if photometric.ends_with("_422") => {
                let halved = plain(elements, count.next_multiple_of(2) * 2)?;
                let pairs = halved.chunks_exact(4);
                pairs
                    .flat_map(|pair| [pair[0], pair[2], pair[3], pair[1], pair[2], pair[3]])
                    .take(count * 3)
                    .collect()
            }
            Compression::None if storage.planar => interleaved(plain(elements, count * 3)?, count),
            Compression::None => plain(elements, count * 3)?.to_vec(),
            Compression::RunLengths => {
                let planes = packed::planes(&fragments(elements), count, 3)?;
                interleaved(&planes.concat(), count)
            }
            Compression::Jpeg => {
                // The decoder has converted the colours.
                let values = packed::jpeg(&fragments(elements), storage, photometric != "RGB")?;
                return Ok(values.into_iter().map(|value| value as u8).collect());
            }
            Compression::Jpeg2000 => {
                let fragments = fragments(elements);
                return Ok(self.codestream(&fragments)?.read()?.into_rgb8().into_raw());
            }
        };
        if photometric.starts_with("YBR") {
            rgb.chunks_exact_mut(3).for_each(|pixel| {
                let [red, green, blue] = super::ycbcr::to_rgb([pixel[0], pixel[1], pixel[2]]);
                pixel.copy_from_slice(&[red, green, blue]);
            });
        }
        Ok(rgb)
    }

    /// Of exactly the size that the file says.
    fn codestream<'b>(&self, bytes: &'b [u8]) -> Result<Codestream<'b>, DecodeFault> {
        let codestream = Codestream::open(bytes)?;
        let same = (codestream.width, codestream.height) == (self.width, self.height);
        same.then_some(codestream).ok_or(DecodeFault::Undecodable)
    }
}

fn plain<'a>(elements: &Elements<'a>, length: usize) -> Result<&'a [u8], DecodeFault> {
    match elements.pixels {
        Some(Pixels::Plain(bytes)) => bytes.get(..length).ok_or(DecodeFault::Truncated),
        _ => Err(DecodeFault::Undecodable),
    }
}

/// All parts of the one image. Programs may cut it anywhere.
fn fragments(elements: &Elements<'_>) -> Vec<u8> {
    match &elements.pixels {
        Some(Pixels::Fragments(fragments)) => fragments.concat(),
        _ => Vec::new(),
    }
}

/// From one plane after the other to one pixel after the other.
fn interleaved(planes: &[u8], count: usize) -> Vec<u8> {
    (0..count)
        .flat_map(|at| [planes[at], planes[count + at], planes[2 * count + at]])
        .collect()
}

#[cfg(test)]
mod tests;
