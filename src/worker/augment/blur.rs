//! Blur, as torchvision's `GaussianBlur` on floats: the image is mirrored at its borders, without repeating the outermost pixels.

use crate::{domain::random::Draws, worker::pixels::Image};

/// Range of the standard deviation, in pixels (Chen et al. 2020, appendix A).
const DEVIATION: [f64; 2] = [0.1, 2.0];
/// Farther pixels weigh too little to matter.
const REACH_IN_DEVIATIONS: f64 = 3.0;

/// Blurs the image with this probability, by a standard deviation that is drawn.
pub fn sometimes(image: &mut Image, probability: f64, draws: &mut Draws) {
    let (chance, deviation) = (draws.unit(), draws.between(DEVIATION[0], DEVIATION[1]));
    if chance < probability {
        blur(image, deviation);
    }
}

/// `deviation`, in pixels, is above 0.
pub fn blur(image: &mut Image, deviation: f64) {
    let (width, height) = (image.width as usize, image.height as usize);
    let kernel = kernel(deviation, width.min(height));
    let values: Vec<f32> = image.rgb.iter().map(|value| f32::from(*value)).collect();
    let rows = along(&values, [height, width, 3], &kernel);
    let both = along(&rows, [1, height, width * 3], &kernel);
    for (value, blurred) in image.rgb.iter_mut().zip(both) {
        *value = (blurred + 0.5) as u8;
    }
}

/// The weights of the places from the middle outwards; they and their mirror image sum to 1. No longer than can be mirrored once in `side`
/// places.
fn kernel(deviation: f64, side: usize) -> Vec<f32> {
    let reach = ((REACH_IN_DEVIATIONS * deviation).ceil() as usize).min(side.saturating_sub(1));
    let weights: Vec<f64> = (0..=reach)
        .map(|place| (-0.5 * (place as f64 / deviation).powi(2)).exp())
        .collect();
    let sum = 2.0 * weights.iter().sum::<f64>() - weights[0];
    weights.into_iter().map(|weight| (weight / sum) as f32).collect()
}

/// Sums along the middle one of three axes.
fn along(values: &[f32], [outer, length, inner]: [usize; 3], kernel: &[f32]) -> Vec<f32> {
    let mut sums = vec![0.0; values.len()];
    for block in 0..outer {
        let start = block * length * inner;
        for place in 0..length {
            let to = start + place * inner;
            let (sum, of) = (&mut sums[to..to + inner], |place: usize| {
                let from = start + place * inner;
                &values[from..from + inner]
            });
            for (distance, weight) in kernel.iter().enumerate() {
                let [before, after] = mirrored(place, distance, length);
                let places: &[usize] = if distance == 0 { &[place] } else { &[before, after] };
                for from in places {
                    sum.iter_mut()
                        .zip(of(*from))
                        .for_each(|(sum, value)| *sum += weight * value);
                }
            }
        }
    }
    sums
}

/// The places at this distance on both sides; those beyond the ends are mirrored.
fn mirrored(place: usize, distance: usize, length: usize) -> [usize; 2] {
    let before = place.abs_diff(distance);
    let after = place + distance;
    [
        before,
        if after < length {
            after
        } else {
            2 * (length - 1) - after
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(width: u32, height: u32, rgb: Vec<u8>) -> Image {
        Image { width, height, rgb }
    }

    #[test]
    fn a_point_becomes_a_bell_and_a_plain_image_stays() {
        let mut point = image(9, 9, vec![0; 243]);
        let at = |x: usize, y: usize| 3 * (9 * y + x);
        point.rgb[at(4, 4)..at(4, 4) + 3].copy_from_slice(&[255; 3]);
        blur(&mut point, 1.0);
        // torchvision.transforms.functional.gaussian_blur(image, 7, 1.0), on floats: 255 · 0.15924 in the middle.
        let row: Vec<u8> = (0..9).map(|x| point.rgb[at(x, 4)]).collect();
        assert_eq!(row, [0, 0, 5, 25, 41, 25, 5, 0, 0]);
        let column: Vec<u8> = (0..9).map(|y| point.rgb[at(4, y) + 2]).collect();
        assert_eq!(column, row);
        let mut plain = image(5, 3, vec![77; 45]);
        blur(&mut plain, 2.0);
        assert_eq!(plain.rgb, vec![77; 45]);
    }

    #[test]
    fn borders_are_mirrored() {
        let mut wide = image(
            8,
            8,
            (0..64)
                .flat_map(|place| [if place % 8 == 0 { 200 } else { 0 }; 3])
                .collect(),
        );
        blur(&mut wide, 1.0);
        let [first, second] = [wide.rgb[0], wide.rgb[3]];
        // 200 · w0 at the border: its mirror image begins one pixel further; 200 · w1 beside it.
        assert_eq!([first, second], [80, 48]);
    }
}
