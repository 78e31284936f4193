//! The best epoch so far: which one it is, and copies of its weights.

use super::learner::Learner;
use crate::{domain::model::ModelMetrics, worker::state::StateDict};

/// An epoch that may become the model.
#[derive(Debug)]
pub struct Best {
    pub metrics: ModelMetrics,
    /// Copies of all tensors that training can change.
    pub weights: StateDict,
    /// Whether the network's own tensors are still the same: no step has been taken since.
    pub is_current: bool,
}

impl Best {
    pub fn of(learner: &Learner, metrics: ModelMetrics) -> Self {
        Self {
            metrics,
            weights: learner.changing(),
            is_current: true,
        }
    }

    /// Takes it out of a checkpoint whose model `learner` has already; `weights` are none where they are that model's own.
    ///
    /// # Errors
    /// What does not fit, in words.
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
            tensor.copy_(found.ok_or_else(|| format!("its best weights lack a fitting `{name}`"))?);
        }
        Ok(best)
    }
}

/// Highest validation accuracy, then lowest validation loss; without validation images the later one.
pub fn is_better(new: &ModelMetrics, old: &ModelMetrics) -> bool {
    let (Some(new_accuracy), Some(old_accuracy)) = (new.val_accuracy, old.val_accuracy) else {
        return true;
    };
    new_accuracy > old_accuracy || (new_accuracy == old_accuracy && new.val_loss < old.val_loss)
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
            train_images: 1,
            val_images: 1,
        }
    }

    #[test]
    fn accuracy_decides_then_loss_then_time() {
        let reached = |accuracy, loss| metrics(Some(accuracy), Some(loss));
        assert!(is_better(&reached(0.9, 5.0), &reached(0.8, 0.1)));
        assert!(is_better(&reached(0.9, 0.1), &reached(0.9, 0.2)));
        assert!(!is_better(&reached(0.9, 0.2), &reached(0.9, 0.2)));
        assert!(!is_better(&reached(0.8, 0.1), &reached(0.9, 0.2)));
        assert!(is_better(&metrics(None, None), &metrics(None, None)));
    }
}
