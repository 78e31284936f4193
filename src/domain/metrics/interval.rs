//! How sure a share of images is.

/// The interval of a share at 95 % confidence for `hits` of `images`, 0 to 1 (Wilson 1927, "Probable Inference, the Law of Succession, and
/// Statistical Inference"). Without images it is everything.
pub fn wilson_interval(hits: u64, images: u64) -> [f64; 2] {
    /// Two-sided, of the standard normal distribution.
    const Z: f64 = 1.959_963_984_540_054;
    if images == 0 {
        return [0.0, 1.0];
    }
    let (hits, images) = (hits as f64, images as f64);
    let share = hits / images;
    let square = Z * Z / images;
    let centre = (share + square / 2.0) / (1.0 + square);
    let half = Z / (1.0 + square) * (share * (1.0 - share) / images + square / (4.0 * images)).sqrt();
    [(centre - half).max(0.0), (centre + half).min(1.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SciPy 1.15.3, `scipy.stats.binomtest(hits, images).proportion_ci(method="wilson")`.
    #[test]
    fn intervals_are_those_of_scipy() {
        for (hits, images, low, high) in [
            (144, 153, 0.891_994_432_9, 0.968_747_369_8),
            (0, 10, 0.0, 0.277_532_799_9),
            (10, 10, 0.722_467_200_1, 1.0),
            (1, 2, 0.094_531_205_7, 0.905_468_794_3),
        ] {
            let [a, b] = wilson_interval(hits, images);
            assert!(
                (a - low).abs() < 1e-9 && (b - high).abs() < 1e-9,
                "{hits} of {images}: {a} {b}"
            );
        }
        assert_eq!(wilson_interval(0, 0), [0.0, 1.0]);
    }
}
