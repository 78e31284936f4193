//! An image overlaid with evidence: what the network saw, and where it saw the class.

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};

/// Opacity of the strongest evidence.
const OPACITY: f32 = 0.6;

/// A PNG of `side × side` pixels: the image in grey where there is no evidence, overlaid with a colour from yellow to red where there is
/// some. Each position of `evidence` (rows of the last stage's activations) covers the pixels that it came from, interpolated with its
/// neighbours. None if the sizes do not match, or something is not finite.
pub(super) fn draw(rgb: &[u8], side: u32, evidence: &[Vec<f32>]) -> Option<Vec<u8>> {
    let map = Map::of(evidence)?;
    if rgb.len() != 3 * (side * side) as usize {
        return None;
    }
    let mut drawn = Vec::with_capacity(rgb.len());
    for (index, pixel) in (0u32..).zip(rgb.chunks_exact(3)) {
        let place = |pixel: u32| (pixel as f32 + 0.5) / side as f32;
        let strength = map.at(place(index % side), place(index / side));
        drawn.extend(blended([pixel[0], pixel[1], pixel[2]], strength));
    }
    let mut png = Vec::new();
    let encoder = PngEncoder::new(&mut png);
    encoder
        .write_image(&drawn, side, side, ExtendedColorType::Rgb8)
        .ok()?;
    Some(png)
}

/// Evidence from 0 to 1.
struct Map {
    rows: usize,
    columns: usize,
    values: Vec<f32>,
}

impl Map {
    fn of(evidence: &[Vec<f32>]) -> Option<Self> {
        let columns = evidence.first()?.len();
        let mut values = evidence.concat();
        let fits = columns > 0 && values.len() == columns * evidence.len();
        if !fits || values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let largest = values.iter().copied().fold(0.0, f32::max);
        if largest > 0.0 {
            values
                .iter_mut()
                .for_each(|value| *value = value.max(0.0) / largest);
        }
        Some(Self {
            rows: evidence.len(),
            columns,
            values,
        })
    }

    /// Bilinear, with positions at pixel centres; `x` and `y` are fractions of the image.
    fn at(&self, x: f32, y: f32) -> f32 {
        let (left, right, across) = between(x, self.columns);
        let (above, below, down) = between(y, self.rows);
        let value = |row: usize, column: usize| self.values[row * self.columns + column];
        let mix = |a: f32, b: f32, share: f32| a + (b - a) * share;
        mix(
            mix(value(above, left), value(above, right), across),
            mix(value(below, left), value(below, right), across),
            down,
        )
    }
}

/// The two positions around a fraction of the length, and the weight of the second.
fn between(share: f32, count: usize) -> (usize, usize, f32) {
    let exact = (share * count as f32 - 0.5).clamp(0.0, (count - 1) as f32);
    let first = exact.floor() as usize;
    (first, (first + 1).min(count - 1), exact - exact.floor())
}

fn blended(pixel: [u8; 3], strength: f32) -> [u8; 3] {
    let [red, green, blue] = pixel.map(f32::from);
    // ITU-R BT.601; half of the image's own colour is kept.
    let grey = 0.299 * red + 0.587 * green + 0.114 * blue;
    let under = [red, green, blue].map(|value| (value + grey) / 2.0);
    let colour = [255.0, 220.0 * (1.0 - strength), 0.0];
    let cover = OPACITY * strength;
    [0, 1, 2].map(|channel| (under[channel] * (1.0 - cover) + colour[channel] * cover).round() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_that_speaks_for_the_class_is_coloured_and_the_rest_is_not() {
        let grey = [100u8; 3 * 8 * 8];
        let png = draw(&grey, 8, &[vec![0.0, 0.0], vec![0.0, 5.0]]).unwrap();
        let drawn = image::load_from_memory(&png).unwrap().into_rgb8();
        assert_eq!(drawn.dimensions(), (8, 8));
        assert_eq!(drawn.get_pixel(0, 0).0, [100, 100, 100]);
        assert_eq!(drawn.get_pixel(7, 7).0, [193, 40, 40]);
        let between = drawn.get_pixel(4, 7).0;
        assert!(100 < between[0] && between[0] < 193, "{between:?}");
    }

    #[test]
    fn no_evidence_colours_nothing_and_what_does_not_fit_is_not_drawn() {
        let grey = [7u8; 3 * 4 * 4];
        let png = draw(&grey, 4, &[vec![0.0; 2], vec![0.0; 2]]).unwrap();
        let drawn = image::load_from_memory(&png).unwrap().into_rgb8();
        assert!(drawn.pixels().all(|pixel| pixel.0 == [7, 7, 7]));
        assert_eq!(draw(&grey, 5, &[vec![0.0]]), None);
        assert_eq!(draw(&grey, 4, &[vec![0.0, 1.0], vec![0.0]]), None);
        assert_eq!(draw(&grey, 4, &[vec![f32::NAN]]), None);
        assert_eq!(draw(&grey, 4, &[]), None);
    }
}
