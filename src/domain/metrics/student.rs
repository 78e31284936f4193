//! Student's t distribution, and the interval of a mean of scores by cross-validation.

use std::f64::consts::FRAC_2_PI;

/// The interval of the mean at 95 % confidence of scores from 0 to 1 by cross-validation with so many folds, at least 2, which may have been
/// repeated: the corrected resampled t-test (Nadeau and Bengio 2003, "Inference for the Generalization Error", equation 9, for repeated
/// cross-validation as in Bouckaert and Frank 2004). The scores' variance counts 1 / n, and the ratio of images judged to images learnt more,
/// because heads that have most of their images in common are not independent. Without at least two scores it is everything.
pub fn cross_validated_interval(scores: &[f64], folds: u32) -> [f64; 2] {
    let count = scores.len();
    if count < 2 || folds < 2 {
        return [0.0, 1.0];
    }
    let mean = scores.iter().sum::<f64>() / count as f64;
    let squares: f64 = scores.iter().map(|score| (score - mean).powi(2)).sum();
    let variance = squares / (count - 1) as f64;
    let judged_to_learnt = 1.0 / f64::from(folds - 1);
    let half =
        two_sided_quantile(0.95, count - 1) * ((1.0 / count as f64 + judged_to_learnt) * variance).sqrt();
    [(mean - half).max(0.0), (mean + half).min(1.0)]
}

/// The t above which, or below its negative, a value lies with the probability 1 - `confidence`, for so many degrees of freedom, at least 1.
fn two_sided_quantile(confidence: f64, freedom: usize) -> f64 {
    // By halving, which is as exact as the probability itself; it grows with t.
    let (mut low, mut high) = (0.0, 1.0);
    while probability_within(high, freedom) < confidence {
        (low, high) = (high, 2.0 * high);
    }
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        if probability_within(middle, freedom) < confidence {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low + high) / 2.0
}

/// The probability of a value from -t to t (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4).
fn probability_within(t: f64, freedom: usize) -> f64 {
    let angle = (t / (freedom as f64).sqrt()).atan();
    let (sine, cosine) = angle.sin_cos();
    let square = cosine * cosine;
    let odd = freedom % 2 == 1;
    // Terms of the sum: each is the one before times (k - 1) / k and the square of the cosine.
    let mut term = if odd { cosine } else { 1.0 };
    let mut sum = if freedom == 1 { 0.0 } else { term };
    let mut factor = if odd { 3 } else { 2 };
    while factor < freedom {
        term *= square * (factor - 1) as f64 / factor as f64;
        sum += term;
        factor += 2;
    }
    match odd {
        true => FRAC_2_PI * (angle + sine * sum),
        false => sine * sum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SciPy 1.15.3, `scipy.stats.t.ppf(0.975, freedom)`.
    #[test]
    fn quantiles_are_those_of_scipy() {
        for (freedom, expected) in [
            (1, 12.706_204_736_432_095),
            (2, 4.302_652_729_696_142),
            (3, 3.182_446_305_284_263),
            (4, 2.776_445_105_197_798_7),
            (9, 2.262_157_162_854_099_3),
            (14, 2.144_786_687_916_927_3),
            (99, 1.984_216_951_508_682_7),
            (1000, 1.962_339_080_826_407_4),
        ] {
            let found = two_sided_quantile(0.95, freedom);
            assert!((found / expected - 1.0).abs() < 1e-9, "{freedom}: {found}");
        }
    }

    #[test]
    fn an_interval_is_wider_than_that_of_independent_scores() {
        let scores = [0.9, 0.95, 0.85, 0.9, 0.9];
        // The mean is 0.9 and the variance 0.00125; 2.776445105198 · √((1/5 + 1/4) · 0.00125).
        let [low, high] = cross_validated_interval(&scores, 5);
        let half = 2.776_445_105_198_05 * (0.45f64 * 0.001_25).sqrt();
        assert!((low - (0.9 - half)).abs() < 1e-9 && (high - (0.9 + half)).abs() < 1e-9);
        let independent = 2.776_445_105_198_05 * (0.2f64 * 0.001_25).sqrt();
        assert!(high - low > 2.0 * independent);
        // Nothing is outside of what an accuracy can be.
        assert_eq!(cross_validated_interval(&[1.0, 0.98], 2)[1], 1.0);
        let [low, high] = cross_validated_interval(&[0.5, 0.5, 0.5], 3);
        assert_eq!((low, high), (0.5, 0.5), "all folds are alike");
        assert_eq!(cross_validated_interval(&[0.7], 5), [0.0, 1.0]);
    }
}
