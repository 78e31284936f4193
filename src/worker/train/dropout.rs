//! Features left out at random while training (Srivastava et al. 2014), the same ones whenever the same step is taken.

use tch::{Kind, Tensor};

use crate::domain::random::{Draws, Stream};

/// Which features a step does without: a function of seed, step and picture.
pub struct Dropout {
    share: f64,
    seed: u64,
}

impl Dropout {
    /// Leaves out this share of the features, 0 up to, not including, 1.
    pub fn new(share: f64, seed: u64) -> Self {
        Self { share, seed }
    }

    /// Features `[N, features]` of the step's pictures `first_row..`, some of them 0 and the others made larger, so that their expected
    /// value stays (as torch.nn.Dropout).
    pub fn apply(&self, features: &Tensor, step: u64, first_row: usize) -> Tensor {
        if self.share == 0.0 {
            return features.shallow_clone();
        }
        let (rows, columns) = (features.size()[0], features.size()[1]);
        let mask = self.mask(step, first_row, rows as usize, columns as usize);
        let mask = Tensor::from_slice(&mask).view([rows, columns]);
        features * mask.to_device(features.device()).to_kind(Kind::Float)
    }

    fn mask(&self, step: u64, first_row: usize, rows: usize, columns: usize) -> Vec<f32> {
        let kept = (1.0 / (1.0 - self.share)) as f32;
        let mut mask = Vec::with_capacity(rows * columns);
        for row in first_row..first_row + rows {
            let mut draws = Draws::at(self.seed, Stream::Dropout, step, row as u64);
            let factor = |_| if draws.unit() < self.share { 0.0 } else { kept };
            mask.extend((0..columns).map(factor));
        }
        mask
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn the_share_is_left_out_and_the_rest_makes_up_for_it() {
        let features = Tensor::ones([40, 500], (Kind::Float, Device::Cpu));
        let dropout = Dropout::new(0.25, 7);
        let dropped = dropout.apply(&features, 3, 0);
        let zeros = dropped
            .eq(0.0)
            .to_kind(Kind::Float)
            .mean(Kind::Float)
            .double_value(&[]);
        assert!((zeros - 0.25).abs() < 0.02, "{zeros}");
        assert!((dropped.max().double_value(&[]) - 1.0 / 0.75).abs() < 1e-6);
        assert!(Dropout::new(0.0, 7).apply(&features, 3, 0).equal(&features));
    }

    #[test]
    fn a_mask_belongs_to_a_step_and_a_picture_however_a_batch_is_cut() {
        let features = Tensor::ones([6, 64], (Kind::Float, Device::Cpu));
        let dropout = Dropout::new(0.5, 7);
        let whole = dropout.apply(&features, 3, 0);
        let halves =
            [0, 4].map(|row| dropout.apply(&features.narrow(0, row, 6 - row.max(2)), 3, row as usize));
        assert!(Tensor::cat(&[&halves[0], &halves[1]], 0).equal(&whole));
        assert!(!dropout.apply(&features, 4, 0).equal(&whole));
        assert!(!Dropout::new(0.5, 8).apply(&features, 3, 0).equal(&whole));
    }
}
