//! What is done to a picture between its file and the network, as data: saved with every model, carried out only by `worker/pixels.rs`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a picture of any shape becomes a square.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// The shorter side is brought to `resize_to`, then the centre is cut out (torchvision's `Resize` + `CenterCrop`).
    #[default]
    ShortestCrop,
    /// Both sides are brought to `crop`, whatever that does to the proportions (torchvision's `Resize((crop, crop))`): all of the picture
    /// is seen.
    Squash,
    /// The longer side is brought to `crop`, and what is missing of the square is filled with the mean colour, half on each side: all of
    /// the picture is seen, in its proportions.
    Letterbox,
}

/// The whole way from an image file to the network's input `[3, crop, crop]`: EXIF orientation applied, colours as Pillow's
/// `convert("RGB")`, resized with antialiased bilinear interpolation, cropped, scaled to 0–1, `(x - mean) / std` per channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Preprocessing {
    pub resize: Resize,
    /// Length of the shorter side after the first resizing, in pixels: that of the packed picture, which is made once. A smaller picture
    /// is packed as it is. `shortest_crop` cuts out of it, the others resize once more, from there.
    pub resize_to: u32,
    /// Side of the square that the network sees, in pixels.
    pub crop: u32,
    /// Per channel, red, green, blue, on the scale 0–1.
    pub mean: [f32; 3],
    pub std: [f32; 3],
}

impl Preprocessing {
    /// Mean and standard deviation of ImageNet, as torchvision's pretrained weights expect them.
    pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
    pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

    /// The recipe of networks for small pictures: the shorter side becomes `size`, and no margin is cut off. A square of `size` pixels
    /// stays as it is.
    pub fn whole(size: u32) -> Self {
        Self {
            resize_to: size,
            ..Self::for_size(size)
        }
    }

    /// The mean as a colour of 8 bits: what the network sees as 0, as torchvision's padding after normalisation.
    pub fn mean_colour(&self) -> [u8; 3] {
        self.mean
            .map(|mean| (mean * 255.0).round().clamp(0.0, 255.0) as u8)
    }

    /// torchvision's recipe for a network that sees `size` pixels: the shorter side becomes `size · 256 / 224`, rounded down.
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
