//! The preprocessing of an image from its file to the network's input, as data: saved with every model, implemented only in
//! `worker/pixels.rs`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How an image of any shape becomes a square.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// The shorter side is resized to `resize_to`, then the centre is cropped (torchvision's `Resize` + `CenterCrop`).
    #[default]
    ShortestCrop,
    /// Both sides are resized to `crop`, without keeping the aspect ratio (torchvision's `Resize((crop, crop))`): the whole image is
    /// visible.
    Squash,
    /// The longer side is resized to `crop`, and the rest of the square is filled with the mean colour, half on each side: the whole image
    /// is visible, with its aspect ratio.
    Letterbox,
}

/// The complete preprocessing from an image file to the network's input `[3, crop, crop]`: EXIF orientation applied, colours as in Pillow's
/// `convert("RGB")`, resized with antialiased bilinear interpolation, cropped, scaled to 0–1, `(x - mean) / std` per channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Preprocessing {
    pub resize: Resize,
    /// Length of the shorter side after the first resize, in pixels: that of the packed image, which is created once. A smaller image is
    /// packed as it is. `shortest_crop` crops this image, the others resize it once more.
    pub resize_to: u32,
    /// Side of the square that the network sees, in pixels.
    pub crop: u32,
    /// Per channel, red, green, blue, for pixels scaled to 0–1.
    pub mean: [f32; 3],
    pub std: [f32; 3],
}

impl Preprocessing {
    /// Mean and standard deviation of ImageNet, as torchvision's pretrained weights expect them.
    pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
    pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

    /// The preprocessing of networks for small images: the shorter side becomes `size`, and no margin is cropped. A square of `size` pixels
    /// stays as it is.
    pub fn whole(size: u32) -> Self {
        Self {
            resize_to: size,
            ..Self::for_size(size)
        }
    }

    /// The mean as an 8-bit colour: what the network sees as 0, like torchvision's padding after normalisation.
    pub fn mean_colour(&self) -> [u8; 3] {
        self.mean
            .map(|mean| (mean * 255.0).round().clamp(0.0, 255.0) as u8)
    }

    /// torchvision's preprocessing for a network with an input of `size` pixels: the shorter side becomes `size · 256 / 224`, rounded down.
    pub fn for_size(size: u32) -> Self {
        Self {
            resize: Resize::ShortestCrop,
            resize_to: size * 256 / 224,
            crop: size,
            mean: Self::IMAGENET_MEAN,
            std: Self::IMAGENET_STD,
        }
    }
}
