//! The best epoch so far, and copies of its weights.

use std::cmp::Ordering;

use crate::{
    domain::{
        metrics::{self, Confusion, Logits},
        models::model::ModelMetrics,
        spec::Monitor,
    },
    worker::{files::state::StateDict, train::learner::Learner},
};

/// An epoch that may become the model.
#[derive(Debug)]
pub struct Best {
    pub metrics: ModelMetrics,
    /// Copies of all trainable tensors.
    pub weights: StateDict,
    /// Whether the network still has these values: no step has been taken since.
    pub is_current: bool,
}

impl Best {
    pub fn of(learner: &Learner, metrics: ModelMetrics) -> Self {
        Self {
            metrics,
            weights: learner.trainable_weights(),
            is_current: true,
        }
    }

    /// Restores it from a checkpoint whose model `learner` already has; `weights` are none where they are that model's own.
    ///
    /// # Errors
    /// What does not match, in words.
    pub fn restored(
        learner: &Learner,
        metrics: ModelMetrics,
        weights: Option<StateDict>,
    ) -> Result<Self, String> {
        let mut best = Self::of(learner, metrics);
        let Some(saved) = weights else {
            return Ok(best);
        };
        best.is_current = false;
        for (name, tensor) in &mut best.weights {
            let fits = |found: &&tch::Tensor| found.size() == tensor.size() && found.kind() == tensor.kind();
            let found = saved.get(name).filter(fits);
            tensor.copy_(found.ok_or_else(|| format!("its best weights have no matching `{name}`"))?);
        }
        Ok(best)
    }
}

/// By the monitored metric where one is set, otherwise by accuracy, or with several labels by mean average precision; ties are broken by the other metric; without validation images the
/// later epoch wins.
pub fn is_better(new: &ModelMetrics, old: &ModelMetrics, monitor: Option<Monitor>) -> bool {
    let values = |metrics: &ModelMetrics| Some((metrics.val_loss?, metrics.val_accuracy?));
    let (Some((new_loss, new_accuracy)), Some((old_loss, old_accuracy))) = (values(new), values(old)) else {
        return true;
    };
    let more_precise = match (new.val_map, old.val_map) {
        (Some(new), Some(old)) => new.total_cmp(&old),
        _ => Ordering::Equal,
    };
    let more_accurate = new_accuracy.total_cmp(&old_accuracy);
    let less_lost = old_loss.total_cmp(&new_loss);
    let order = match monitor {
        None => more_precise.then(more_accurate).then(less_lost),
        Some(Monitor::ValAccuracy) => more_accurate.then(less_lost),
        Some(Monitor::ValLoss) => less_lost.then(more_accurate),
    };
    order.is_gt()
}

/// The same metrics with what these outputs for the validation images say.
pub fn with_outputs(metrics: &ModelMetrics, logits: &Logits) -> ModelMetrics {
    let verdicts = logits.verdicts(1.0);
    let confusion = Confusion::of(logits.labels(), &verdicts, logits.classes());
    ModelMetrics {
        val_loss: Some(metrics::mean_loss(&verdicts)),
        val_accuracy: Some(confusion.accuracy()),
        ..metrics.clone()
    }
}

/// Whether a model is better than guessing: its validation loss is below that of a uniform prediction.
pub fn is_useful(metrics: &ModelMetrics, classes: usize) -> bool {
    metrics.val_loss.is_some_and(|loss| loss < (classes as f64).ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(val_accuracy: Option<f64>, val_loss: Option<f64>) -> ModelMetrics {
        ModelMetrics {
            epoch: 1,
            train_loss: 0.0,
            train_accuracy: 0.0,
            val_loss,
            val_accuracy,
            val_map: None,
            train_images: 1,
            val_images: 1,
            test_images: 0,
        }
    }

    #[test]
    fn accuracy_decides_then_loss_then_time() {
        let reached = |accuracy, loss| metrics(Some(accuracy), Some(loss));
        for monitor in [None, Some(Monitor::ValAccuracy)] {
            let is_better = |new, old| is_better(&new, &old, monitor);
            assert!(is_better(reached(0.9, 5.0), reached(0.8, 0.1)));
            assert!(is_better(reached(0.9, 0.1), reached(0.9, 0.2)));
            assert!(!is_better(reached(0.9, 0.2), reached(0.9, 0.2)));
            assert!(!is_better(reached(0.8, 0.1), reached(0.9, 0.2)));
            assert!(is_better(metrics(None, None), metrics(None, None)));
        }
    }

    #[test]
    fn the_monitored_loss_decides_before_accuracy() {
        let is_better = |new: (f64, f64), old: (f64, f64)| {
            let [new, old] = [new, old].map(|(accuracy, loss)| metrics(Some(accuracy), Some(loss)));
            is_better(&new, &old, Some(Monitor::ValLoss))
        };
        assert!(is_better((0.8, 0.1), (0.9, 0.2)));
        assert!(is_better((0.9, 0.2), (0.8, 0.2)));
        assert!(!is_better((0.9, 0.2), (0.9, 0.2)));
    }
}
