//! The loss, and the handling of imbalanced classes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::spec::fields::Fields;

/// The loss function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossName {
    #[default]
    CrossEntropy,
    /// Cross entropy times (1 - p)^`gamma`, p being the probability of the true class: images that are already classified well count little
    /// (Lin et al. 2017, "Focal Loss for Dense Object Detection").
    Focal,
}

/// How imbalanced classes are handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Imbalance {
    #[default]
    None,
    /// The loss of an image is weighted inversely to the number of training images of its class (scikit-learn's `balanced`).
    ClassWeights,
    /// Each epoch shows every class equally often: images of rare classes several times, only some of those of frequent classes.
    BalancedSampler,
}

/// The loss function. Validation always reports the plain mean cross entropy, so that curves of different jobs can be compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LossSpec {
    pub name: LossName,
    /// Only with `cross_entropy`: the part of the target that is spread evenly over all classes, 0 up to, but not including, 1 (Szegedy et
    /// al. 2016, as in torch.nn.CrossEntropyLoss).
    #[schema(minimum = 0.0, exclusive_maximum = 1.0, default = 0.0)]
    pub label_smoothing: f64,
    /// Only with `focal`: 0 to 10; by default 2.
    #[schema(minimum = 0.0, maximum = 10.0)]
    pub gamma: Option<f64>,
    pub imbalance: Imbalance,
}

pub(in crate::domain::spec) fn parse(mut fields: Fields) -> LossSpec {
    let names = [
        ("cross_entropy", LossName::CrossEntropy),
        ("focal", LossName::Focal),
    ];
    let name = fields.choice("name", LossName::CrossEntropy, &names);
    let smoothing_rule = "must be at least 0 and below 1";
    let label_smoothing = fields.number("label_smoothing", 0.0, smoothing_rule, |share| {
        (0.0..1.0).contains(&share)
    });
    if name == LossName::Focal && label_smoothing > 0.0 {
        let rule = "only valid with `cross_entropy`";
        fields.fault("label_smoothing", "conflict", rule);
    }
    let gamma = match name {
        LossName::Focal => Some(fields.number("gamma", 2.0, "must be from 0 to 10", |gamma| {
            (0.0..=10.0).contains(&gamma)
        })),
        LossName::CrossEntropy => {
            if fields.raw("gamma").is_some() {
                let rule = "only valid with `focal`";
                fields.fault("gamma", "conflict", rule);
            }
            None
        }
    };
    let imbalance = [
        ("none", Imbalance::None),
        ("class_weights", Imbalance::ClassWeights),
        ("balanced_sampler", Imbalance::BalancedSampler),
    ];
    let imbalance = fields.choice("imbalance", Imbalance::None, &imbalance);
    fields.finish(&[]);
    LossSpec {
        name,
        label_smoothing,
        gamma,
        imbalance,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::spec::JobSpec;

    #[test]
    fn each_loss_has_settings_of_its_own() {
        let parsed = |loss: &Value| JobSpec::parse(&json!({"dataset": "d", "loss": loss}));
        let focal = parsed(&json!({"name": "focal", "imbalance": "class_weights"}))
            .unwrap()
            .loss;
        assert_eq!(
            (focal.gamma, focal.imbalance),
            (Some(2.0), Imbalance::ClassWeights)
        );
        assert_eq!(
            parsed(&serde_json::to_value(&focal).unwrap()).unwrap().loss,
            focal
        );
        for (loss, pointer) in [
            (json!({"gamma": 2}), "/loss/gamma"),
            (
                json!({"name": "focal", "label_smoothing": 0.1}),
                "/loss/label_smoothing",
            ),
            (json!({"label_smoothing": 1.0}), "/loss/label_smoothing"),
            (json!({"imbalance": "oversample"}), "/loss/imbalance"),
        ] {
            let faults = parsed(&loss).unwrap_err();
            assert_eq!(faults.len(), 1);
            assert_eq!(faults[0].pointer, pointer);
        }
    }
}
