//! Which stages of the network learn.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    backbone::{Backbone, Weights},
    fields::Fields,
};
use crate::domain::architecture::{Architecture, Stage};

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
    /// The last stage of this architecture that does not learn. There is always a head that does.
    pub fn last_frozen(self, architecture: Architecture) -> Option<Stage> {
        match self {
            Freeze::Backbone => Some(architecture.last_stage()),
            Freeze::None => None,
            Freeze::Until(stage) => Some(stage),
        }
    }
}

pub(super) fn parse(root: &mut Fields, backbone: &Backbone) -> Freeze {
    let (architecture, weights) = (backbone.architecture, &backbone.weights);
    let default = if *weights == Weights::None {
        Freeze::None
    } else {
        Freeze::Backbone
    };
    let Some(value) = root.raw("freeze") else {
        return default;
    };
    let stages = architecture.stages();
    let stage_of = |text: &str| stages.iter().copied().find(|stage| stage.as_str() == text);
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
        let names: Vec<_> = stages.iter().map(|stage| stage.as_str()).collect();
        let rule = format!(
            "must be `backbone`, `none` or {{\"until\": one of {}}}, the stages of {architecture}",
            names.join(", ")
        );
        root.fault("freeze", "range", rule);
        default
    })
}
