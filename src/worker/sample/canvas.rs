//! A canvas in floating point that is painted layer by layer and rounded once at the end.

use crate::{domain::random::Draws, worker::pixels::Image};

/// Red, green, blue, 0 to 255.
pub type Colour = [f64; 3];

pub struct Canvas {
    width: u32,
    height: u32,
    pixels: Vec<Colour>,
}

impl Canvas {
    /// Computes every pixel from its column and row.
    pub fn from_fn(width: u32, height: u32, colour: impl Fn(usize, usize) -> Colour) -> Self {
        let mut pixels = Vec::with_capacity(width as usize * height as usize);
        for y in 0..height as usize {
            for x in 0..width as usize {
                pixels.push(colour(x, y));
            }
        }
        Self {
            width,
            height,
            pixels,
        }
    }

    /// Paints within a square of half side `reach` around a point: `paint` gives a colour and how much of a pixel it covers.
    pub fn paint(&mut self, centre: (f64, f64), reach: f64, paint: impl Fn(f64, f64) -> (Colour, f64)) {
        let range = |middle: f64, size: u32| {
            let first = (middle - reach).floor().clamp(0.0, f64::from(size)) as u32;
            let end = (middle + reach).ceil().clamp(0.0, f64::from(size)) as u32;
            first..end
        };
        for y in range(centre.1, self.height) {
            for x in range(centre.0, self.width) {
                let (colour, cover) = paint(f64::from(x) + 0.5 - centre.0, f64::from(y) + 0.5 - centre.1);
                if cover <= 0.0 {
                    continue;
                }
                let pixel = &mut self.pixels[(y * self.width + x) as usize];
                *pixel = blend(*pixel, colour, cover);
            }
        }
    }

    /// Adds noise to every pixel: up to ± `amplitude` to its brightness, and a quarter of that to each channel. One draw gives four 16-bit
    /// numbers, because there are many pixels.
    pub fn add_noise(&mut self, amplitude: f64, draws: &mut Draws) {
        let scale = amplitude / f64::from(u16::MAX / 2);
        for pixel in &mut self.pixels {
            let bits = draws.next_u64();
            let part =
                |index: u32| (f64::from((bits >> (16 * index)) as u16) - f64::from(u16::MAX / 2)) * scale;
            let common = part(3);
            pixel[0] += common + part(0) / 4.0;
            pixel[1] += common + part(1) / 4.0;
            pixel[2] += common + part(2) / 4.0;
        }
    }

    pub fn into_image(self) -> Image {
        let mut rgb = Vec::with_capacity(self.pixels.len() * 3);
        for pixel in &self.pixels {
            for value in pixel {
                rgb.push((value + 0.5).clamp(0.0, 255.0) as u8);
            }
        }
        Image {
            width: self.width,
            height: self.height,
            rgb,
        }
    }
}

/// From `below` towards `above`, by the fraction `share`.
pub fn blend(below: Colour, above: Colour, share: f64) -> Colour {
    let share = share.clamp(0.0, 1.0);
    let between = |below: f64, above: f64| below + (above - below) * share;
    [
        between(below[0], above[0]),
        between(below[1], above[1]),
        between(below[2], above[2]),
    ]
}

/// Perceived brightness of a colour (ITU-R BT.601).
pub fn brightness(colour: Colour) -> f64 {
    0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
}
