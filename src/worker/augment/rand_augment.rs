//! RandAugment: a few operations from a list, all with the same magnitude (Cubuk et al. 2020), with torchvision's list and ranges.

use super::{affine, colour, tone};
use crate::{
    domain::{random::Draws, spec::RandAugment},
    worker::pixels::Image,
};

/// Magnitudes range from 0 to this.
const MAX_MAGNITUDE: f64 = 30.0;

/// One operation and its strength.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Operation {
    Identity,
    /// Pixels per row or column.
    ShearX(f64),
    ShearY(f64),
    /// Whole pixels.
    TranslateX(i32),
    TranslateY(i32),
    /// Degrees, counter-clockwise.
    Rotate(f64),
    /// Factors; 1 changes nothing.
    Brightness(f64),
    Color(f64),
    Contrast(f64),
    Sharpness(f64),
    /// Bits that are kept.
    Posterize(u32),
    /// Values from this one on are inverted.
    Solarize(f64),
    AutoContrast,
    Equalize,
}

/// How many there are.
const OPERATIONS: usize = 14;

/// Draws the operations and applies them one after another. Areas from outside are filled with `fill`.
pub fn apply(mut image: Image, list: &RandAugment, fill: [u8; 3], draws: &mut Draws) -> Image {
    for _ in 0..list.num_ops {
        let operation = draw(list.magnitude, image.width, image.height, draws);
        image = operation.apply(image, fill);
    }
    image
}

/// torchvision's `RandAugment._augmentation_space` with its 31 steps; operations with two directions are reversed half of the time.
fn draw(magnitude: u32, width: u32, height: u32, draws: &mut Draws) -> Operation {
    use Operation::*;
    let (which, backwards) = (draws.below(OPERATIONS), draws.unit() < 0.5);
    let strength = f64::from(magnitude) / MAX_MAGNITUDE;
    let signed = |most: f64| {
        if backwards {
            -most * strength
        } else {
            most * strength
        }
    };
    // For images of 331 pixels, 150.
    let shift = |length: u32| signed(f64::from(length) * 150.0 / 331.0) as i32;
    match which {
        0 => Identity,
        1 => ShearX(signed(0.3)),
        2 => ShearY(signed(0.3)),
        3 => TranslateX(shift(width)),
        4 => TranslateY(shift(height)),
        5 => Rotate(signed(30.0)),
        6 => Brightness(1.0 + signed(0.9)),
        7 => Color(1.0 + signed(0.9)),
        8 => Contrast(1.0 + signed(0.9)),
        9 => Sharpness(1.0 + signed(0.9)),
        10 => Posterize(8 - (4.0 * strength).round_ties_even() as u32),
        11 => Solarize(255.0 * (1.0 - strength)),
        12 => AutoContrast,
        _ => Equalize,
    }
}

impl Operation {
    pub fn apply(self, mut image: Image, fill: [u8; 3]) -> Image {
        use Operation::*;
        match self {
            Identity => {}
            ShearX(amount) => return affine::shear_x(&image, amount, fill),
            ShearY(amount) => return affine::shear_y(&image, amount, fill),
            TranslateX(right) => return affine::translate(&image, right, 0, fill),
            TranslateY(down) => return affine::translate(&image, 0, down, fill),
            Rotate(degrees) => return affine::rotate(&image, degrees, fill),
            Brightness(factor) => colour::adjust_brightness(&mut image, factor),
            Color(factor) => colour::adjust_saturation(&mut image, factor),
            Contrast(factor) => colour::adjust_contrast(&mut image, factor),
            Sharpness(factor) => tone::adjust_sharpness(&mut image, factor),
            Posterize(bits) => tone::posterize(&mut image, bits),
            Solarize(threshold) => tone::solarize(&mut image, threshold),
            AutoContrast => tone::autocontrast(&mut image),
            Equalize => tone::equalize(&mut image),
        }
        image
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::domain::random::Stream;

    /// Two thousand drawn operations.
    pub fn operations(magnitude: u32) -> Vec<Operation> {
        let draw_at = |id| draw(magnitude, 331, 331, &mut Draws::at(1, Stream::Augment, 0, id));
        (0..2000).map(draw_at).collect()
    }

    #[test]
    fn strengths_are_those_of_torchvision_s_table() {
        let strongest = operations(30);
        for expected in [
            Operation::ShearX(-0.3),
            Operation::TranslateY(150),
            Operation::TranslateX(-150),
            Operation::Rotate(30.0),
            Operation::Sharpness(1.9),
            Operation::Posterize(4),
            Operation::Solarize(0.0),
            Operation::Identity,
        ] {
            assert!(strongest.contains(&expected), "{expected:?}");
        }
        let usual = operations(9);
        assert!(usual.contains(&Operation::Posterize(7)) && usual.contains(&Operation::Solarize(178.5)));
        assert!(usual.contains(&Operation::TranslateX(45)) && usual.contains(&Operation::Rotate(-9.0)));
        let weakest = operations(0);
        assert!(weakest.contains(&Operation::Posterize(8)) && weakest.contains(&Operation::Solarize(255.0)));
    }

    #[test]
    fn every_operation_is_drawn_about_as_often() {
        let mut counts = [0; OPERATIONS];
        for id in 0..14_000 {
            counts[Draws::at(3, Stream::Augment, 0, id).below(OPERATIONS)] += 1;
        }
        assert!(
            counts.iter().all(|count| (880..1120).contains(count)),
            "{counts:?}"
        );
        let kinds: std::collections::HashSet<_> = operations(9).iter().map(std::mem::discriminant).collect();
        assert_eq!(kinds.len(), OPERATIONS);
    }
}
