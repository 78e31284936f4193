//! What a network's outputs are worth: losses, hits, confusion, calibration, as plain arithmetic in 64 bits over logits and labels.
//!
//! The worker fills [`Logits`]; nothing here knows tensors or pictures. Held to scikit-learn's numbers by `tests.rs`.

mod calibration;
mod confusion;
#[cfg(test)]
mod tests;

pub use self::{
    calibration::{BINS, expected_calibration_error, fit_temperature},
    confusion::{ClassScores, Confusion},
};

/// Outputs of a network for images whose class is known, a row each.
#[derive(Clone, Debug, PartialEq)]
pub struct Logits {
    classes: usize,
    values: Vec<f32>,
    labels: Vec<u32>,
}

/// What is asked of one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// The likeliest class; of equal ones the first.
    pub predicted: usize,
    /// Its probability at the temperature that was asked for.
    pub confidence: f64,
    /// Cross entropy at that temperature: the negative logarithm of the probability of the right class.
    pub loss: f64,
}

impl Logits {
    /// For `classes` classes, from 1.
    pub fn new(classes: usize) -> Self {
        Self {
            classes,
            values: Vec::new(),
            labels: Vec::new(),
        }
    }

    /// Adds rows, one for each label, one after another.
    ///
    /// # Errors
    /// The sizes do not fit, a label is no class, or an output is no finite number: such rows are not measured.
    pub fn extend(&mut self, rows: &[f32], labels: &[u32]) -> Result<(), &'static str> {
        if rows.len() != labels.len() * self.classes {
            return Err("the network's output is not one number for each class");
        }
        if labels.iter().any(|label| *label as usize >= self.classes) {
            return Err("an image is of a class that the network does not have");
        }
        if rows.iter().any(|value| !value.is_finite()) {
            return Err("the network's output is not a finite number");
        }
        self.values.extend_from_slice(rows);
        self.labels.extend_from_slice(labels);
        Ok(())
    }

    pub fn images(&self) -> usize {
        self.labels.len()
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

    /// Each image judged with its logits divided by `temperature`.
    pub fn verdicts(&self, temperature: f64) -> Vec<Verdict> {
        self.rows()
            .map(|(row, label)| verdict(row, label, temperature))
            .collect()
    }

    /// Share of images whose class is among the `k` likeliest, of equal ones the first; NaN without images.
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
    // The largest is taken off first, so that no exponential overflows; it changes nothing in the result.
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

/// How many classes come before this one.
fn rank(row: &[f32], class: usize) -> usize {
    let before =
        |(other, value): (usize, &f32)| *value > row[class] || (*value == row[class] && other < class);
    row.iter().enumerate().filter(|each| before(*each)).count()
}
