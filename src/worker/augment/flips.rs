//! Horizontal and vertical flips.

use crate::{
    domain::{random::Draws, spec::Augment},
    worker::pixels::Image,
};

/// Which axes of an image are flipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flips {
    pub horizontal: bool,
    pub vertical: bool,
}

impl Flips {
    pub const NONE: Self = Self {
        horizontal: false,
        vertical: false,
    };

    /// Each flip that is enabled with probability ½. Always takes two draws.
    pub fn draw(augment: &Augment, draws: &mut Draws) -> Self {
        let (horizontal, vertical) = (draws.unit() < 0.5, draws.unit() < 0.5);
        Self {
            horizontal: augment.horizontal_flip && horizontal,
            vertical: augment.vertical_flip && vertical,
        }
    }

    /// All combinations that can be drawn, [`Flips::NONE`] first.
    pub fn all(augment: &Augment) -> Vec<Self> {
        let mut all = vec![Self::NONE];
        if augment.horizontal_flip {
            all.push(Self {
                horizontal: true,
                vertical: false,
            });
        }
        if augment.vertical_flip {
            let upside_down: Vec<_> = all
                .iter()
                .map(|flips| Self {
                    vertical: true,
                    ..*flips
                })
                .collect();
            all.extend(upside_down);
        }
        all
    }

    pub fn turn(self, image: &mut Image) {
        let row_bytes = image.width as usize * 3;
        if self.horizontal {
            for row in image.rgb.chunks_exact_mut(row_bytes) {
                row.as_chunks_mut::<3>().0.reverse();
            }
        }
        if self.vertical {
            let half = image.height as usize / 2;
            let (upper, rest) = image.rgb.split_at_mut(half * row_bytes);
            let lower = rest.chunks_exact_mut(row_bytes).rev();
            for (above, below) in upper.chunks_exact_mut(row_bytes).zip(lower) {
                above.swap_with_slice(below);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turned(horizontal: bool, vertical: bool) -> Vec<u8> {
        let mut image = Image {
            width: 2,
            height: 3,
            rgb: (1..=18).collect(),
        };
        let flips = Flips { horizontal, vertical };
        flips.turn(&mut image);
        image.rgb
    }

    #[test]
    fn flips_move_pixels_and_keep_their_colours() {
        assert_eq!(turned(true, false)[..9], [4, 5, 6, 1, 2, 3, 10, 11, 12]);
        assert_eq!(turned(false, true)[..9], [13, 14, 15, 16, 17, 18, 7, 8, 9]);
        assert_eq!(turned(true, true)[..6], [16, 17, 18, 13, 14, 15]);
        assert_eq!(turned(false, false), (1..=18).collect::<Vec<u8>>());
    }

    #[test]
    fn all_flips_are_told_once_and_none_first() {
        let both = Augment {
            horizontal_flip: true,
            vertical_flip: true,
            ..Augment::default()
        };
        let all = Flips::all(&both);
        assert_eq!((all.len(), all[0]), (4, Flips::NONE));
        assert_eq!(Flips::all(&Augment::default()), [Flips::NONE]);
    }
}
