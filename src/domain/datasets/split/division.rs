//! The parts of a dataset, and how they are cut where it brings none.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A part of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    Train,
    Val,
    Test,
}
