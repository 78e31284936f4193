//! A version of a dataset as callers see it. Versions never change: every change of a dataset creates a new one.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    dataset::Class,
    split::{SplitCounts, SplitSpec},
};
use crate::domain::{id::DatasetId, time::Timestamp};

/// What created a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// The initial archive of the dataset.
    Upload,
    /// The archive was read again, with other options.
    Reread,
    /// Images were added.
    Add,
    /// Images were relabelled, moved to another split or removed.
    Edit,
    /// All images were split again.
    Split,
}

/// How a version differs from the previous one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    pub kind: ChangeKind,
    /// Images added.
    pub added: u64,
    /// Images removed.
    pub removed: u64,
    /// Images whose class changed.
    pub relabelled: u64,
    /// Images whose split changed.
    pub moved: u64,
    /// How the splits were drawn, where `kind` is `split`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<SplitSpec>,
}

impl Change {
    pub fn of(kind: ChangeKind) -> Self {
        Self {
            kind,
            added: 0,
            removed: 0,
            relabelled: 0,
            moved: 0,
            split: None,
        }
    }

    /// Whether the version would be identical to the previous one.
    pub fn is_nothing(&self) -> bool {
        self.added + self.removed + self.relabelled + self.moved == 0
    }
}

/// A version of a dataset.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// Always `dataset_version`.
    #[schema(example = "dataset_version")]
    pub object: String,
    pub dataset: DatasetId,
    pub version: u32,
    pub created_at: Timestamp,
    pub change: Change,
    pub images: u64,
    pub classes: Vec<Class>,
    pub splits: SplitCounts,
    /// Images with several labels, or with none of the classes.
    #[serde(default)]
    pub several_labels: u64,
    /// Digest of its content: files, labels and splits. Null for a moment after an update from a server without versions.
    pub content_sha256: Option<String>,
}
