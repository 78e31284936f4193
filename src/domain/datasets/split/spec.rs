//! How a dataset without splits of its own is split.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{groups::GroupBy, stratified::Shares};

/// Fractions of the whole, the seed of the draw, and what stays together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SplitSpec {
    /// Fraction of each class's images for validation, 0 to 0.9. Not used where the dataset has its own validation split.
    #[schema(minimum = 0.0, maximum = 0.9, default = 0.2)]
    pub val: f64,
    /// Fraction of each class's images that are held out for testing, 0 to 0.9.
    #[schema(minimum = 0.0, maximum = 0.9, default = 0.0)]
    pub test: f64,
    #[schema(default = 0)]
    pub seed: u64,
    /// Images of one group stay in one split: those of one patient, one film, one burst of photos. Images with the very same bytes always
    /// stay together.
    #[serde(default)]
    pub group_by: Option<GroupBy>,
}

impl SplitSpec {
    pub fn shares(&self) -> Shares {
        Shares {
            val: self.val,
            test: self.test,
        }
    }
}

impl Default for SplitSpec {
    fn default() -> Self {
        Self {
            val: 0.2,
            test: 0.0,
            seed: 0,
            group_by: None,
        }
    }
}
