//! How a dataset without parts of its own is cut.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{groups::GroupBy, stratified::Shares};

/// Shares of the whole, the seed that picks them, and what stays together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SplitSpec {
    /// Share of each class's images for validation, 0 to 0.9. Not used where the dataset brings its own validation images.
    #[schema(minimum = 0.0, maximum = 0.9, default = 0.2)]
    pub val: f64,
    /// Share of each class's images that are kept for testing, 0 to 0.9.
    #[schema(minimum = 0.0, maximum = 0.9, default = 0.0)]
    pub test: f64,
    #[schema(default = 0)]
    pub seed: u64,
    /// Images of one group stay on one side: those of one patient, one film, one burst of photos. Images with the very same bytes do so
    /// in any case.
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
