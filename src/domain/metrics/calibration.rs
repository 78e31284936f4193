//! Whether a network's confidence matches its accuracy, and the one number that corrects most of the difference (Guo et al. 2017, "On
//! Calibration of Modern Neural Networks").

use super::{Logits, Verdict};

/// Bins of equal width over the confidence.
pub const BINS: usize = 15;
/// Temperatures outside this range mean that the images do not determine one.
const LOWEST: f64 = 0.01;
const HIGHEST: f64 = 100.0;
/// Newton's method needs about ten iterations, bisection forty.
const MOST_ROUNDS: usize = 200;

/// Mean distance between confidence and accuracy in each of [`BINS`] bins, weighted by the number of images in the bin: 0 to 1; 0 without
/// images. Bin `m` of `M` holds the confidences in `((m - 1) / M, m / M]`.
pub fn expected_calibration_error(labels: &[u32], verdicts: &[Verdict]) -> f64 {
    let mut bins = [(0.0, 0.0); BINS];
    for (label, verdict) in labels.iter().zip(verdicts) {
        let bin = (verdict.confidence * BINS as f64).ceil() as usize;
        let (confidence, right) = &mut bins[bin.clamp(1, BINS) - 1];
        *confidence += verdict.confidence;
        *right += f64::from(u8::from(verdict.predicted == *label as usize));
    }
    let off: f64 = bins
        .iter()
        .map(|(confidence, right)| (confidence - right).abs())
        .sum();
    off / verdicts.len().max(1) as f64
}

/// The temperature at which the mean loss over these images is lowest. The loss is convex in `1 / temperature`, so there is at most one;
/// none where the loss keeps falling towards certainty, as it does when every image is classified correctly, or towards a uniform
/// distribution.
pub fn fit_temperature(logits: &Logits) -> Option<f64> {
    lowest(logits.images(), |inverse| slope(logits, inverse))
}

/// The temperature at which a loss is lowest that is convex in `1 / temperature`, given its first and second derivative there.
pub(super) fn lowest(images: usize, slope: impl Fn(f64) -> (f64, f64)) -> Option<f64> {
    let (mut low, mut high) = (1.0 / HIGHEST, 1.0 / LOWEST);
    if images == 0 || slope(low).0 >= 0.0 || slope(high).0 <= 0.0 {
        return None;
    }
    let mut inverse = 1.0;
    for _ in 0..MOST_ROUNDS {
        let (slope, curvature) = slope(inverse);
        if slope > 0.0 {
            high = inverse;
        } else {
            low = inverse;
        }
        let newton = inverse - slope / curvature;
        // Far from the minimum a Newton step may leave the bracketing interval.
        let next = if newton > low && newton < high {
            newton
        } else {
            (low + high) / 2.0
        };
        let moved = (next - inverse).abs();
        inverse = next;
        if moved <= 1e-13 * inverse {
            break;
        }
    }
    Some(1.0 / inverse)
}

/// First and second derivative of the mean loss with respect to `1 / temperature`: the mean difference between the expected logit under the
/// softmax and the true class's logit, and the mean variance of the logits under it.
fn slope(logits: &Logits, inverse: f64) -> (f64, f64) {
    let (mut slope, mut curvature) = (0.0, 0.0);
    for (row, label) in logits.rows() {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let below = |value: f32| f64::from(value) - f64::from(largest);
        let (mut sum, mut first, mut second) = (0.0, 0.0, 0.0);
        for value in row {
            let below = below(*value);
            let weight = (below * inverse).exp();
            sum += weight;
            first += weight * below;
            second += weight * below * below;
        }
        let mean = first / sum;
        slope += mean - below(row[label]);
        curvature += second / sum - mean * mean;
    }
    let images = logits.images() as f64;
    (slope / images, curvature / images)
}
