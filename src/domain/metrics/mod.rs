//! Metrics of a network's outputs: losses, hits, confusion, calibration, as plain 64-bit arithmetic over logits and labels.
//!
//! The worker fills [`Logits`]; nothing here knows tensors or images. Compared with scikit-learn's numbers in `tests.rs`.

mod calibration;
mod confusion;
mod interval;
pub mod label_check;
pub mod multi_label;
pub mod multi_task;
mod paired;
mod student;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::{
    calibration::{BINS, expected_calibration_error, fit_temperature},
    confusion::{ClassScores, Confusion},
    interval::wilson_interval,
    paired::Pairs,
    student::cross_validated_interval,
};

/// The different sets of labels that images have, each ascending. An image with several labels has the index of its set.
pub type LabelSets = Arc<Vec<Vec<u32>>>;

/// Outputs of a network for labelled images, a row each.
#[derive(Clone, Debug, PartialEq)]
pub struct Logits {
    classes: usize,
    values: Vec<f32>,
    /// The class of each image, or with `label_sets` the index of its set.
    labels: Vec<u32>,
    /// Where images have several labels: [`multi_label`] or [`multi_task`] has the metrics then.
    label_sets: Option<LabelSets>,
}

/// The prediction for one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// The likeliest class; the first of equal ones.
    pub predicted: usize,
    /// Its probability at the given temperature.
    pub confidence: f64,
    /// Cross entropy at that temperature: the negative logarithm of the true class's probability.
    pub loss: f64,
}

impl Logits {
    /// For `classes` classes, from 1.
    pub fn new(classes: usize) -> Self {
        Self {
            classes,
            values: Vec::new(),
            labels: Vec::new(),
            label_sets: None,
        }
    }

    /// The same for images with several labels.
    pub fn of_sets(classes: usize, sets: LabelSets) -> Self {
        Self {
            label_sets: Some(sets),
            ..Self::new(classes)
        }
    }

    /// Appends rows, one per label.
    ///
    /// # Errors
    /// The sizes do not match, a label is not a class, or an output is not finite: such rows are not evaluated.
    pub fn extend(&mut self, rows: &[f32], labels: &[u32]) -> Result<(), &'static str> {
        if rows.len() != labels.len() * self.classes {
            return Err("the network does not output one number for each class");
        }
        let known = self.label_sets.as_ref().map_or(self.classes, |sets| sets.len());
        if labels.iter().any(|label| *label as usize >= known) {
            return Err("an image has a class that the network does not have");
        }
        if rows.iter().any(|value| !value.is_finite()) {
            return Err("the network outputs a number that is not finite");
        }
        self.values.extend_from_slice(rows);
        self.labels.extend_from_slice(labels);
        Ok(())
    }

    pub fn images(&self) -> usize {
        self.labels.len()
    }

    pub fn has_several_labels(&self) -> bool {
        self.label_sets.is_some()
    }

    /// Each image's row and its labels.
    pub fn label_rows(&self) -> impl Iterator<Item = (&[f32], &[u32])> {
        let rows = self.values.chunks_exact(self.classes.max(1));
        rows.zip(&self.labels).map(|(row, label)| {
            let labels = match &self.label_sets {
                Some(sets) => sets[*label as usize].as_slice(),
                None => std::slice::from_ref(label),
            };
            (row, labels)
        })
    }

    pub fn classes(&self) -> usize {
        self.classes
    }

    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Each image's row and its class.
    pub fn rows(&self) -> impl Iterator<Item = (&[f32], usize)> {
        let rows = self.values.chunks_exact(self.classes.max(1));
        rows.zip(self.labels.iter().map(|label| *label as usize))
    }

    /// The prediction for each image, with its logits divided by `temperature`.
    pub fn verdicts(&self, temperature: f64) -> Vec<Verdict> {
        self.rows()
            .map(|(row, label)| verdict(row, label, temperature))
            .collect()
    }

    /// Fraction of images whose class is among the `k` likeliest, the first of equal ones; NaN without images.
    pub fn top_k_accuracy(&self, k: usize) -> f64 {
        let hits = self.rows().filter(|(row, label)| rank(row, *label) < k).count();
        hits as f64 / self.images() as f64
    }
}

/// Mean loss; NaN without images.
pub fn mean_loss(verdicts: &[Verdict]) -> f64 {
    verdicts.iter().map(|verdict| verdict.loss).sum::<f64>() / verdicts.len() as f64
}

fn verdict(row: &[f32], label: usize, temperature: f64) -> Verdict {
    let (predicted, largest) = likeliest(row);
    // The maximum is subtracted first, so that no exponential overflows; the result is the same.
    let scaled = |value: f32| (f64::from(value) - largest) / temperature;
    let sum: f64 = row.iter().map(|value| scaled(*value).exp()).sum();
    Verdict {
        predicted,
        confidence: 1.0 / sum,
        loss: sum.ln() - scaled(row[label]),
    }
}

fn likeliest(row: &[f32]) -> (usize, f64) {
    let mut best = 0;
    for (class, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = class;
        }
    }
    (best, f64::from(row[best]))
}

/// How many classes rank before this one.
fn rank(row: &[f32], class: usize) -> usize {
    let before =
        |(other, value): (usize, &f32)| *value > row[class] || (*value == row[class] && other < class);
    row.iter().enumerate().filter(|each| before(*each)).count()
}
