//! Which stages of the network learn.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{backbone::Weights, fields::Fields};

/// A part of the network between its input and its head, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// `conv1`, `bn1` and the pooling after them.
    Stem,
    Layer1,
    Layer2,
    Layer3,
    Layer4,
}

impl Stage {
    pub const ALL: [Stage; 5] = [
        Stage::Stem,
        Stage::Layer1,
        Stage::Layer2,
        Stage::Layer3,
        Stage::Layer4,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Stem => "stem",
            Stage::Layer1 => "layer1",
            Stage::Layer2 => "layer2",
            Stage::Layer3 => "layer3",
            Stage::Layer4 => "layer4",
        }
    }
}

/// Which stages do not learn. Their BatchNorm uses its stored statistics and does not change them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Freeze {
    /// Everything but the head.
    Backbone,
    /// Nothing: all layers learn.
    None,
    /// From the input up to and with this stage.
    Until(Stage),
}

impl Freeze {
    /// The last stage that does not learn.
    pub fn last_frozen(self) -> Option<Stage> {
        match self {
            Freeze::Backbone => Some(Stage::Layer4),
            Freeze::None => None,
            Freeze::Until(stage) => Some(stage),
        }
    }
}

pub(super) fn parse(root: &mut Fields, weights: &Weights) -> Freeze {
    let default = if *weights == Weights::None {
        Freeze::None
    } else {
        Freeze::Backbone
    };
    let Some(value) = root.raw("freeze") else {
        return default;
    };
    let stage_of = |text: &str| Stage::ALL.into_iter().find(|stage| stage.as_str() == text);
    let freeze = match value {
        Value::String(text) if text == "backbone" => Some(Freeze::Backbone),
        Value::String(text) if text == "none" => Some(Freeze::None),
        Value::Object(object) if object.len() == 1 => object
            .get("until")
            .and_then(Value::as_str)
            .and_then(stage_of)
            .map(Freeze::Until),
        _ => None,
    };
    if *weights == Weights::None && freeze.is_some_and(|freeze| freeze != Freeze::None) {
        root.fault(
            "freeze",
            "conflict",
            "layers that start from random weights must learn; use `none` or give weights",
        );
    }
    freeze.unwrap_or_else(|| {
        let stages: Vec<_> = Stage::ALL.iter().map(|stage| stage.as_str()).collect();
        let rule = format!(
            "must be `backbone`, `none` or {{\"until\": one of {}}}",
            stages.join(", ")
        );
        root.fault("freeze", "range", rule);
        default
    })
}
