//! What a step mixes: in which proportion each image of its batch is blended with the previous one, or which region it takes from it.
//!
//! Functions of (seed, epoch, step). Batches are shuffled in each epoch, so the previous image is as good a partner as a random one, and
//! never the image itself (torchvision's `MixUp` and `CutMix` roll the batch in the same way). The arithmetic is in
//! `train/input/mixing.rs`.

use std::f64::consts::TAU;

use crate::domain::{
    random::{Draws, Stream},
    spec::Augment,
};

/// How the images of one batch are mixed with their partners.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    /// Weight of the image itself and of its label, from 0 to 1; the rest is the partner's.
    pub own: f64,
    /// The region taken from the partner; none where whole images are blended.
    pub region: Option<Region>,
}

/// A rectangle of an image, in pixels; it may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    pub left: u32,
    pub top: u32,
    pub width: u32,
    pub height: u32,
}

/// The mixes of a job.
#[derive(Clone, Copy, Debug)]
pub struct Mixes {
    seed: u64,
    mixup: f64,
    cutmix: f64,
}

impl Mixes {
    pub fn new(augment: &Augment, seed: u64) -> Self {
        Self {
            seed,
            mixup: augment.mixup,
            cutmix: augment.cutmix,
        }
    }

    /// What a step mixes, if anything; `side` is that of its square images.
    pub fn at(&self, epoch: u32, step: usize, side: u32) -> Option<Mix> {
        let mut draws = Draws::at(self.seed, Stream::Mix, u64::from(epoch), step as u64);
        let first_half = draws.unit() < 0.5;
        match (self.mixup > 0.0, self.cutmix > 0.0) {
            (false, false) => None,
            (true, false) => Some(self.blend(&mut draws)),
            (false, true) => Some(self.paste(side, &mut draws)),
            (true, true) if first_half => Some(self.blend(&mut draws)),
            (true, true) => Some(self.paste(side, &mut draws)),
        }
    }

    /// Zhang et al. 2018.
    fn blend(&self, draws: &mut Draws) -> Mix {
        Mix {
            own: beta(self.mixup, draws),
            region: None,
        }
    }

    /// Yun et al. 2019: a rectangle of the drawn area around a uniformly drawn centre, clipped to the image.
    fn paste(&self, side: u32, draws: &mut Draws) -> Mix {
        let half = (0.5 * (1.0 - beta(self.cutmix, draws)).sqrt() * f64::from(side)) as i64;
        let mut range = || {
            let middle = draws.below(side as usize) as i64;
            let inside = |at: i64| at.clamp(0, i64::from(side)) as u32;
            (inside(middle - half), inside(middle + half))
        };
        let ((left, right), (top, bottom)) = (range(), range());
        let region = Region {
            left,
            top,
            width: right - left,
            height: bottom - top,
        };
        let area = f64::from(region.width) * f64::from(region.height);
        Mix {
            own: 1.0 - area / (f64::from(side) * f64::from(side)),
            region: Some(region),
        }
    }
}

/// From Beta(α, α), as a ratio of two gamma variates; computed from their logarithms, because for small α the variates themselves
/// underflow.
fn beta(alpha: f64, draws: &mut Draws) -> f64 {
    let (one, other) = (ln_gamma_draw(alpha, draws), ln_gamma_draw(alpha, draws));
    1.0 / (1.0 + (other - one).exp())
}

/// Logarithm of a draw from Gamma(α, 1): Marsaglia and Tsang 2000, "A simple method for generating gamma variables", for α + 1, reduced to
/// α as described in its last remark.
fn ln_gamma_draw(alpha: f64, draws: &mut Draws) -> f64 {
    let d = alpha + 1.0 - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    let larger = loop {
        let x = normal(draws);
        let v = (1.0 + c * x).powi(3);
        let u = 1.0 - draws.unit();
        if v > 0.0 && u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            break (d * v).ln();
        }
    };
    larger + (1.0 - draws.unit()).ln() / alpha
}

/// From the standard normal distribution (Box and Muller 1958).
fn normal(draws: &mut Draws) -> f64 {
    let radius = (-2.0 * (1.0 - draws.unit()).ln()).sqrt();
    radius * (TAU * draws.unit()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixes(mixup: f64, cutmix: f64) -> Mixes {
        let augment = Augment {
            mixup,
            cutmix,
            ..Augment::default()
        };
        Mixes::new(&augment, 3)
    }

    #[test]
    fn a_mix_depends_on_seed_epoch_and_step_alone() {
        let mixes = mixes(0.2, 1.0);
        assert_eq!(mixes.at(2, 5, 224), mixes.at(2, 5, 224));
        assert_ne!(mixes.at(2, 5, 224), mixes.at(3, 5, 224));
        assert_ne!(mixes.at(2, 5, 224), mixes.at(2, 6, 224));
        let blended = (0..1000).filter(|step| mixes.at(1, *step, 224).unwrap().region.is_none());
        assert!((440..560).contains(&blended.count()));
        assert_eq!(super::Mixes::new(&Augment::default(), 3).at(1, 0, 224), None);
    }

    #[test]
    fn shares_have_the_moments_of_the_beta_distribution() {
        for alpha in [0.01, 0.2, 1.0, 4.0] {
            let shares: Vec<f64> = (0..20_000)
                .map(|step| mixes(alpha, 0.0).at(1, step, 224).unwrap().own)
                .collect();
            let mean = shares.iter().sum::<f64>() / 20_000.0;
            let variance = shares.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / 20_000.0;
            let expected = 1.0 / (4.0 * (2.0 * alpha + 1.0));
            assert!((mean - 0.5).abs() < 0.015, "{alpha}: {mean}");
            assert!(
                (variance - expected).abs() < 0.01,
                "{alpha}: {variance} is not {expected}"
            );
        }
    }

    #[test]
    fn a_pasted_region_lies_within_the_image_and_its_area_is_its_share() {
        for step in 0..1000 {
            let mix = mixes(0.0, 1.0).at(1, step, 32).unwrap();
            let region = mix.region.unwrap();
            assert!(region.left + region.width <= 32 && region.top + region.height <= 32);
            let share = f64::from(region.width * region.height) / 1024.0;
            assert!((1.0 - share - mix.own).abs() < 1e-12);
        }
    }
}
