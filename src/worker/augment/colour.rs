//! Brightness, contrast, saturation and hue, as in Pillow's `ImageEnhance` and torchvision's `adjust_hue`.
//!
//! All but hue share one formula: extrapolation from, or interpolation towards, a degenerate image (black, uniform grey, greyscale).

use super::tone;
use super::tone::blend;
use crate::{domain::random::Draws, worker::pixels::Image};

/// torchvision's `ColorJitter` with one strength for three of its settings: each factor from 1 ± `strength`, the hue shifted by up to ±
/// `hue` of the circle, in random order.
pub fn jitter(image: &mut Image, strength: f64, hue: f64, draws: &mut Draws) {
    let mut order = [0, 1, 2, 3];
    draws.shuffle(&mut order);
    let mut factor = || draws.between((1.0 - strength).max(0.0), 1.0 + strength);
    let factors = [factor(), factor(), factor()];
    let turn = draws.between(-hue, hue);
    for change in order {
        match change {
            3 if hue > 0.0 => adjust_hue(image, turn),
            0 if strength > 0.0 => adjust_brightness(image, factors[0]),
            1 if strength > 0.0 => adjust_contrast(image, factors[1]),
            2 if strength > 0.0 => adjust_saturation(image, factors[2]),
            _ => {}
        }
    }
}

/// torchvision's `RandomGrayscale`.
pub fn lose(image: &mut Image, probability: f64, draws: &mut Draws) {
    if draws.unit() < probability {
        adjust_saturation(image, 0.0);
    }
}

/// 0 makes it black, 1 leaves it unchanged.
pub fn adjust_brightness(image: &mut Image, factor: f64) {
    tone::map(image, |value| blend(0, value, factor as f32));
}

/// 0 makes it uniform grey, 1 leaves it unchanged.
pub fn adjust_contrast(image: &mut Image, factor: f64) {
    let (pixels, _) = image.rgb.as_chunks::<3>();
    let sum: u64 = pixels.iter().map(|pixel| u64::from(luma(*pixel))).sum();
    let mean = (sum as f64 / pixels.len().max(1) as f64 + 0.5) as u8;
    tone::map(image, |value| blend(mean, value, factor as f32));
}

/// 0 makes it greyscale, 1 leaves it unchanged (Pillow's `Color`).
pub fn adjust_saturation(image: &mut Image, factor: f64) {
    let factor = factor as f32;
    for pixel in image.rgb.as_chunks_mut::<3>().0 {
        let grey = luma(*pixel);
        *pixel = pixel.map(|value| blend(grey, value, factor));
    }
}

/// Shifts the hue by this fraction of the colour circle; saturation and value (HSV) are unchanged.
pub fn adjust_hue(image: &mut Image, turn: f64) {
    // In sixths of the circle, from 0 on.
    let turn = (turn.rem_euclid(1.0) * 6.0) as f32;
    for pixel in image.rgb.as_chunks_mut::<3>().0 {
        *pixel = turned(*pixel, turn);
    }
}

/// Pillow's `convert("L")`: ITU-R 601-2 with 16-bit weights.
fn luma([red, green, blue]: [u8; 3]) -> u8 {
    let sum = u32::from(red) * 19595 + u32::from(green) * 38470 + u32::from(blue) * 7471;
    ((sum + 0x8000) >> 16) as u8
}

fn turned([red, green, blue]: [u8; 3], turn: f32) -> [u8; 3] {
    let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
    if most == least {
        return [red, green, blue];
    }
    let range = f32::from(most - least);
    let apart = |a: u8, b: u8| (f32::from(a) - f32::from(b)) / range;
    // Smith 1978: sixths of the circle, red at 0, green at 2, blue at 4.
    let sixth = if red == most {
        apart(green, blue)
    } else if green == most {
        2.0 + apart(blue, red)
    } else {
        4.0 + apart(red, green)
    };
    // From -1 up to 11; `rem_euclid` and `round` would be function calls for every pixel.
    let sixth = sixth + turn;
    let sixth = if sixth < 0.0 {
        sixth + 6.0
    } else if sixth >= 6.0 {
        sixth - 6.0
    } else {
        sixth
    };
    let sector = sixth as u8;
    let along = sixth - f32::from(sector);
    let part = |share: f32| (f32::from(least) + range * share + 0.5) as u8;
    let (rising, falling) = (part(along), part(1.0 - along));
    match sector {
        0 | 6 => [most, rising, least],
        1 => [falling, most, least],
        2 => [least, most, rising],
        3 => [least, falling, most],
        4 => [rising, least, most],
        _ => [most, least, falling],
    }
}
