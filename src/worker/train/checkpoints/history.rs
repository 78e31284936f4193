//! The validation results so far, and what follows from them: whether training continues, and how many plateaus there were. Pure functions
//! of the epochs' results, which are stored in the checkpoint.

use serde::{Deserialize, Serialize};

use crate::domain::spec::{EarlyStopping, Monitor};

/// An epoch's validation results; none where there are no validation images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValidationScores {
    pub val_loss: Option<f64>,
    pub val_accuracy: Option<f64>,
}

impl ValidationScores {
    /// The monitored metric, with its sign changed where necessary so that lower is better.
    fn cost(&self, monitor: Monitor) -> Option<f64> {
        match monitor {
            Monitor::ValLoss => self.val_loss,
            Monitor::ValAccuracy => self.val_accuracy.map(|accuracy| -accuracy),
        }
    }
}

/// Whether the last `patience` epochs brought no improvement of more than `min_delta`.
pub fn is_patience_over(spec: &EarlyStopping, epochs: &[ValidationScores]) -> bool {
    let (mut best, mut waited) = (f64::INFINITY, 0);
    for cost in epochs.iter().filter_map(|epoch| epoch.cost(spec.monitor)) {
        if cost < best - spec.min_delta {
            (best, waited) = (cost, 0);
        } else {
            waited += 1;
        }
    }
    waited >= spec.patience
}

/// How often the learning rate has been reduced: each time that more than `patience` consecutive epochs brought no improvement of at least
/// one part in 10000 (torch.optim.lr_scheduler.ReduceLROnPlateau with its defaults).
pub fn plateaus(monitor: Monitor, patience: u32, epochs: &[ValidationScores]) -> i32 {
    const THRESHOLD: f64 = 1e-4;
    let (mut best, mut waited, mut plateaus) = (f64::INFINITY, 0, 0);
    for cost in epochs.iter().filter_map(|epoch| epoch.cost(monitor)) {
        if best.is_infinite() || cost < best - THRESHOLD * best.abs() {
            (best, waited) = (cost, 0);
        } else {
            waited += 1;
        }
        if waited > patience {
            (waited, plateaus) = (0, plateaus + 1);
        }
    }
    plateaus
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(losses: &[f64]) -> Vec<ValidationScores> {
        let epoch = |loss: &f64| ValidationScores {
            val_loss: Some(*loss),
            val_accuracy: Some(1.0 - loss),
        };
        losses.iter().map(epoch).collect()
    }

    #[test]
    fn patience_counts_epochs_in_a_row_that_are_not_better_by_enough() {
        let over = |monitor, patience, min_delta, losses: &[f64]| {
            let spec = EarlyStopping {
                monitor,
                patience,
                min_delta,
            };
            is_patience_over(&spec, &scores(losses))
        };
        for monitor in [Monitor::ValLoss, Monitor::ValAccuracy] {
            assert!(!over(monitor, 2, 0.0, &[0.5, 0.6]));
            assert!(over(monitor, 2, 0.0, &[0.5, 0.6, 0.5]));
            assert!(!over(monitor, 2, 0.0, &[0.5, 0.6, 0.4, 0.45]));
            assert!(
                over(monitor, 2, 0.2, &[0.5, 0.4, 0.35]),
                "each a little better, not enough"
            );
            assert!(!over(monitor, 2, 0.125, &[0.5, 0.4375, 0.25]), "enough together");
        }
        let unvalidated = ValidationScores {
            val_loss: None,
            val_accuracy: None,
        };
        let spec = EarlyStopping {
            monitor: Monitor::ValLoss,
            patience: 1,
            min_delta: 0.0,
        };
        assert!(!is_patience_over(&spec, &[unvalidated; 5]));
    }
}
