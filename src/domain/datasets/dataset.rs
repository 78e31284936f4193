//! A dataset as callers see it, and whether it can train.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::split::Split;
use crate::{
    domain::{id::DatasetId, jobs::job::WaitingFor, name::Name, spec::JobSpec, time::Timestamp},
    error::FieldError,
};

/// How far a dataset has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DatasetStatus {
    /// The archive is safe on disk and is being read.
    Processing,
    Ready,
    /// It cannot be used; `error` says why.
    Failed,
}

/// How the archive was laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// `train/CLASS/…`, `val/CLASS/…`, `test/CLASS/…`, or the other way round, `CLASS/train/…`
    Splits,
    /// `CLASS/…`
    Flat,
    /// One of the two inside one or more folders of their own.
    Wrapped,
    /// A table, `file,label[,split]`, says what the images are.
    Manifest,
    /// Images without class folders.
    Unlabelled,
}

/// What the paths of the archive were taken to mean.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Structure {
    /// How a path was read.
    #[schema(example = "flowers/{split}/{class}/…")]
    pub pattern: String,
    /// Folders around everything else, from the outermost on.
    pub wrapping: Vec<String>,
    /// Folders that were read as splits, also those that hold no image.
    pub split_folders: Vec<SplitFolder>,
    /// Tables that say what the images are, by their path in the archive.
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

/// A class of a dataset; its index is its place in the sorted list of names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Class {
    pub name: String,
    pub index: u32,
    pub images: u64,
    /// How its images are divided by the dataset itself; null in datasets that were read before this was counted.
    #[serde(default)]
    pub splits: Option<SplitCounts>,
}

/// Images in each part, as the dataset itself divides them; all in `train` where it does not.
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

/// Something about a dataset that a person should know and that does not stop it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DatasetWarning {
    /// Stable word for programs, such as `imbalance` or `empty_class`.
    pub code: String,
    pub message: String,
    /// How many images or entries it is about.
    pub count: u64,
    /// A few of them, by their path in the archive.
    pub examples: Vec<String>,
}

/// Every entry of the archive, counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReportSummary {
    /// Images of the dataset.
    pub used: u64,
    /// Files that look meant as images and could not be used.
    pub skipped: u64,
    /// Files that are not the dataset's: hidden files, `__MACOSX`, texts.
    pub ignored: u64,
    /// Used images whose bytes another used image has too.
    pub duplicates: u64,
    /// Of these, how many lie in another split than their twin.
    pub leaks: u64,
    /// Used images that look like another used image, whose bytes are others: saved anew, in another size or format.
    #[serde(default)]
    pub near_duplicates: u64,
    /// What the paths were taken to mean; null in datasets that were read before this was kept.
    #[serde(default)]
    pub structure: Option<Structure>,
    pub warnings: Vec<DatasetWarning>,
}

/// What became of one entry of the archive.
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
    /// As in the archive, control characters replaced.
    pub path: String,
    pub outcome: Outcome,
    pub class: Option<String>,
    pub split: Option<Split>,
    /// Such as `undecodable`, `truncated`, `too_large`, `duplicate`, `near_duplicate`, `contradictory_label`, `not_an_image`, `hidden`;
    /// `missing_file` is said of a file that a manifest names and the archive lacks.
    pub codes: Vec<String>,
    pub message: Option<String>,
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
    /// What the reading of the archive waits for; null while it gets on. It goes on by itself.
    pub waiting: Option<WaitingFor>,
    /// The version that this is about: the newest, unless another one was asked for.
    pub version: u32,
    /// The newest.
    pub latest_version: u32,
    pub created_at: Timestamp,
    /// SHA-256 of the uploaded archive, hexadecimal.
    pub sha256: String,
    /// Size of the uploaded archive.
    pub bytes: u64,
    /// What the version holds, as one SHA-256: files, labels and parts. The same content has the same one, whatever the archive was.
    /// Null until the archive has been read.
    pub content_sha256: Option<String>,
    pub images: u64,
    pub classes: Vec<Class>,
    pub splits: SplitCounts,
    /// Null until the archive has been read.
    pub layout: Option<Layout>,
    /// What became of the uploaded archive. Null until it has been read.
    pub report: Option<ReportSummary>,
    pub error: Option<DatasetError>,
}

