//! Rotary position embeddings in two dimensions, as in DINOv3 (Siméoni et al. 2025; `RotaryEmbeddingDinoV3` of timm).

use std::f64::consts::TAU;

use tch::{Kind, Tensor};

use crate::domain::architecture::layer::Rotary;

/// The angles `[tokens, size]` by which the features of a head are turned: those of a patch first by its row, then by its column, and the
/// same again in the second half; 0 for the tokens before.
pub fn angles(rotary: &Rotary, tokens: i64, size: i64) -> Tensor {
    let (prefix, size) = (rotary.prefix as usize, size as usize);
    // Images are squares.
    let side = (tokens as usize - prefix).isqrt();
    let frequencies = frequencies(rotary, size);
    let place = |index: usize| 2.0 * (index as f64 + 0.5) / side as f64 - 1.0;
    let mut angles = vec![0.0f32; prefix * size];
    for row in 0..side {
        for column in 0..side {
            for _half in 0..2 {
                for place in [place(row), place(column)] {
                    angles.extend(frequencies.iter().map(|frequency| (place * frequency) as f32));
                }
            }
        }
    }
    Tensor::from_slice(&angles).view([tokens, size as i64])
}

/// Radians per unit of place, for each of a quarter of the features.
pub fn frequencies(rotary: &Rotary, size: usize) -> Vec<f64> {
    let count = size / 4;
    let period = |index: usize| rotary.base.powf(index as f64 / count as f64);
    (0..count).map(|index| TAU / period(index)).collect()
}

/// Each feature of the first half with its partner in the second half, turned by a right angle.
pub fn turned(vectors: &Tensor) -> Tensor {
    let half = vectors.size().last().copied().unwrap_or(0) / 2;
    let (first, second) = (vectors.narrow(-1, 0, half), vectors.narrow(-1, half, half));
    Tensor::cat(&[second.neg(), first], -1)
}

/// What [`turned`] does, as a matrix `[size, size]` that vectors are multiplied by from the left.
pub fn turning(size: i64) -> Tensor {
    let identity = Tensor::eye(size, (Kind::Float, tch::Device::Cpu));
    turned(&identity)
}
