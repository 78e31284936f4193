//! Distances between the features of two domains, as differentiable scalars. Each takes features `[N, d]` and `[M, d]`, with at least two
//! rows each.

use tch::{Kind, Tensor};

/// Widths of the kernels of [`mmd`], relative to the mean squared distance of the features.
const WIDTHS: [f64; 5] = [0.25, 0.5, 1.0, 2.0, 4.0];

/// CORAL: the squared Frobenius norm of the difference of the covariances over 4 d² (Sun and Saenko 2016, equation 1).
pub fn coral(source: &Tensor, target: &Tensor) -> Tensor {
    let features = source.size()[1] as f64;
    let difference = covariance(source) - covariance(target);
    difference.square().sum(difference.kind()) / (4.0 * features * features)
}

/// The unbiased covariance `[d, d]` of rows `[N, d]`.
fn covariance(rows: &Tensor) -> Tensor {
    let mean = rows.mean_dim([0i64].as_slice(), true, rows.kind());
    let centred = rows - mean;
    centred.tr().matmul(&centred) / (rows.size()[0] - 1) as f64
}

/// The squared maximum mean discrepancy, biased estimate, with the sum of five Gaussian kernels exp(-|x - y|² / (2 s²)) (Gretton et al.
/// 2012, "A Kernel Two-Sample Test", equation 5; Long et al. 2015 for several kernels in deep networks). Twice the square of each width is a
/// multiple of the mean squared distance between any two different images of the batch, through which no gradient flows.
pub fn mmd(source: &Tensor, target: &Tensor) -> Tensor {
    let rows = Tensor::cat(&[source, target], 0);
    let (count, of_source) = (rows.size()[0], source.size()[0]);
    let distances = squared_distances(&rows);
    let pairs = (count * (count - 1)) as f64;
    // Where all features are equal, any width gives 0.
    let mean = (distances.detach().sum(Kind::Double) / pairs).clamp_min(1e-12);
    let kernel = |width: &f64| (&distances / (&mean * *width)).neg().exp();
    let kernels = WIDTHS.iter().map(kernel).reduce(|sum, next| sum + next);
    let kernels = kernels.unwrap_or_else(|| distances.zeros_like());
    let (of_source, of_target) = ((0, of_source), (of_source, count - of_source));
    let mean_between = |rows: (i64, i64), columns: (i64, i64)| {
        let part = kernels.narrow(0, rows.0, rows.1).narrow(1, columns.0, columns.1);
        part.mean(Kind::Double)
    };
    let within = mean_between(of_source, of_source) + mean_between(of_target, of_target);
    (within - mean_between(of_source, of_target) * 2.0).to_kind(source.kind())
}

/// Between all rows of `[N, d]`: `[N, N]`, in 64-bit floats, because products lose what is small.
fn squared_distances(rows: &Tensor) -> Tensor {
    let rows = rows.to_kind(Kind::Double);
    let squares = rows
        .square()
        .sum_dim_intlist([1i64].as_slice(), true, Kind::Double);
    (&squares + squares.tr() - rows.matmul(&rows.tr()) * 2.0).clamp_min(0.0)
}

/// The mean binary cross entropy of a classifier of the domain, whose logits are `[N, 1]` for source images and `[M, 1]` for target images:
/// both domains count the same.
pub fn domain_cross_entropy(source: &Tensor, target: &Tensor) -> Tensor {
    let mean = |losses: Tensor| losses.mean(Kind::Float);
    // -log of the probability of the right answer.
    (mean(source.neg().softplus()) + mean(target.softplus())) / 2.0
}

/// The same values, whose gradient is multiplied by `-strength` on the way back (Ganin et al. 2016, section 4.2: the gradient reversal
/// layer).
pub fn reversed(features: &Tensor, strength: f64) -> Tensor {
    features * -strength + features.detach() * (1.0 + strength)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// Made by `scripts/metrics`.
    const GOLDEN: &str = include_str!("../../../../../tests/golden/adaptation.json");

    #[derive(Deserialize)]
    struct Case {
        source: Vec<Vec<f64>>,
        target: Vec<Vec<f64>>,
        coral: f64,
        mmd: f64,
        domain_cross_entropy: f64,
        coral_gradient: Vec<f64>,
        mmd_gradient: Vec<f64>,
    }

    fn rows(values: &[Vec<f64>]) -> Tensor {
        let flat: Vec<f64> = values.iter().flatten().copied().collect();
        Tensor::from_slice(&flat).view([values.len() as i64, values[0].len() as i64])
    }

    fn near(found: f64, expected: f64, tolerance: f64, what: &str) {
        let off = (found - expected).abs();
        assert!(
            off <= tolerance * expected.abs().max(1.0),
            "{what}: {found} {expected}"
        );
    }

    #[test]
    fn they_are_those_of_the_reference_with_their_gradients() {
        let cases: Vec<Case> = serde_json::from_str(GOLDEN).unwrap();
        assert!(cases.len() >= 3);
        for case in &cases {
            let (source, target) = (rows(&case.source), rows(&case.target));
            for (name, loss, expected, gradient) in [
                (
                    "coral",
                    coral as fn(&Tensor, &Tensor) -> Tensor,
                    case.coral,
                    &case.coral_gradient,
                ),
                ("mmd", mmd, case.mmd, &case.mmd_gradient),
            ] {
                for (kind, tolerance) in [(Kind::Double, 1e-9), (Kind::Float, 1e-5)] {
                    let of = |rows: &Tensor| rows.to_kind(kind);
                    near(
                        loss(&of(&source), &of(&target)).double_value(&[]),
                        expected,
                        tolerance,
                        name,
                    );
                }
                let source = source.copy().set_requires_grad(true);
                let value = loss(&source, &target);
                let found = Tensor::run_backward(&[value], &[&source], false, false);
                let found = Vec::<f64>::try_from(found[0].view(-1)).unwrap();
                for (found, expected) in found.into_iter().zip(gradient) {
                    near(found, *expected, 1e-7, name);
                }
            }
            let column = |rows: &Tensor| rows.narrow(1, 0, 1).to_kind(Kind::Float);
            let found = domain_cross_entropy(&column(&source), &column(&target)).double_value(&[]);
            near(found, case.domain_cross_entropy, 1e-6, "domain cross entropy");
        }
    }

    #[test]
    fn equal_features_have_no_distance_and_far_ones_a_large_one() {
        let rows = Tensor::arange(12, (Kind::Float, tch::Device::Cpu)).view([4, 3]);
        for loss in [coral, mmd] {
            assert!(loss(&rows, &rows).double_value(&[]).abs() < 1e-6);
            assert!(loss(&rows, &(&rows * 9.0)).double_value(&[]) > 0.1);
        }
        let same = Tensor::zeros([4, 3], (Kind::Float, tch::Device::Cpu));
        assert_eq!(mmd(&same, &same).double_value(&[]), 0.0);
    }

    #[test]
    fn a_reversed_gradient_has_the_other_sign_and_the_value_stays() {
        let features = Tensor::from_slice(&[1.0f32, -2.0]).set_requires_grad(true);
        let reversed = reversed(&features, 0.5);
        assert_eq!(Vec::<f32>::try_from(reversed.detach()).unwrap(), [1.0, -2.0]);
        let sum = (reversed * 3.0).sum(Kind::Float);
        let gradient = Tensor::run_backward(&[sum], &[&features], false, false);
        assert_eq!(Vec::<f32>::try_from(&gradient[0]).unwrap(), [-1.5, -1.5]);
    }
}
