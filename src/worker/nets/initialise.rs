//! Random initial weights as torchvision draws them, but from our own [`Draws`]: what a tensor gets depends on the seed and its name,
//! not on what was drawn before it, on the number of threads, or on libtorch's generator.

use std::f64::consts::TAU;

use rayon::prelude::*;
use tch::Tensor;

use crate::domain::random::{Draws, Stream};

/// How a tensor starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    Zeros,
    Ones,
    /// Normal with this standard deviation.
    Normal(f64),
    /// Uniform in ± this bound.
    Uniform(f64),
}

impl Init {
    /// He et al. 2015, "Delving Deep into Rectifiers": keeps the variance of gradients through a convolution and its ReLU (`fan_out`).
    pub fn kaiming_fan_out(out_channels: i64, kernel: i64) -> Self {
        Init::Normal((2.0 / (out_channels * kernel * kernel) as f64).sqrt())
    }

    /// What `torch.nn.Linear` starts from, weights and bias alike.
    pub fn linear(in_features: i64) -> Self {
        Init::Uniform((1.0 / in_features as f64).sqrt())
    }

    /// Draws a tensor of 32-bit floats on the CPU.
    pub fn draw(self, seed: u64, name: &str, shape: &[i64]) -> Tensor {
        let count: i64 = shape.iter().product();
        let fill = match self {
            Init::Zeros => vec![0.0; count as usize],
            Init::Ones => vec![1.0; count as usize],
            Init::Normal(_) | Init::Uniform(_) => self.drawn(seed, name, count as usize),
        };
        Tensor::from_slice(&fill).view(shape)
    }

    fn drawn(self, seed: u64, name: &str, count: usize) -> Vec<f32> {
        const BLOCK: usize = 1 << 14;
        let stream = name_hash(name);
        let mut values = vec![0.0; count];
        let blocks = values.par_chunks_mut(BLOCK).enumerate();
        blocks.for_each(|(index, block)| {
            let mut draws = Draws::at(seed, Stream::Initialise, stream, index as u64);
            match self {
                Init::Normal(deviation) => fill_normal(block, &mut draws, deviation),
                Init::Uniform(bound) => block
                    .iter_mut()
                    .for_each(|value| *value = draws.between(-bound, bound) as f32),
                Init::Zeros | Init::Ones => {}
            }
        });
        values
    }
}

/// Box and Muller 1958: two uniform numbers make two normal ones.
fn fill_normal(values: &mut [f32], draws: &mut Draws, deviation: f64) {
    for pair in values.chunks_mut(2) {
        let radius = deviation * (-2.0 * (1.0 - draws.unit()).ln()).sqrt();
        let (sine, cosine) = (TAU * draws.unit()).sin_cos();
        for (value, part) in pair.iter_mut().zip([cosine, sine]) {
            *value = (radius * part) as f32;
        }
    }
}

/// FNV-1a, 64 bits: the same on every machine and for ever, which `std::hash` does not promise.
fn name_hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(tensor: &Tensor) -> (f64, f64) {
        (
            tensor.mean(tch::Kind::Double).double_value(&[]),
            tensor.std(false).double_value(&[]),
        )
    }

    #[test]
    fn draws_have_the_moments_that_they_should() {
        let (mean, deviation) = moments(&Init::kaiming_fan_out(64, 3).draw(1, "a", &[64, 64, 3, 3]));
        assert!(mean.abs() < 1e-3, "{mean}");
        assert!((deviation - (2.0 / 576.0f64).sqrt()).abs() < 1e-3, "{deviation}");
        let uniform = Init::linear(400).draw(1, "b", &[50, 400]);
        let (mean, deviation) = moments(&uniform);
        assert!(mean.abs() < 1e-3, "{mean}");
        assert!(
            (deviation - 0.05 / 3f64.sqrt()).abs() < 1e-3,
            "a uniform in ±0.05: {deviation}"
        );
        assert!(uniform.abs().max().double_value(&[]) <= 0.05);
    }

    #[test]
    fn a_tensor_depends_on_seed_and_name_and_on_nothing_else() {
        let draw = |seed, name| Init::Normal(1.0).draw(seed, name, &[3, 20_001]);
        assert!(draw(1, "a").equal(&draw(1, "a")));
        assert!(!draw(1, "a").equal(&draw(2, "a")));
        assert!(!draw(1, "a").equal(&draw(1, "b")));
        let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert!(one_thread.install(|| draw(1, "a")).equal(&draw(1, "a")));
    }
}
