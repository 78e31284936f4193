//! What a child is to do: the run file.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    dataset::{DatasetInput, ManifestImage, Segment},
    frames::ModelFiles,
    weights::WeightsSource,
};
use crate::{
    domain::{
        id::{DatasetId, JobId},
        models::{export::ExportSpec, model_import::WeightsDescription},
        spec::{BatchPredictSpec, EvaluateSpec, JobSpec, LrRange, PreviewSpec},
    },
    limits::IngestLimits,
};

/// [`RUN_FILE`](super::RUN_FILE), the one enum of all kinds of work. Paths are absolute and may only be read; all writing goes into the run directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RunSpec {
    Ingest(IngestRun),
    Train(Box<TrainRun>),
    Evaluate(Box<EvaluateRun>),
    LrFind(Box<LrFindRun>),
    BatchPredict(Box<BatchPredictRun>),
    Preview(Box<PreviewRun>),
    Thumbnails(ThumbnailsRun),
    Import(Box<ImportRun>),
    Export(ExportRun),
}

impl RunSpec {
    /// What it is, for people who read logs.
    pub fn kind(&self) -> &'static str {
        match self {
            RunSpec::Ingest(_) => "ingest",
            RunSpec::Train(_) => "train",
            RunSpec::Evaluate(_) => "evaluate",
            RunSpec::LrFind(_) => "lr_find",
            RunSpec::BatchPredict(_) => "batch_predict",
            RunSpec::Preview(_) => "preview",
            RunSpec::Thumbnails(_) => "thumbnails",
            RunSpec::Import(_) => "import",
            RunSpec::Export(_) => "export",
        }
    }

    /// Whether the child waits where the disk is full. Where somebody waits for an answer, it is told at once instead.
    pub fn waits_for_disk(&self) -> bool {
        match self {
            RunSpec::Ingest(run) => run.waits_for_disk,
            RunSpec::Preview(_) | RunSpec::Thumbnails(_) | RunSpec::Import(_) | RunSpec::Export(_) => false,
            // Jobs.
            _ => true,
        }
    }
}

/// Read an archive, understand it, leave its images ready to train on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IngestRun {
    pub dataset: DatasetId,
    pub archive: PathBuf,
    /// SHA-256 of the archive, hexadecimal; none where it was written a moment ago.
    pub sha256: Option<String>,
    pub limits: IngestLimits,
    /// Disk space that is to stay free.
    pub min_free_bytes: u64,
    /// Whether the child waits where the disk is full, or gives up because a caller waits for it.
    #[serde(default)]
    pub waits_for_disk: bool,
    pub threads: u32,
    /// Shorter side of the pictures in the pixel pack.
    pub pack_side: u32,
}

/// What runs of jobs have in common.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobRun {
    pub job: JobId,
    /// From 1.
    pub attempt: u32,
    pub dataset: DatasetInput,
    /// `cpu` or `cuda:N`.
    pub device: String,
    pub threads: u32,
    /// Time that earlier attempts have used of `max_seconds`.
    pub seconds_used: f64,
}

/// Fine-tune a network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TrainRun {
    #[serde(flatten)]
    pub common: JobRun,
    pub spec: JobSpec,
    pub weights: WeightsSource,
    /// Checkpoints of earlier attempts, newest first; the first that is whole is gone on from.
    pub checkpoints: Vec<PathBuf>,
    /// Activations of frozen stages that earlier jobs left, of this dataset version.
    pub activations: Vec<KnownActivations>,
    /// Most disk space that this run's own may take; 0: none are kept.
    pub max_activation_bytes: u64,
}

/// Activations of frozen stages that an earlier job computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownActivations {
    /// Digest of everything that they depend on.
    pub key: String,
    pub path: PathBuf,
}

/// Do what `spec` says with a model.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelRun<S> {
    #[serde(flatten)]
    pub common: JobRun,
    pub spec: S,
    pub model: ModelFiles,
}

/// Measure a model.
pub type EvaluateRun = ModelRun<EvaluateSpec>;

/// Classify the images of a dataset.
pub type BatchPredictRun = ModelRun<BatchPredictSpec>;

/// Look for a learning rate for a training. It begins anew with every attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LrFindRun {
    pub train: TrainRun,
    pub lr_find: LrRange,
}

/// Draw what a job would train on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PreviewRun {
    pub spec: PreviewSpec,
    pub dataset: DatasetInput,
    pub threads: u32,
}

/// Make pictures of a segment small.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ThumbnailsRun {
    /// Where its pack has gone, the images are decoded.
    pub segment: Segment,
    /// All of the segment.
    pub pictures: Vec<ManifestImage>,
    /// Most pixels of a thumbnail's longer side.
    pub side: u32,
    pub threads: u32,
}

/// Check a model from elsewhere and write it anew.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImportRun {
    /// What was uploaded.
    pub file: PathBuf,
    pub contents: ImportContents,
    /// Largest weights.
    pub max_bytes: u64,
    pub max_classes: usize,
    pub threads: u32,
}

/// What an uploaded model is, and what has to be told of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "format", rename_all = "snake_case")]
pub enum ImportContents {
    Bundle,
    Safetensors(WeightsDescription),
}

/// Write a model as other programs take it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExportRun {
    pub model: ModelFiles,
    /// What the file calls the model, such as `flowers@3`.
    pub title: String,
    pub spec: ExportSpec,
}
