//! A version of a dataset as callers see it. Versions never change: every change of a dataset makes the next one.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    dataset::{Class, SplitCounts},
    split::SplitSpec,
};
use crate::domain::{id::DatasetId, time::Timestamp};

/// What made a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// The archive that the dataset began with.
    Upload,
    /// Images were added.
    Add,
    /// Images were labelled anew, moved to another part or removed.
    Edit,
    /// All images were divided anew.
    Split,
}

/// How a version differs from the one before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    pub kind: ChangeKind,
    /// Images that are new.
    pub added: u64,
    /// Images that are gone.
    pub removed: u64,
    /// Images that are in another class.
    pub relabelled: u64,
    /// Images that are in another part.
    pub moved: u64,
    /// How the parts were drawn, where `kind` is `split`.
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

    /// Whether the version would be the one before once more.
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
    /// Of what it holds: files, labels and parts. Null for a moment after the server was updated from a program without versions.
    pub content_sha256: Option<String>,
}
