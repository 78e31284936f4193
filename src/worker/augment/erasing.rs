//! Erases a rectangle of the image, so that no single part of it suffices to recognise the class.

use crate::{domain::random::Draws, worker::pixels::Image};

/// Smallest and largest fraction of the area.
const SCALE: [f64; 2] = [0.02, 0.33];
/// Smallest and largest aspect ratio (height : width).
const RATIO: [f64; 2] = [0.3, 3.3];
/// How many shapes are tried before giving up.
const MAX_ATTEMPTS: usize = 10;

/// With this probability fills a rectangle with `fill` (Zhong et al. 2017; torchvision's `RandomErasing` with its default ranges).
/// torchvision fills with 0 after normalisation, which is the mean colour.
pub fn erase(image: &mut Image, probability: f64, fill: [u8; 3], draws: &mut Draws) {
    if draws.unit() >= probability {
        return;
    }
    let (width, height) = (image.width, image.height);
    let area = f64::from(width) * f64::from(height);
    for _ in 0..MAX_ATTEMPTS {
        let target = area * draws.between(SCALE[0], SCALE[1]);
        let ratio = draws.between(RATIO[0].ln(), RATIO[1].ln()).exp();
        let high = (target * ratio).sqrt().round() as u32;
        let wide = (target / ratio).sqrt().round() as u32;
        if high < height && wide < width {
            let top = draws.below((height - high + 1) as usize);
            let left = draws.below((width - wide + 1) as usize);
            let rows = image.rgb.chunks_exact_mut(width as usize * 3);
            for row in rows.skip(top).take(high as usize) {
                let pixels = row.as_chunks_mut::<3>().0;
                pixels[left..left + wide as usize].fill(fill);
            }
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::random::Stream;

    #[test]
    fn as_many_are_erased_as_asked_for_and_each_loses_one_rectangle() {
        let mut erased = 0;
        for id in 0..1000 {
            let mut image = Image {
                width: 40,
                height: 30,
                rgb: vec![0; 3600],
            };
            erase(
                &mut image,
                0.25,
                [7, 8, 9],
                &mut Draws::at(1, Stream::Augment, 0, id),
            );
            let wiped: Vec<bool> = image
                .rgb
                .chunks_exact(3)
                .map(|pixel| pixel == [7, 8, 9])
                .collect();
            let count = wiped.iter().filter(|wiped| **wiped).count();
            if count == 0 {
                continue;
            }
            erased += 1;
            let (first, last) = (
                wiped.iter().position(|w| *w).unwrap(),
                wiped.iter().rposition(|w| *w).unwrap(),
            );
            let (wide, high) = (last % 40 - first % 40 + 1, last / 40 - first / 40 + 1);
            assert_eq!(count, wide * high, "not one rectangle");
            assert!((18..430).contains(&count), "{count}");
        }
        assert!((200..300).contains(&erased), "{erased}");
    }
}
