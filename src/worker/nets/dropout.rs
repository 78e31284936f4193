//! Dropout (Srivastava et al. 2014), with the same mask whenever the same step is taken.

use tch::Tensor;

use crate::domain::random::{Draws, Stream};

/// Identifies a forward pass among all of a run: its mask is a function of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropoutKey {
    /// The run's.
    pub seed: u64,
    /// Steps before this one.
    pub step: u64,
    /// Index of the pass's first image in the step.
    pub first_row: usize,
}

impl DropoutKey {
    /// Of the pass of other images in the same step: its masks are others.
    pub fn of_others(self) -> Self {
        Self {
            seed: !self.seed,
            ..self
        }
    }
}

/// Dropout whose mask is a function of seed, layer, step and image.
pub struct Dropout {
    probability: f64,
    salt: u64,
}

impl Dropout {
    /// Before the head. Drops each value with this probability, 0 up to, but not including, 1.
    pub fn new(probability: f64) -> Self {
        Self::salted(probability, 0)
    }

    /// In the layer with this [`salt`].
    pub fn salted(probability: f64, salt: u64) -> Self {
        Self { probability, salt }
    }

    /// The pass's images `[N, …]`, with some of their values set to 0 and the others scaled up to preserve their expected value (as
    /// torch.nn.Dropout).
    pub fn apply(&self, input: &Tensor, key: DropoutKey) -> Tensor {
        let columns: i64 = input.size()[1..].iter().product();
        self.masked(input, key, columns, &input.size())
    }

    /// The same for all values of an image together (Huang et al. 2016, "Deep Networks with Stochastic Depth").
    pub fn apply_to_rows(&self, input: &Tensor, key: DropoutKey) -> Tensor {
        let mut size = vec![1; input.dim()];
        size[0] = input.size()[0];
        self.masked(input, key, 1, &size)
    }

    fn masked(&self, input: &Tensor, key: DropoutKey, columns: i64, size: &[i64]) -> Tensor {
        if self.probability == 0.0 {
            return input.shallow_clone();
        }
        let mask = self.mask(key, input.size()[0] as usize, columns as usize);
        let mask = Tensor::from_slice(&mask).view(size);
        input * mask.to_device(input.device()).to_kind(input.kind())
    }

    fn mask(&self, key: DropoutKey, rows: usize, columns: usize) -> Vec<f32> {
        let kept = (1.0 / (1.0 - self.probability)) as f32;
        let mut mask = Vec::with_capacity(rows * columns);
        for row in key.first_row..key.first_row + rows {
            let seed = key.seed ^ self.salt;
            let mut draws = Draws::at(seed, Stream::Dropout, key.step, row as u64);
            let factor = |_| {
                if draws.unit() < self.probability {
                    0.0
                } else {
                    kept
                }
            };
            mask.extend((0..columns).map(factor));
        }
        mask
    }
}

/// For a layer, from its name: FNV-1a, 64 bits, the same on every machine and for ever, which `std::hash` does not guarantee.
pub fn salt(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn key(seed: u64, step: u64, first_row: usize) -> DropoutKey {
        DropoutKey {
            seed,
            step,
            first_row,
        }
    }

    #[test]
    fn the_share_is_left_out_and_the_rest_makes_up_for_it() {
        let features = Tensor::ones([40, 500], (Kind::Float, Device::Cpu));
        let dropped = Dropout::new(0.25).apply(&features, key(7, 3, 0));
        let zeros = dropped
            .eq(0.0)
            .to_kind(Kind::Float)
            .mean(Kind::Float)
            .double_value(&[]);
        assert!((zeros - 0.25).abs() < 0.02, "{zeros}");
        assert!((dropped.max().double_value(&[]) - 1.0 / 0.75).abs() < 1e-6);
        assert!(Dropout::new(0.0).apply(&features, key(7, 3, 0)).equal(&features));
    }

    #[test]
    fn a_mask_belongs_to_a_step_a_layer_and_an_image_however_a_batch_is_cut() {
        let features = Tensor::ones([6, 8, 2, 4], (Kind::Float, Device::Cpu));
        let dropout = Dropout::new(0.5);
        let whole = dropout.apply(&features, key(7, 3, 0));
        let parts = [(0, 4), (4, 2)]
            .map(|(row, count)| dropout.apply(&features.narrow(0, row, count), key(7, 3, row as usize)));
        assert!(Tensor::cat(&parts, 0).equal(&whole));
        assert!(!dropout.apply(&features, key(7, 4, 0)).equal(&whole));
        assert!(!dropout.apply(&features, key(8, 3, 0)).equal(&whole));
        let other = Dropout::salted(0.5, salt("layer1.0.drop"));
        assert!(!other.apply(&features, key(7, 3, 0)).equal(&whole));
    }

    #[test]
    fn stochastic_depth_leaves_out_whole_images() {
        let features = Tensor::ones([400, 3, 2, 2], (Kind::Float, Device::Cpu));
        let dropped = Dropout::salted(0.2, salt("blocks.3.drop_path")).apply_to_rows(&features, key(7, 3, 0));
        let means = dropped
            .flatten(1, -1)
            .mean_dim([1i64].as_slice(), false, Kind::Float);
        let means = Vec::<f32>::try_from(means).unwrap();
        let left_out = means.iter().filter(|mean| **mean == 0.0).count();
        assert!((60..100).contains(&left_out), "{left_out} of 400");
        assert!(
            means
                .iter()
                .all(|mean| *mean == 0.0 || (mean - 1.25).abs() < 1e-6)
        );
    }
}
