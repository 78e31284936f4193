//! Two models on the same images: whether one is more often right than the other.

/// Images by which of two models are right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pairs {
    pub both: u64,
    pub only_first: u64,
    pub only_second: u64,
    pub neither: u64,
}

impl Pairs {
    pub fn count(&mut self, first: bool, second: bool) {
        match (first, second) {
            (true, true) => self.both += 1,
            (true, false) => self.only_first += 1,
            (false, true) => self.only_second += 1,
            (false, false) => self.neither += 1,
        }
    }

    pub fn images(&self) -> u64 {
        self.both + self.only_first + self.only_second + self.neither
    }

    /// By how much the second model's accuracy is higher, -1 to 1; NaN without images.
    pub fn difference(&self) -> f64 {
        (self.only_second as f64 - self.only_first as f64) / self.images() as f64
    }

    /// The interval of the difference at 95 % confidence (Bonett and Price 2012, "Adjusted Wald Confidence Interval for a Difference of
    /// Binomial Proportions Based on Paired Data"), -1 to 1.
    pub fn difference_interval(&self) -> [f64; 2] {
        /// Two-sided, of the standard normal distribution.
        const Z: f64 = 1.959_963_984_540_054;
        let images = self.images() as f64 + 2.0;
        let first = (self.only_first as f64 + 1.0) / images;
        let second = (self.only_second as f64 + 1.0) / images;
        let difference = second - first;
        let half = Z * ((first + second - difference * difference) / images).sqrt();
        [(difference - half).max(-1.0), (difference + half).min(1.0)]
    }

    /// The probability of images on which one alone is right being shared out at least so unevenly if both models were equally good:
    /// McNemar's test, exact (McNemar 1947; the binomial test of the discordant pairs).
    pub fn exact_mcnemar(&self) -> f64 {
        let fewer = self.only_first.min(self.only_second);
        let discordant = self.only_first + self.only_second;
        if 2 * fewer >= discordant {
            return 1.0;
        }
        // The largest term as a logarithm, since powers of a half of many images are too small to be numbers; each smaller one is a share of
        // the one before.
        let chosen = (1..=fewer).map(|k| ((discordant - fewer + k) as f64 / k as f64).ln());
        let largest = chosen.sum::<f64>() - discordant as f64 * std::f64::consts::LN_2;
        let (mut sum, mut term) = (1.0, 1.0);
        for k in (1..=fewer).rev() {
            term *= k as f64 / (discordant - k + 1) as f64;
            sum += term;
        }
        (2.0 * largest.exp() * sum).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(only_first: u64, only_second: u64) -> Pairs {
        Pairs {
            both: 80,
            only_first,
            only_second,
            neither: 3,
        }
    }

    /// SciPy 1.15.3, `scipy.stats.binomtest(first, first + second).pvalue`.
    #[test]
    fn the_test_is_scipys() {
        for (first, second, expected) in [
            (0, 0, 1.0),
            (5, 5, 1.0),
            (5, 6, 1.0),
            (1, 9, 0.021_484_375),
            (9, 1, 0.021_484_375),
            (0, 6, 0.031_25),
            (12, 25, 0.047_031_027),
        ] {
            let found = pairs(first, second).exact_mcnemar();
            assert!((found - expected).abs() < 1e-6, "{first} {second}: {found}");
        }
        // Two to the power of -3000 is no number.
        let many = pairs(1450, 1550).exact_mcnemar();
        assert!((0.06..0.08).contains(&many), "{many}");
    }

    #[test]
    fn the_interval_is_that_of_the_paper() {
        let pairs = pairs(4, 13);
        assert_eq!(pairs.images(), 100);
        assert!((pairs.difference() - 0.09).abs() < 1e-12);
        // (14 - 5) / 102, and 1.959964 · √((19 / 102 - (9 / 102)²) / 102)
        let half = 1.959_963_984_540_054 * ((19.0f64 / 102.0 - (9.0f64 / 102.0).powi(2)) / 102.0).sqrt();
        let [low, high] = pairs.difference_interval();
        assert!((low - (9.0 / 102.0 - half)).abs() < 1e-12 && (high - (9.0 / 102.0 + half)).abs() < 1e-12);
        assert_eq!(
            Pairs::default().difference_interval()[0],
            -Pairs::default().difference_interval()[1]
        );
    }

    #[test]
    fn images_are_counted_by_who_is_right() {
        let mut pairs = Pairs::default();
        for (first, second) in [
            (true, true),
            (true, false),
            (false, true),
            (false, true),
            (false, false),
        ] {
            pairs.count(first, second);
        }
        let expected = Pairs {
            both: 1,
            only_first: 1,
            only_second: 2,
            neither: 1,
        };
        assert_eq!(pairs, expected);
    }
}
