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

/// Images in each split, as the dataset itself assigns them; all in `train` if it has no splits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SplitCounts {
    pub train: u64,
    pub val: u64,
    pub test: u64,
}

impl SplitCounts {
    pub fn of(&self, split: Split) -> u64 {
        match split {
            Split::Train => self.train,
            Split::Val => self.val,
            Split::Test => self.test,
        }
    }

    pub fn add(&mut self, split: Split) {
        match split {
            Split::Train => self.train += 1,
            Split::Val => self.val += 1,
            Split::Test => self.test += 1,
        }
    }

    pub fn total(&self) -> u64 {
        self.train + self.val + self.test
    }
}