impl Dataset {
    /// What keeps a job from training on this dataset, each named by the field of the spec that it is about.
    /// A dataset that is still being read has no faults yet; the same question is asked again when its job starts.
    pub fn faults_for(&self, spec: &JobSpec) -> Vec<FieldError> {
        let fault = |code, message: String| vec![FieldError::new("/dataset", code, message)];
        if self.status == DatasetStatus::Processing {
            return Vec::new();
        }
        if let Some(unusable) = self.unusable("training") {
            return vec![unusable];
        }
        if self.classes.len() < 2 {
            let names: Vec<_> = self.classes.iter().map(|class| class.name.as_str()).collect();
            let message = format!(
                "the dataset has one class only ({}); training needs at least two",
                names.join(", ")
            );
            return fault("one_class", message);
        }
        if self.splits.train == 0 {
            let message = "the dataset's training split is empty; training needs images in it";
            return fault("empty_split", message.into());
        }
        let taught = |class: &&Class| class.splits.is_none_or(|splits| splits.train > 0);
        let taught: Vec<_> = self
            .classes
            .iter()
            .filter(taught)
            .map(|class| class.name.as_str())
            .collect();
        if taught.len() < 2 {
            let message = format!(
                "the dataset's training split shows one class only ({}); training needs at least two",
                taught.join(", ")
            );
            return fault("one_class", message);
        }
        let brings_val = self.splits.val > 0;
        let shares = spec.split.val + spec.split.test;
        if !brings_val && shares > 0.95 {
            let message = "`val` and `test` together leave nothing to train on".to_owned();
            return vec![FieldError::new("/split", "range", message)];
        }
        Vec::new()
    }

    /// What keeps a model of these classes from being measured on this dataset, as [`Dataset::faults_for`] tells it.
    pub fn faults_for_evaluation(&self, known: &[String]) -> Vec<FieldError> {
        if self.status == DatasetStatus::Processing {
            return Vec::new();
        }
        if let Some(unusable) = self.unusable("an evaluation") {
            return vec![unusable];
        }
        let unknown: Vec<_> = self
            .classes
            .iter()
            .filter(|class| !known.contains(&class.name))
            .map(|class| class.name.as_str())
            .collect();
        if unknown.is_empty() {
            return Vec::new();
        }
        let message = format!(
            "the model does not know these classes of the dataset: {}; it knows {}",
            listed(&unknown),
            listed(known)
        );
        vec![FieldError::new("/dataset", "unknown_classes", message)]
    }

    /// What keeps any model from classifying this dataset's images.
    pub fn faults_for_predictions(&self) -> Vec<FieldError> {
        self.failure().into_iter().collect()
    }

    fn unusable(&self, purpose: &str) -> Option<FieldError> {
        let unlabelled = || {
            let message = format!("the dataset has no classes; {purpose} needs images in class folders");
            FieldError::new("/dataset", "unlabelled", message)
        };
        let is_unlabelled = self.layout == Some(Layout::Unlabelled);
        self.failure().or_else(|| is_unlabelled.then(unlabelled))
    }

    fn failure(&self) -> Option<FieldError> {
        if self.status != DatasetStatus::Failed {
            return None;
        }
        let why = self.error.as_ref().map_or("", |error| error.message.as_str());
        let message = format!("the dataset cannot be used: {why}");
        Some(FieldError::new("/dataset", "dataset_failed", message))
    }
}

/// Names for people, not more of them than anybody reads.
fn listed(names: &[impl AsRef<str>]) -> String {
    const SHOWN: usize = 20;
    let shown: Vec<_> = names.iter().take(SHOWN).map(AsRef::as_ref).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
