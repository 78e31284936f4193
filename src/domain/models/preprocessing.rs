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

/// How pixels are interpolated where an image is resized; both antialiased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// Pillow's `BILINEAR`.
    #[default]
    Bilinear,
    /// Pillow's `BICUBIC`.
    Bicubic,
}

impl Interpolation {
    pub const CHOICES: [(&'static str, Self); 2] = [("bilinear", Self::Bilinear), ("bicubic", Self::Bicubic)];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bilinear => "bilinear",
            Self::Bicubic => "bicubic",
        }
    }

    pub fn is_bilinear(&self) -> bool {
        *self == Self::Bilinear
    }
}

/// The complete preprocessing from an image file to the network's input `[3, crop, crop]`: EXIF orientation applied, colours as in Pillow's
/// `convert("RGB")`, resized with antialiased `interpolation`, cropped, scaled to 0–1, `(x - mean) / std` per channel.
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
    /// Absent for bilinear, which was the only one in older models.
    #[serde(default, skip_serializing_if = "Interpolation::is_bilinear")]
    pub interpolation: Interpolation,
    /// How many of their 16 bits images with 16 bits in each channel use, as found in the images of the training; absent for all 16. Images
    /// with 8 bits are not affected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_bits: Option<UsedBits>,
}

/// How many of its 16 bits a 16-bit image uses, 8 to 16: microscopes and detectors store 10, 12 or 14 bits in the lower ones. The upper 8 of
/// the used bits become the 8 bits of a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "u8", into = "u8")]
#[schema(value_type = u8, minimum = 8, maximum = 16)]
pub struct UsedBits(u8);

impl UsedBits {
    /// The upper byte counts.
    pub const ALL: Self = Self(16);

    /// None outside 8 to 16.
    pub fn new(bits: u8) -> Option<Self> {
        (8..=16).contains(&bits).then_some(Self(bits))
    }

    /// What cameras and detectors have, 8, 10, 12, 14 or 16, and this value needs.
    pub fn of_largest(value: u16) -> Self {
        let needed = 16 - value.leading_zeros() as u8;
        Self(needed.max(8).next_multiple_of(2))
    }

    pub fn get(self) -> u8 {
        self.0
    }

    /// The largest value.
    pub fn largest(self) -> u16 {
        u16::MAX >> (16 - self.0)
    }

    /// The upper 8 of the used bits; a value beyond them is white.
    pub fn to_byte(self, value: u16) -> u8 {
        (value.min(self.largest()) >> (self.0 - 8)) as u8
    }
}

impl TryFrom<u8> for UsedBits {
    type Error = &'static str;

    fn try_from(bits: u8) -> Result<Self, Self::Error> {
        Self::new(bits).ok_or("the used bits of 16-bit images are 8 to 16")
    }
}

impl From<UsedBits> for u8 {
    fn from(bits: UsedBits) -> Self {
        bits.0
    }
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
            interpolation: Interpolation::Bilinear,
            used_bits: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_used_bits_follow_from_the_largest_value() {
        let bits = [0, 255, 256, 1023, 1024, 4095, 4096, 16383, 16384, 65535]
            .map(|largest| UsedBits::of_largest(largest).get());
        assert_eq!(bits, [8, 8, 10, 10, 12, 12, 14, 14, 16, 16]);
        let twelve = UsedBits::of_largest(4000);
        assert_eq!(
            [0, 16, 2048, 4095, 65535].map(|value| twelve.to_byte(value)),
            [0, 1, 128, 255, 255]
        );
        assert_eq!(UsedBits::ALL.to_byte(0x4dff), 0x4d);
    }

    #[test]
    fn a_recipe_from_before_used_bits_is_read_and_written_as_it_was() {
        let old = Preprocessing::for_size(224);
        let text = serde_json::to_string(&old).unwrap();
        assert!(!text.contains("used_bits"), "{text}");
        assert_eq!(serde_json::from_str::<Preprocessing>(&text).unwrap(), old);
        let new = text.replace("\"crop\"", "\"used_bits\":12,\"crop\"");
        assert_eq!(
            serde_json::from_str::<Preprocessing>(&new).unwrap().used_bits,
            UsedBits::new(12)
        );
        for wrong in ["7", "17", "-1", "\"12\""] {
            assert!(
                serde_json::from_str::<Preprocessing>(&new.replace(":12", &format!(":{wrong}"))).is_err()
            );
        }
    }
}
