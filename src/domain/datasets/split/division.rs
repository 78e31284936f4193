//! The splits of a dataset, and how they are drawn where it has none.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A split of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    Train,
    Val,
    Test,
}
