//! How long a network takes for one image.

use std::time::Instant;

use tch::{Kind, Tensor};

use crate::worker::nets::folded::Folded;

/// Predictions that are timed, after some that are not.
const TIMED: usize = 15;
const WARM: usize = 3;

/// Median time of a prediction for one image of this side, in milliseconds.
pub fn of_one_image(network: &Folded, side: u32) -> f64 {
    let side = i64::from(side);
    let network = network.packed_for(1, side);
    let image = Tensor::zeros([1, 3, side, side], (Kind::Float, network.device()));
    let mut times: Vec<f64> = (0..WARM + TIMED)
        .map(|_| {
            let began = Instant::now();
            // Read back, so that a device has finished.
            let _ = network.logits(&image).sum(Kind::Float).double_value(&[]);
            began.elapsed().as_secs_f64() * 1000.0
        })
        .skip(WARM)
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
