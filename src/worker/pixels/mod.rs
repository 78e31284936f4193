//! The one definition of what is done to an image between its file and the network (`domain::preprocessing` carried out).
//!
//! Ingest packs with it, training and evaluation read its packs, prediction prepares with it: a model that was trained on one set of
//! pixels is asked with the same. No tensors here: the last step, `(x - mean) / std`, belongs to whoever makes the tensor, which
//! does it on the device. Everything is a pure function of its input; nothing here may print, log or touch a file.

mod decode;
mod fingerprint;
mod format;
mod geometry;
mod gif;
mod jpeg;
mod mode;
mod tiff;

pub use decode::{DecodeFault, Header, decode};
pub use fingerprint::Fingerprint;
pub use format::{Content, EXTENSIONS, content};
pub use geometry::{MAX_ASPECT, center_crop, cut, letterbox, resize, resize_shortest};
pub use mode::Mode;

use crate::domain::models::preprocessing::{Preprocessing, Resize};

/// An image in memory: `height` rows of `width` pixels of 3 bytes, red, green, blue, upright.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub width: u32,
    pub height: u32,
    pub rgb: Vec<u8>,
}

/// The same, borrowed: from a [`Image`], or straight out of a memory-mapped pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageView<'a> {
    pub width: u32,
    pub height: u32,
    pub rgb: &'a [u8],
}

impl<'a> ImageView<'a> {
    /// None where `rgb` is not exactly `height` rows of `width` pixels, or the image has none: a manifest that does not fit its
    /// pack.
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

/// What ingest stores: the shorter side brought down to `side` where it is longer, the image as it is where it is not. Of a strip
/// longer than [`geometry::MAX_ASPECT`] times its breadth the middle is kept, so that no file can blow up when it is scaled.
pub fn pack(image: Image, side: u32) -> Image {
    let image = geometry::trim_strip(image);
    if image.view().shorter() > side {
        resize_shortest(&image, side)
    } else {
        image
    }
}

/// From a file to the `crop × crop` pixels that the network sees.
pub fn prepare(bytes: &[u8], recipe: &Preprocessing, max_pixels: u64) -> Result<Image, DecodeFault> {
    let packed = pack(decode(bytes, max_pixels)?, recipe.resize_to);
    Ok(prepare_from_pack(&packed, recipe))
}

/// From packed pixels to the `crop × crop` pixels that the network sees. The very same bytes as [`prepare`] gives where the pack was
/// made with `recipe.resize_to`; a pack of another side costs one more interpolation.
pub fn prepare_from_pack<'a>(packed: impl Into<ImageView<'a>>, recipe: &Preprocessing) -> Image {
    let packed = packed.into();
    match recipe.resize {
        Resize::ShortestCrop if packed.shorter() == recipe.resize_to => center_crop(packed, recipe.crop),
        Resize::ShortestCrop => center_crop(&resize_shortest(packed, recipe.resize_to), recipe.crop),
        Resize::Squash => resize(packed, recipe.crop, recipe.crop),
        Resize::Letterbox => letterbox(packed, recipe.crop, recipe.mean_colour()),
    }
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
