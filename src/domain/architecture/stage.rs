//! Names of the stages of a network.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A stage of a network between its input and its head, in order. [`super::Architecture::stages`] lists those of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// `conv1`, `bn1` and the pooling after them, if there is one.
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
