//! Which stages of the network are trained.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::backbone::{Backbone, Weights};
use crate::domain::{
    architecture::Stage,
    spec::{JobSpec, fields::Fields},
};

/// Which stages are frozen. Their BatchNorm uses its running statistics and does not update them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Freeze {
    /// Everything but the head.
    Backbone,
    /// Nothing: all layers are trained.
    None,
    /// From the input up to and including this stage.
    Until(Stage),
    /// At first everything but the head; every so many epochs one more stage is trained, from the head down (gradual unfreezing, Howard and
    /// Ruder 2018, "Universal Language Model Fine-tuning for Text Classification").
    Gradual(u32),
}

impl JobSpec {
    /// The last frozen stage in an epoch (from 1); the head is always trained. From epoch to epoch it never moves towards the head.
    pub fn last_frozen(&self, epoch: u32) -> Option<Stage> {
        if self.unfreeze_at_epoch.is_some_and(|first| epoch >= first) {
            return None;
        }
        let stages = self.backbone.architecture.stages();
        match self.freeze {
            Freeze::Backbone => stages.last().copied(),
            Freeze::None => None,
            Freeze::Until(stage) => Some(stage),
            Freeze::Gradual(epochs_per_stage) => {
                let learning = (epoch.max(1) - 1) / epochs_per_stage.max(1);
                stages.iter().rev().nth(learning as usize).copied()
            }
        }
    }

    /// The number of epochs in which the same stages are frozen as in this one.
    pub fn epochs_frozen_like(&self, epoch: u32) -> u32 {
        let same = |other: &u32| self.last_frozen(*other) == self.last_frozen(epoch);
        (1..=self.epochs).filter(same).count() as u32
    }
}

pub(in crate::domain::spec) fn parse(root: &mut Fields, backbone: &Backbone, has_adapter: bool) -> Freeze {
    let (architecture, weights) = (backbone.architecture, &backbone.weights);
    let default = if *weights == Weights::None || has_adapter {
        Freeze::None
    } else {
        Freeze::Backbone
    };
    let Some(value) = root.raw("freeze") else {
        return default;
    };
    let stages = architecture.stages();
    let stage_of = |text: &str| stages.iter().copied().find(|stage| stage.to_string() == text);
    let epochs = |value: &Value| value.as_u64().filter(|epochs| (1..=10_000).contains(epochs));
    let freeze = match value {
        Value::String(text) if text == "backbone" => Some(Freeze::Backbone),
        Value::String(text) if text == "none" => Some(Freeze::None),
        Value::Object(object) if object.len() == 1 => {
            let until = object.get("until").and_then(Value::as_str).and_then(stage_of);
            let gradual = object.get("gradual").and_then(epochs);
            let gradual = gradual.map(|epochs| Freeze::Gradual(epochs as u32));
            until.map(Freeze::Until).or(gradual)
        }
        _ => None,
    };
    if *weights == Weights::None && freeze.is_some_and(|freeze| freeze != Freeze::None) {
        root.fault(
            "freeze",
            "conflict",
            "layers with random weights must be trained; use `none`, or choose pretrained weights",
        );
    }
    freeze.unwrap_or_else(|| {
        let names: Vec<_> = stages.iter().map(Stage::to_string).collect();
        let rule = format!(
            "must be `backbone`, `none`, {{\"until\": one of {}}}, the stages of {architecture}, or {{\"gradual\": epochs for each stage}}",
            names.join(", ")
        );
        root.fault("freeze", "range", rule);
        default
    })
}

/// The epoch from which on everything is trained.
pub(in crate::domain::spec) fn parse_unfreezing(
    root: &mut Fields,
    freeze: Freeze,
    epochs: u32,
) -> Option<u32> {
    let epoch = root.optional_integer("unfreeze_at_epoch", 2, 10_000)? as u32;
    let conflict = match freeze {
        Freeze::None => {
            "nothing is frozen; leave this out, or set `freeze` to what is to be frozen until then"
        }
        Freeze::Gradual(_) => "`freeze` already says when each stage is unfrozen; set only one of the two",
        _ if epoch > epochs => "is after the last epoch; lower it, or raise `epochs`",
        _ => return Some(epoch),
    };
    root.fault("unfreeze_at_epoch", "conflict", conflict);
    None
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(fields: Value) -> Result<JobSpec, Vec<String>> {
        let mut document = json!({"dataset": "d"});
        for (name, value) in fields.as_object().unwrap() {
            document[name] = value.clone();
        }
        let told = |faults: Vec<crate::error::FieldError>| {
            let told = faults
                .into_iter()
                .map(|fault| format!("{} {}", fault.pointer, fault.code));
            told.collect()
        };
        JobSpec::parse(&document).map_err(told)
    }

    #[test]
    fn stages_thaw_from_the_head_down() {
        let spec = spec(json!({"freeze": {"gradual": 2}, "epochs": 13})).unwrap();
        let frozen: Vec<_> = (1..=13).map(|epoch| spec.last_frozen(epoch)).collect();
        let expected = [
            Some(Stage::layer(4)),
            Some(Stage::layer(3)),
            Some(Stage::layer(2)),
            Some(Stage::layer(1)),
            Some(Stage::STEM),
            None,
            None,
        ];
        for (pair, expected) in frozen.chunks(2).zip(expected) {
            assert!(pair.iter().all(|frozen| *frozen == expected), "{frozen:?}");
        }
        assert_eq!((spec.epochs_frozen_like(4), spec.epochs_frozen_like(11)), (2, 3));
    }

    #[test]
    fn everything_thaws_at_an_epoch() {
        let spec = spec(json!({"freeze": {"until": "layer2"}, "unfreeze_at_epoch": 3, "epochs": 5})).unwrap();
        let frozen: Vec<_> = (1..=5).map(|epoch| spec.last_frozen(epoch)).collect();
        let until = Some(Stage::layer(2));
        assert_eq!(frozen, [until, until, None, None, None]);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (fields, fault) in [
            (
                json!({"freeze": "none", "unfreeze_at_epoch": 2}),
                "/unfreeze_at_epoch conflict",
            ),
            (
                json!({"freeze": {"gradual": 1}, "unfreeze_at_epoch": 2}),
                "/unfreeze_at_epoch conflict",
            ),
            (json!({"unfreeze_at_epoch": 11}), "/unfreeze_at_epoch conflict"),
            (json!({"unfreeze_at_epoch": 1}), "/unfreeze_at_epoch range"),
            (json!({"freeze": {"gradual": 0}}), "/freeze range"),
            (
                json!({"freeze": {"gradual": 1, "until": "stem"}}),
                "/freeze range",
            ),
            (
                json!({"freeze": {"gradual": 1}, "backbone": {"weights": "none"}}),
                "/freeze conflict",
            ),
        ] {
            assert_eq!(spec(fields.clone()).unwrap_err(), [fault], "{fields}");
        }
    }
}
