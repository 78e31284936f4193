//! The one implementation of the preprocessing of an image between its file and the network (`domain::models::preprocessing`).
//!
//! Used by ingest for packing, by training and evaluation through ingest's packs, and by prediction: a model always sees the pixels that it
//! was trained on. No tensors here: the last step, `(x - mean) / std`, is done on the device by whoever creates the tensor. Everything is a
//! pure function of its input; nothing here may print, log or access a file.

mod decode;
mod depth;
mod dicom;
mod fault;
mod fingerprint;
mod format;
mod fraction;
mod geometry;
mod gif;
mod ifd;
mod jpeg;
mod jpeg2000;
mod mode;
mod pnm;
mod raw;
mod tiff;
mod ycbcr;

pub use decode::{Decoded, Header, decode};
pub use fault::DecodeFault;
pub use fingerprint::Fingerprint;
pub use format::{Content, EXTENSIONS, content};
pub use geometry::{MAX_ASPECT, center_crop, cut, letterbox, resize, resize_shortest};
pub use mode::Mode;

use crate::domain::models::preprocessing::{Interpolation, Preprocessing, Resize, UsedBits};

/// An image in memory: `height` rows of `width` pixels of 3 bytes, red, green, blue, upright.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub width: u32,
    pub height: u32,
    pub rgb: Vec<u8>,
}

/// The same, borrowed: from an [`Image`], or directly from a memory-mapped pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageView<'a> {
    pub width: u32,
    pub height: u32,
    pub rgb: &'a [u8],
}

impl<'a> ImageView<'a> {
    /// None if `rgb` is not exactly `height` rows of `width` pixels, or the image is empty: a manifest that does not match its pack.
    pub fn new(width: u32, height: u32, rgb: &'a [u8]) -> Option<Self> {
        let fits = width > 0 && height > 0 && rgb.len() as u64 == byte_count(width, height);
        fits.then_some(Self { width, height, rgb })
    }

    /// The shorter side, in pixels.
    pub fn shorter(&self) -> u32 {
        self.width.min(self.height)
    }
}

impl Image {
    pub fn view(&self) -> ImageView<'_> {
        ImageView {
            width: self.width,
            height: self.height,
            rgb: &self.rgb,
        }
    }
}

impl<'a> From<&'a Image> for ImageView<'a> {
    fn from(image: &'a Image) -> Self {
        image.view()
    }
}

/// Bytes of an image of this size.
pub fn byte_count(width: u32, height: u32) -> u64 {
    u64::from(width) * u64::from(height) * 3
}

/// The image that ingest stores: the shorter side resized to `side` if it is longer, otherwise the image as it is. Of a strip longer than
/// [`geometry::MAX_ASPECT`] times its width only the middle is kept, so that no file can blow up when it is resized.
pub fn pack(image: Image, side: u32, interpolation: Interpolation) -> Image {
    let image = geometry::trim_strip(image);
    if image.view().shorter() > side {
        resize_shortest(&image, side, interpolation)
    } else {
        image
    }
}

/// From a file to the `crop × crop` pixels that the network sees.
pub fn prepare(bytes: &[u8], recipe: &Preprocessing, max_pixels: u64) -> Result<Image, DecodeFault> {
    let used_bits = recipe.used_bits.unwrap_or(UsedBits::ALL);
    let packed = pack(
        decode(bytes, max_pixels, used_bits)?,
        recipe.resize_to,
        recipe.interpolation,
    );
    Ok(prepare_from_pack(&packed, recipe))
}

/// From packed pixels to the `crop × crop` pixels that the network sees. Exactly the same bytes as from [`prepare`] if the pack was created
/// with `recipe.resize_to` and `recipe.interpolation`; a pack of another size costs one more interpolation.
pub fn prepare_from_pack<'a>(packed: impl Into<ImageView<'a>>, recipe: &Preprocessing) -> Image {
    let packed = packed.into();
    let interpolation = recipe.interpolation;
    match recipe.resize {
        Resize::ShortestCrop if packed.shorter() == recipe.resize_to => center_crop(packed, recipe.crop),
        Resize::ShortestCrop => center_crop(
            &resize_shortest(packed, recipe.resize_to, interpolation),
            recipe.crop,
        ),
        Resize::Squash => resize(packed, recipe.crop, recipe.crop, interpolation),
        Resize::Letterbox => letterbox(packed, recipe.crop, recipe.mean_colour(), interpolation),
    }
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
