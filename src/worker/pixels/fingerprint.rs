//! A perceptual hash of an image, so that it is recognised after being saved again in another size, format or quality.

use super::{ImageView, geometry};
use crate::domain::models::preprocessing::Interpolation;

const COLUMNS: u32 = 9;
const ROWS: u32 = 8;
const BYTES: usize = (COLUMNS * ROWS * 3) as usize;
/// How much darker a neighbour must be: flat areas count as flat despite the noise of compression.
const MARGIN: i32 = 2;

/// The image in 9 x 8 pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// A bit for each pixel and its right neighbour: whether it is brighter (difference hash, Krawetz 2013).
    pub hash: u64,
    small: [u8; BYTES],
}

impl Fingerprint {
    pub fn of<'a>(image: impl Into<ImageView<'a>>) -> Self {
        let resized = geometry::resize(image, COLUMNS, ROWS, Interpolation::Bilinear);
        let mut small = [0; BYTES];
        small.copy_from_slice(&resized.rgb);
        let mut hash = 0;
        for row in small.chunks_exact(COLUMNS as usize * 3) {
            let brightness: Vec<i32> = row.chunks_exact(3).map(brightness).collect();
            for pair in brightness.windows(2) {
                hash = hash << 1 | u64::from(pair[0] > pair[1] + MARGIN);
            }
        }
        Self { hash, small }
    }

    /// The sum of all values; images that look alike have similar sums.
    pub fn sum(&self) -> u32 {
        self.small.iter().map(|value| u32::from(*value)).sum()
    }

    /// The total absolute difference of the values.
    pub fn distance(&self, other: &Self) -> u32 {
        let apart = self
            .small
            .iter()
            .zip(&other.small)
            .map(|(a, b)| u32::from(a.abs_diff(*b)));
        apart.sum()
    }

    /// The distance within which another image counts as the same: one twenty-fifth of its own contrast, between half a level and
    /// [`Fingerprint::MAX_DISTANCE`] per value. Photos saved again at half the size or at quality 30 are within it; two handwritten digits
    /// are not, although both are thin strokes on black.
    pub fn tolerance(&self) -> u32 {
        let mean = self.sum() / BYTES as u32;
        let contrast: u32 = self
            .small
            .iter()
            .map(|value| u32::from(*value).abs_diff(mean))
            .sum();
        (contrast / 25).clamp(BYTES as u32 / 2, Self::MAX_DISTANCE)
    }

    /// The largest tolerance: two levels on average.
    pub const MAX_DISTANCE: u32 = 2 * BYTES as u32;
}

/// ITU-R BT.601, as in Pillow's `convert("L")`.
fn brightness(rgb: &[u8]) -> i32 {
    (299 * i32::from(rgb[0]) + 587 * i32::from(rgb[1]) + 114 * i32::from(rgb[2])) / 1000
}
