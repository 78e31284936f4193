//! Point operations by lookup table, and sharpness: the other colour operations of RandAugment, as in Pillow's `ImageOps` and
//! `ImageEnhance.Sharpness`.

use crate::worker::pixels::Image;

/// A new value for each value of a channel.
type Table = [u8; 256];

/// Applies the same function to every value of every channel.
pub fn map(image: &mut Image, change: impl Fn(u8) -> u8) {
    let table = table(change);
    for value in &mut image.rgb {
        *value = table[usize::from(*value)];
    }
}

/// Keeps the upper `bits` of each value.
pub fn posterize(image: &mut Image, bits: u32) {
    let mask = !(0xff_u32 >> bits) as u8;
    map(image, |value| value & mask);
}

/// Inverts values that are not below `threshold`.
pub fn solarize(image: &mut Image, threshold: f64) {
    map(image, |value| {
        if f64::from(value) < threshold {
            value
        } else {
            255 - value
        }
    });
}

/// Stretches each channel to the whole range.
pub fn autocontrast(image: &mut Image) {
    by_channel(image, |counts| {
        let used = |value: &usize| counts[*value] > 0;
        let (darkest, brightest) = ((0..256).find(used)?, (0..256).rfind(used)?);
        if darkest == brightest {
            return None;
        }
        let scale = 255.0 / (brightest - darkest) as f64;
        let offset = -(darkest as f64) * scale;
        Some(table(|value| (f64::from(value) * scale + offset) as u8))
    });
}

/// Equalises each channel's histogram.
pub fn equalize(image: &mut Image) {
    by_channel(image, |counts| {
        let brightest = (0..256).rfind(|value| counts[*value] > 0)?;
        let all: u32 = counts.iter().sum();
        let step = (all - counts[brightest]) / 255;
        if step == 0 {
            return None;
        }
        let mut below = step / 2;
        let mut spread = [0; 256];
        for (value, count) in spread.iter_mut().zip(counts) {
            *value = (below / step).min(255) as u8;
            below += count;
        }
        Some(spread)
    });
}

/// 0 smooths it, 1 leaves it unchanged, more sharpens. The outermost pixels are unchanged.
pub fn adjust_sharpness(image: &mut Image, factor: f64) {
    let (width, height) = (image.width as usize, image.height as usize);
    if width < 3 || height < 3 {
        return;
    }
    let old = image.rgb.clone();
    let stride = width * 3;
    for row in 1..height - 1 {
        for at in row * stride + 3..(row + 1) * stride - 3 {
            let three = |at: usize| u32::from(old[at - 3]) + u32::from(old[at]) + u32::from(old[at + 3]);
            let centre = u32::from(old[at]);
            let sum = three(at - stride) + three(at) + three(at + stride) + 4 * centre;
            let smooth = ((2 * sum + 13) / 26) as u8;
            image.rgb[at] = blend(smooth, old[at], factor as f32);
        }
    }
}

fn table(change: impl Fn(u8) -> u8) -> Table {
    std::array::from_fn(|value| change(value as u8))
}

/// Changes each channel by a table computed from its histogram; without a table it is unchanged.
fn by_channel(image: &mut Image, table: impl Fn(&[u32; 256]) -> Option<Table>) {
    let mut counts = [[0_u32; 256]; 3];
    for pixel in image.rgb.as_chunks::<3>().0 {
        for (channel, value) in pixel.iter().enumerate() {
            counts[channel][usize::from(*value)] += 1;
        }
    }
    let tables = counts.map(|counts| table(&counts));
    for pixel in image.rgb.as_chunks_mut::<3>().0 {
        for (value, table) in pixel.iter_mut().zip(&tables) {
            if let Some(table) = table {
                *value = table[usize::from(*value)];
            }
        }
    }
}

/// Pillow's `Image.blend`, which rounds down.
pub fn blend(dull: u8, value: u8, factor: f32) -> u8 {
    let (dull, value) = (f32::from(dull), f32::from(value));
    (dull + factor * (value - dull)) as u8
}
