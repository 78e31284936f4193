//! Random initialisation as in torchvision, but from our own [`Draws`]: a tensor's values depend on the seed and its name, not on what was
//! drawn before it, on the number of threads, or on libtorch's generator.

use std::f64::consts::TAU;

use rayon::prelude::*;
use tch::Tensor;

use super::dropout::salt;
use crate::domain::{
    architecture::init::Init,
    random::{Draws, Stream},
};

/// Draws a tensor of 32-bit floats on the CPU.
pub fn draw(init: Init, seed: u64, name: &str, shape: &[i64]) -> Tensor {
    let count: i64 = shape.iter().product();
    let count = count as usize;
    let fill = match init {
        Init::Zeros => vec![0.0; count],
        Init::Ones => vec![1.0; count],
        Init::Constant(value) => vec![value as f32; count],
        Init::Normal(_) | Init::Uniform(_) => drawn(init, seed, name, count),
    };
    Tensor::from_slice(&fill).view(shape)
}

fn drawn(init: Init, seed: u64, name: &str, count: usize) -> Vec<f32> {
    const BLOCK: usize = 1 << 14;
    let stream = salt(name);
    let mut values = vec![0.0; count];
    let blocks = values.par_chunks_mut(BLOCK).enumerate();
    blocks.for_each(|(index, block)| {
        let mut draws = Draws::at(seed, Stream::Initialise, stream, index as u64);
        match init {
            Init::Normal(deviation) => fill_normal(block, &mut draws, deviation),
            Init::Uniform(bound) => block
                .iter_mut()
                .for_each(|value| *value = draws.between(-bound, bound) as f32),
            Init::Zeros | Init::Ones | Init::Constant(_) => {}
        }
    });
    values
}

/// Box and Muller 1958: two uniform numbers give two normal ones.
fn fill_normal(values: &mut [f32], draws: &mut Draws, deviation: f64) {
    for pair in values.chunks_mut(2) {
        let radius = deviation * (-2.0 * (1.0 - draws.unit()).ln()).sqrt();
        let (sine, cosine) = (TAU * draws.unit()).sin_cos();
        for (value, part) in pair.iter_mut().zip([cosine, sine]) {
            *value = (radius * part) as f32;
        }
    }
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
        let (mean, deviation) = moments(&draw(Init::kaiming_fan_out(64, [3, 3]), 1, "a", &[64, 64, 3, 3]));
        assert!(mean.abs() < 1e-3, "{mean}");
        assert!((deviation - (2.0 / 576.0f64).sqrt()).abs() < 1e-3, "{deviation}");
        let uniform = draw(Init::linear(400), 1, "b", &[50, 400]);
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
        let draw = |seed, name| draw(Init::Normal(1.0), seed, name, &[3, 20_001]);
        assert!(draw(1, "a").equal(&draw(1, "a")));
        assert!(!draw(1, "a").equal(&draw(2, "a")));
        assert!(!draw(1, "a").equal(&draw(1, "b")));
        let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert!(one_thread.install(|| draw(1, "a")).equal(&draw(1, "a")));
    }
}
