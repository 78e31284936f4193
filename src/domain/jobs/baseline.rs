//! A training that comes before another one with more to learn from, to compare with.

use serde::{Deserialize, Serialize};

use super::adaptation::TargetScore;

/// What is known of it, as checkpoints of the other keep it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// On the target domain, where there is one; none if the training failed.
    pub score: Option<TargetScore>,
    /// On the validation images; none if there are none, or the training failed.
    pub accuracy: Option<f64>,
    /// Time used of `max_seconds` up to its end.
    pub seconds: f64,
}
