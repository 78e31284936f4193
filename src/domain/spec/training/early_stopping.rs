//! When training stops before its last epoch.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::spec::fields::Fields;

/// The validation metric that ranks epochs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Monitor {
    /// Lower is better.
    #[default]
    ValLoss,
    /// Higher is better.
    ValAccuracy,
}

/// Training stops once the monitored metric has not improved for some epochs. The model has the weights of the best epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EarlyStopping {
    /// Also decides which epoch is best.
    pub monitor: Monitor,
    /// Consecutive epochs without an improvement after which training stops, 1 to 10000.
    #[schema(minimum = 1, maximum = 10000, default = 3)]
    pub patience: u32,
    /// Smallest change that counts as an improvement, 0 to 1000.
    #[schema(minimum = 0.0, maximum = 1000.0, default = 0.0)]
    pub min_delta: f64,
}

pub(in crate::domain::spec) fn parse(root: &mut Fields) -> Option<EarlyStopping> {
    let mut fields = root.optional_object("early_stopping")?;
    let monitors = [
        ("val_loss", Monitor::ValLoss),
        ("val_accuracy", Monitor::ValAccuracy),
    ];
    let early_stopping = EarlyStopping {
        monitor: fields.choice("monitor", Monitor::ValLoss, &monitors),
        patience: fields.integer("patience", 3, 1, 10_000) as u32,
        min_delta: fields.number("min_delta", 0.0, "must be from 0 to 1000", |delta| {
            (0.0..=1000.0).contains(&delta)
        }),
    };
    fields.finish(&[]);
    Some(early_stopping)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::spec::JobSpec;

    #[test]
    fn it_is_asked_for_by_an_object_and_off_without_one() {
        let parsed = |value: Value| {
            let spec = JobSpec::parse(&json!({"dataset": "d", "early_stopping": value}));
            spec.map(|spec| spec.early_stopping)
        };
        assert_eq!(parsed(Value::Null).unwrap(), None);
        let default = EarlyStopping {
            monitor: Monitor::ValLoss,
            patience: 3,
            min_delta: 0.0,
        };
        assert_eq!(parsed(json!({})).unwrap(), Some(default));
        for wrong in [
            json!(true),
            json!({"monitor": "loss"}),
            json!({"patience": 0}),
            json!({"min_delta": -1}),
        ] {
            assert!(parsed(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
