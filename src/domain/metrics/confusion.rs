//! The confusion matrix, and the scores of each class that follow from it.

use super::Verdict;

/// Counts of images by true and predicted class.
#[derive(Clone, Debug, PartialEq)]
pub struct Confusion {
    /// `counts[truth][predicted]`
    pub counts: Vec<Vec<u64>>,
}

/// Scores of one class; 0 where the denominator is 0 (scikit-learn's `zero_division=0`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassScores {
    /// The fraction of the images predicted as this class that belong to it.
    pub precision: f64,
    /// The fraction of the images of this class that were predicted as it.
    pub recall: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
    /// Images of this class.
    pub support: u64,
}

impl Confusion {
    pub fn of(labels: &[u32], verdicts: &[Verdict], classes: usize) -> Self {
        let mut counts = vec![vec![0; classes]; classes];
        for (label, verdict) in labels.iter().zip(verdicts) {
            counts[*label as usize][verdict.predicted] += 1;
        }
        Self { counts }
    }

    /// Fraction of images classified correctly; NaN without images.
    pub fn accuracy(&self) -> f64 {
        let right: u64 = self
            .counts
            .iter()
            .enumerate()
            .map(|(class, row)| row[class])
            .sum();
        let images: u64 = self.counts.iter().flatten().sum();
        right as f64 / images as f64
    }

    /// By class.
    pub fn scores(&self) -> Vec<ClassScores> {
        let predicted = self.predicted();
        let scores = self.counts.iter().enumerate().map(|(class, row)| {
            let (right, support) = (row[class], row.iter().sum::<u64>());
            ClassScores {
                precision: share(right, predicted[class]),
                recall: share(right, support),
                f1: share(2 * right, predicted[class] + support),
                support,
            }
        });
        scores.collect()
    }

    /// Mean F1 over the classes that occur, as truth or as prediction, which is what scikit-learn averages over by default; NaN
    /// where none does.
    pub fn macro_f1(&self) -> f64 {
        let predicted = self.predicted();
        let occurring = self.scores().into_iter().zip(predicted);
        let occurring = occurring.filter(|(scores, predicted)| scores.support + predicted > 0);
        let f1: Vec<f64> = occurring.map(|(scores, _)| scores.f1).collect();
        f1.iter().sum::<f64>() / f1.len() as f64
    }

    /// Number of images predicted as each class.
    fn predicted(&self) -> Vec<u64> {
        let mut sums = vec![0; self.counts.len()];
        for row in &self.counts {
            for (sum, count) in sums.iter_mut().zip(row) {
                *sum += count;
            }
        }
        sums
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 / whole as f64
}
