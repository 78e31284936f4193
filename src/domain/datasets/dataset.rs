//! A dataset as callers see it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    reading::{ReadOptions, Reading},
    split::{Split, SplitCounts},
};
use crate::domain::{access::Holder, id::DatasetId, jobs::job::WaitingFor, name::Name, time::Timestamp};

/// The state of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DatasetStatus {
    /// The archive is safely stored and is being read.
    Processing,
    Ready,
    /// It cannot be used; `error` says why.
    Failed,
}

/// The layout of the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// `train/CLASS/…`, `val/CLASS/…`, `test/CLASS/…`, or the reverse, `CLASS/train/…`
    Splits,
    /// `CLASS/…`
    Flat,
    /// One of the two inside one or more enclosing folders.
    Wrapped,
    /// A table, `file,label[,split]`, labels the images.
    Manifest,
    /// The images' own names contain their classes.
    FileNames,
    /// Images without class folders.
    Unlabelled,
}

/// How the paths of the archive were interpreted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Structure {
    /// How a path was read.
    #[schema(example = "flowers/{split}/{class}/…")]
    pub pattern: String,
    /// Folders around everything else, outermost first.
    pub wrapping: Vec<String>,
    /// Folders that were read as splits, including those without images.
    pub split_folders: Vec<SplitFolder>,
    /// Tables that label the images, by their path in the archive.
    pub manifests: Vec<String>,
}

/// A folder that was read as a split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SplitFolder {
    /// As it is written in the archive.
    #[schema(example = "Validation")]
    pub name: String,
    pub split: Split,
}

/// A class of a dataset; its index is its position in the sorted list of names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Class {
    pub name: String,
    pub index: u32,
    pub images: u64,
    /// How the dataset itself splits its images; null in datasets that were read before this was counted.
    #[serde(default)]
    pub splits: Option<SplitCounts>,
}

/// Something a person should know about a dataset that does not prevent its use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DatasetWarning {
    /// Stable code for programs, such as `imbalance` or `empty_class`.
    pub code: String,
    pub message: String,
    /// How many images or entries are concerned.
    pub count: u64,
    /// Some of them, by their path in the archive.
    pub examples: Vec<String>,
}

/// Counts of every entry of the archive.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReportSummary {
    /// Images of the dataset.
    pub used: u64,
    /// Files that look like images but could not be used.
    pub skipped: u64,
    /// Files that are not part of the dataset: hidden files, `__MACOSX`, text files.
    pub ignored: u64,
    /// Used images that are byte for byte the same as another used image.
    pub duplicates: u64,
    /// Of these, how many are in another split than their duplicate.
    pub leaks: u64,
    /// Used images that look like another used image but differ in their bytes: saved again, in another size or format.
    #[serde(default)]
    pub near_duplicates: u64,
    /// How the paths were interpreted; null in datasets that were read before this was recorded.
    #[serde(default)]
    pub structure: Option<Structure>,
    /// How the archive was read, as the options that give the same result; null in datasets that were read before this was recorded.
    #[serde(default)]
    pub reading: Option<ReadOptions>,
    /// Other ways to read the archive. `POST /v1/datasets/{dataset}/reread` with the options of one of them reads it that way.
    #[serde(default)]
    pub readings: Vec<Reading>,
    pub warnings: Vec<DatasetWarning>,
}

/// What happened to an entry of the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Used,
    Skipped,
    Ignored,
}

/// One entry of the archive in the full report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReportEntry {
    /// As in the archive, with control characters replaced.
    pub path: String,
    pub outcome: Outcome,
    pub class: Option<String>,
    pub split: Option<Split>,
    /// Such as `undecodable`, `truncated`, `too_large`, `duplicate`, `near_duplicate`, `contradictory_label`, `not_an_image`, `hidden`;
    /// `missing_file` marks a file that a manifest names but the archive lacks.
    pub codes: Vec<String>,
    pub message: Option<String>,
    /// The labels of an image that has several, or none of the classes; absent otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

/// Why a dataset cannot be used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DatasetError {
    /// Such as `no_images`, `archive_unreadable`, `path_escape`, `too_many_entries`, `internal`.
    pub code: String,
    pub message: String,
}

/// A dataset.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Dataset {
    pub id: DatasetId,
    /// Always `dataset`.
    #[schema(example = "dataset")]
    pub object: String,
    pub name: Name,
    pub status: DatasetStatus,
    /// What reading the archive is waiting for; null while it makes progress. It continues by itself.
    pub waiting: Option<WaitingFor>,
    /// The version described here: the newest, unless another one was asked for.
    pub version: u32,
    /// The newest version.
    pub latest_version: u32,
    pub created_at: Timestamp,
    /// The key that uploaded it; null where no key was needed.
    pub owner: Option<Holder>,
    /// SHA-256 of the uploaded archive, hexadecimal.
    pub sha256: String,
    /// Size of the uploaded archive.
    pub bytes: u64,
    /// The content of the version as one SHA-256: files, labels and splits. The same content has the same digest, whatever the archive was.
    /// Null until the archive has been read.
    pub content_sha256: Option<String>,
    pub images: u64,
    pub classes: Vec<Class>,
    pub splits: SplitCounts,
    /// Images with several labels, or with none of the classes. Where there are such images, a model is trained on the dataset with `"task":
    /// "multi_label"`.
    #[serde(default)]
    pub several_labels: u64,
    /// Null until the archive has been read.
    pub layout: Option<Layout>,
    /// What happened to the entries of the uploaded archive. Null until it has been read.
    pub report: Option<ReportSummary>,
    /// Why it has failed; in a ready dataset, why the last attempt to read its archive again has failed.
    pub error: Option<DatasetError>,
}
