//! A random part of the image, resized to the network's square input.

use crate::{
    domain::{models::preprocessing::Interpolation, random::Draws},
    worker::pixels::{self, Image, ImageView},
};

/// Smallest and largest aspect ratio (width : height) of a crop.
const RATIO: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];
/// How many shapes are tried before the centre is used.
const MAX_ATTEMPTS: usize = 10;

/// A rectangle of an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rectangle {
    pub left: u32,
    pub top: u32,
    pub width: u32,
    pub height: u32,
}

/// Crops and resizes to `side × side`, antialiased (torchvision `RandomResizedCrop`; Szegedy et al. 2015).
/// `scale`: smallest and largest fraction of the area. The packed image is cropped, so small crops have the resolution of the pack.
pub fn random_resized_crop(
    packed: ImageView<'_>,
    scale: [f64; 2],
    side: u32,
    interpolation: Interpolation,
    draws: &mut Draws,
) -> Image {
    let place = draw(packed.width, packed.height, scale, draws);
    resized_crop(packed, place, side, interpolation)
}

/// torchvision's `resized_crop`: only the cropped part takes part in the interpolation.
pub fn resized_crop(
    image: ImageView<'_>,
    place: Rectangle,
    side: u32,
    interpolation: Interpolation,
) -> Image {
    let (left, top) = (i64::from(place.left), i64::from(place.top));
    let cut = pixels::cut(image, left, top, place.width, place.height);
    pixels::resize(&cut, side, side, interpolation)
}

/// torchvision's `RandomResizedCrop.get_params`.
fn draw(width: u32, height: u32, [least, most]: [f64; 2], draws: &mut Draws) -> Rectangle {
    let area = f64::from(width) * f64::from(height);
    for _ in 0..MAX_ATTEMPTS {
        let target = area * draws.between(least, most);
        let ratio = draws.between(RATIO[0].ln(), RATIO[1].ln()).exp();
        let wide = (target * ratio).sqrt().round() as u32;
        let high = (target / ratio).sqrt().round() as u32;
        if (1..=width).contains(&wide) && (1..=height).contains(&high) {
            return Rectangle {
                top: draws.below((height - high + 1) as usize) as u32,
                left: draws.below((width - wide + 1) as usize) as u32,
                width: wide,
                height: high,
            };
        }
    }
    middle(width, height)
}

/// The largest centre crop with an allowed shape.
fn middle(width: u32, height: u32) -> Rectangle {
    let ratio = f64::from(width) / f64::from(height);
    let (wide, high) = if ratio < RATIO[0] {
        (width, (f64::from(width) / RATIO[0]).round() as u32)
    } else if ratio > RATIO[1] {
        ((f64::from(height) * RATIO[1]).round() as u32, height)
    } else {
        (width, height)
    };
    let (wide, high) = (wide.clamp(1, width), high.clamp(1, height));
    Rectangle {
        left: (width - wide) / 2,
        top: (height - high) / 2,
        width: wide,
        height: high,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::random::Stream;

    #[test]
    fn what_is_cut_out_has_the_share_and_the_shape_that_are_asked_for() {
        let mut areas = Vec::new();
        for id in 0..2000 {
            let mut draws = Draws::at(1, Stream::Augment, 0, id);
            let place = draw(341, 256, [0.08, 1.0], &mut draws);
            assert!(place.left + place.width <= 341 && place.top + place.height <= 256);
            let share = f64::from(place.width * place.height) / (341.0 * 256.0);
            let ratio = f64::from(place.width) / f64::from(place.height);
            assert!((0.075..=1.0).contains(&share), "{share}");
            assert!((0.73..1.37).contains(&ratio), "{ratio}");
            areas.push(share);
        }
        // Below the middle of the range: large fractions often have a shape that does not fit, and then another one is drawn.
        let mean = areas.iter().sum::<f64>() / 2000.0;
        assert!((0.38..0.48).contains(&mean), "{mean}");
    }

    #[test]
    fn strips_give_their_middle() {
        let mut draws = Draws::at(1, Stream::Augment, 0, 0);
        let place = draw(600, 30, [0.9, 1.0], &mut draws);
        assert_eq!(
            (place.left, place.top, place.width, place.height),
            (280, 0, 40, 30)
        );
    }

    #[test]
    fn the_whole_of_a_square_is_the_image_resized() {
        let image = Image {
            width: 4,
            height: 4,
            rgb: (0..48).collect(),
        };
        let mut draws = Draws::at(1, Stream::Augment, 0, 0);
        // With the whole area only the square shape fits.
        let crop = random_resized_crop(image.view(), [1.0, 1.0], 4, Interpolation::Bilinear, &mut draws);
        assert_eq!(crop, image);
    }
}
