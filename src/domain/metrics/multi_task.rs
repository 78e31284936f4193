//! Metrics of outputs for several tasks: those of one class each, of the outputs of one task after the other.

use super::{Logits, fit_temperature, verdict};
use crate::domain::models::tasks::TaskOutputs;

/// The outputs of one task for the images that have a label for it.
pub struct Part {
    pub logits: Logits,
    /// Their places among all images.
    pub images: Vec<usize>,
}

impl Part {
    pub fn of(logits: &Logits, task: &TaskOutputs) -> Self {
        let mut part = Self {
            logits: Logits::new(task.classes.len()),
            images: Vec::new(),
        };
        for (place, (row, labels)) in logits.label_rows().enumerate() {
            // Of two labels of one task none counts: such images are not read.
            if let Ok(Some(label)) = task.label(labels) {
                let values = task.classes.iter().map(|class| row[*class as usize]);
                part.logits.values.extend(values);
                part.logits.labels.push(label);
                part.images.push(place);
            }
        }
        part
    }
}

/// The loss of each image: the mean over all tasks of the cross entropy, which is 0 where its label is missing.
pub fn losses(logits: &Logits, tasks: &[TaskOutputs]) -> Vec<f64> {
    let mut losses = vec![0.0; logits.images()];
    for task in tasks {
        let part = Part::of(logits, task);
        let labels = part.logits.rows().zip(&part.images);
        for ((row, label), image) in labels {
            losses[*image] += verdict(row, label, 1.0).loss / tasks.len() as f64;
        }
    }
    losses
}

/// Sets the temperature of each task to the one that fits its outputs best; where they do not determine one, to 1.
pub fn fit_temperatures(logits: &Logits, tasks: &mut [TaskOutputs]) {
    for task in tasks {
        let fitted = fit_temperature(&Part::of(logits, task).logits);
        task.temperature = fitted.unwrap_or(1.0);
    }
}

/// The likeliest class of a task, by its place in all classes; the first of equal ones.
pub fn likeliest(row: &[f32], task: &TaskOutputs) -> u32 {
    let classes = task.classes.iter().copied();
    let better = |best: u32, other: u32| {
        if row[other as usize] > row[best as usize] {
            other
        } else {
            best
        }
    };
    classes.reduce(better).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::models::tasks::tasks_of;

    #[test]
    fn each_task_counts_the_images_that_have_a_label_for_it() {
        let mut tasks = tasks_of(&["a=x", "a=y", "b=1", "b=2", "b=3"]).unwrap();
        let sets = Arc::new(vec![vec![0, 4], vec![1], vec![2]]);
        let mut logits = Logits::of_sets(5, sets);
        #[rustfmt::skip]
        let rows = [
            2.0, 0.0, 0.0, 0.0, 1.0,
            0.0, 0.0, 9.0, 0.0, 0.0,
            5.0, 0.0, 0.0, 0.5, 0.0,
        ];
        logits.extend(&rows, &[0, 1, 2]).unwrap();
        let parts: Vec<Part> = tasks.iter().map(|task| Part::of(&logits, task)).collect();
        assert_eq!(
            (parts[0].logits.labels(), &parts[0].images[..]),
            (&[0, 1][..], &[0, 1][..])
        );
        assert_eq!(
            (parts[1].logits.labels(), &parts[1].images[..]),
            (&[2, 0][..], &[0, 2][..])
        );

        let e = 1f64.exp();
        let of_first = ((1.0 + (-2f64).exp()).ln() + (1.0 + 2.0 / e).ln()) / 2.0;
        let of_third = (2.0 + 0.5f64.exp()).ln() / 2.0;
        for (loss, expected) in losses(&logits, &tasks)
            .iter()
            .zip([of_first, 2f64.ln() / 2.0, of_third])
        {
            assert!((loss - expected).abs() < 1e-12, "{loss} {expected}");
        }
        assert_eq!(likeliest(&rows[10..], &tasks[1]), 3);

        fit_temperatures(&logits, &mut tasks);
        // Everything of the first task is right: nothing is determined.
        assert_eq!(tasks[0].temperature, 1.0);
        assert_ne!(tasks[1].temperature, 1.0);
    }
}
