//! The outcome of a child's work: the result file.

use serde::{Deserialize, Serialize};

use crate::domain::{
    datasets::{
        dataset::{Class, Layout, ReportSummary},
        split::SplitCounts,
        understanding::Understanding,
    },
    jobs::job::{JobError, StopReason},
    models::model::ModelCard,
    spec::{Architecture, JobKind},
};

/// A file created by a child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Name within the run directory.
    pub file: String,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    pub bytes: u64,
}

/// A large file created by a child: not hashed there, because the server hashes what it stores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkFile {
    /// Name within the run directory.
    pub file: String,
    pub bytes: u64,
}

/// [`RESULT_FILE`](super::RESULT_FILE).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum RunResult {
    Ingested(Box<IngestResult>),
    /// What an archive would be read as.
    Understood(Box<Understanding>),
    Trained(Box<TrainResult>),
    /// What a job found that makes no model.
    Found(FoundResult),
    Predicted(Box<PredictedResult>),
    /// A contact sheet, PNG.
    Previewed {
        sheet: Artifact,
    },
    /// A line of JSON, `[[image, offset, bytes, sha256], …]`, a line with the SHA-256 of that line (without its end), and after them JPEGs.
    Drawn {
        thumbnails: Artifact,
    },
    Imported(Box<ImportResult>),
    /// The model in the requested format. The same model and options always produce the same bytes.
    Exported {
        file: Artifact,
    },
    Weights(Box<WeightsReport>),
    /// The uploaded file cannot be used.
    Refused(Refusal),
    /// The work cannot be done for a reason that a person can resolve.
    Failed(JobError),
}

/// Weights that were fetched or verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightsReport {
    pub architecture: Architecture,
    /// Of the head; 0 if there is none.
    pub outputs: u64,
    pub tensors: u64,
    /// Where they were fetched from; empty if unknown.
    pub origin: String,
    /// The file that was written.
    pub file: Option<Artifact>,
    /// Whether there is a digest to compare the file with.
    pub has_digest: bool,
    /// What was changed to make them those of the network, each a sentence without its full stop.
    pub remarks: Vec<String>,
}

/// What a job found that makes no model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundResult {
    /// Of the job that it was found for: a result of another kind is no result.
    pub kind: JobKind,
    /// JSON: an [`Evaluation`](crate::domain::jobs::evaluation::Evaluation), an [`LrCurve`](crate::domain::jobs::lr_curve::LrCurve).
    pub file: Artifact,
    /// Of frozen stages; the server keeps them for later jobs.
    #[serde(default)]
    pub activations: Vec<UsedActivations>,
}

impl FoundResult {
    /// One without activations.
    pub fn new(kind: JobKind, file: Artifact) -> Self {
        Self {
            kind,
            file,
            activations: Vec::new(),
        }
    }
}

/// Activations that a run trained on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedActivations {
    pub key: String,
    /// The file that the run created; none where it used an earlier job's.
    pub file: Option<Artifact>,
}

/// A dataset that was read successfully.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IngestResult {
    pub layout: Layout,
    pub images: u64,
    pub classes: Vec<Class>,
    pub splits: SplitCounts,
    /// Images with several labels, or with none of the classes.
    #[serde(default)]
    pub several_labels: u64,
    /// See [`ContentDigest`](crate::domain::datasets::content::ContentDigest).
    pub content_sha256: String,
    pub report: ReportSummary,
    /// [`ManifestImage`](super::dataset::ManifestImage)s, a line each.
    pub manifest: Artifact,
    /// The original image files, one after another.
    pub images_file: BulkFile,
    pub pack: BulkFile,
    /// [`crate::domain::datasets::dataset::ReportEntry`]s, a line each.
    pub report_entries: Artifact,
}

/// Images that were classified.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PredictedResult {
    /// Rows in each of the files.
    pub images: u64,
    /// Rows with an error instead of predictions.
    pub errors: u64,
    /// [`PredictionRow`](crate::domain::jobs::predictions::PredictionRow)s, a line each.
    pub jsonl: Artifact,
    /// The same as CSV (RFC 4180).
    pub csv: Artifact,
}

/// A model that was trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainResult {
    pub stop_reason: StopReason,
    pub card: ModelCard,
    /// `model.safetensors`
    pub weights: Artifact,
    /// `model.json`, which holds `card`.
    pub card_file: Artifact,
    /// `base.safetensors`, where the model is an adapter of weights that are not there yet.
    #[serde(default)]
    pub base: Option<Artifact>,
    /// Of frozen stages; the server keeps them for later jobs.
    #[serde(default)]
    pub activations: Vec<UsedActivations>,
    /// `evaluation.json`: an [`Evaluation`](crate::domain::jobs::evaluation::Evaluation) on the validation images; none where there are none.
    #[serde(default)]
    pub evaluation: Option<Artifact>,
}

/// An imported model, converted to our files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImportResult {
    pub card: ModelCard,
    /// `model.safetensors`
    pub weights: Artifact,
    /// `model.json`, which holds `card`.
    pub card_file: Artifact,
    /// What was changed to make the weights those of the network, in sentences.
    #[serde(default)]
    pub remarks: Vec<String>,
}

/// Why the uploaded file cannot be used: an archive that is not a dataset, a file that is not a model. Retrying would not help.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    pub code: String,
    pub message: String,
    /// The field of the request that does not match the file.
    #[serde(default)]
    pub pointer: Option<String>,
    /// What was found in an archive, and its entries, if it was read to its end.
    #[serde(default)]
    pub report: Option<Box<ReportSummary>>,
    #[serde(default)]
    pub report_entries: Option<Artifact>,
}

impl Refusal {
    /// For a file of an unsupported kind.
    pub const UNSUPPORTED: &str = "unsupported";

    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            pointer: None,
            report: None,
            report_entries: None,
        }
    }
}
