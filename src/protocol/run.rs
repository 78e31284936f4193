//! The task of a child: the run file.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    dataset::{DatasetInput, ManifestImage, Segment},
    frames::{BaseFile, ModelFiles},
    weights::{HubSource, WeightsSource},
};
use crate::{
    domain::{
        datasets::reading::ReadOptions,
        id::{DatasetId, JobId, ModelId},
        models::{export::ExportSpec, model_import::WeightsDescription, preprocessing::UsedBits},
        spec::{
            Architecture, BatchPredictSpec, CrossValidateSpec, EvaluateSpec, JobSpec, LabelCheckSpec,
            LrRange, PretrainMethod, PretrainSpec, PreviewSpec,
        },
    },
    limits::IngestLimits,
};

/// [`RUN_FILE`](super::RUN_FILE), the one enum of all kinds of work. Paths are absolute and may only be read; all writing goes into the run directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RunSpec {
    Ingest(Box<IngestRun>),
    Train(Box<TrainRun>),
    Evaluate(Box<EvaluateRun>),
    LrFind(Box<LrFindRun>),
    BatchPredict(Box<BatchPredictRun>),
    Compare(Box<CompareRun>),
    LabelCheck(Box<LabelCheckRun>),
    CrossValidate(Box<CrossValidateRun>),
    Pretrain(Box<PretrainRun>),
    Preview(Box<PreviewRun>),
    Thumbnails(ThumbnailsRun),
    Import(Box<ImportRun>),
    Export(ExportRun),
    Weights(Box<WeightsRun>),
}

impl RunSpec {
    /// The kind of work, for logs.
    pub fn kind(&self) -> &'static str {
        match self {
            RunSpec::Ingest(_) => "ingest",
            RunSpec::Train(_) => "train",
            RunSpec::Evaluate(_) => "evaluate",
            RunSpec::LrFind(_) => "lr_find",
            RunSpec::BatchPredict(_) => "batch_predict",
            RunSpec::Compare(_) => "compare",
            RunSpec::LabelCheck(_) => "label_check",
            RunSpec::CrossValidate(_) => "cross_validate",
            RunSpec::Pretrain(_) => "pretrain",
            RunSpec::Preview(_) => "preview",
            RunSpec::Thumbnails(_) => "thumbnails",
            RunSpec::Import(_) => "import",
            RunSpec::Export(_) => "export",
            RunSpec::Weights(_) => "weights",
        }
    }

    /// Whether the child waits when the disk is full. A caller who waits for an answer gets an error at once instead.
    pub fn waits_for_disk(&self) -> bool {
        match self {
            RunSpec::Ingest(run) => run.waits_for_disk,
            RunSpec::Preview(_)
            | RunSpec::Thumbnails(_)
            | RunSpec::Import(_)
            | RunSpec::Export(_)
            | RunSpec::Weights(_) => false,
            // Jobs.
            _ => true,
        }
    }
}

/// Read an archive, interpret it, prepare its images for training.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IngestRun {
    pub dataset: DatasetId,
    pub archive: PathBuf,
    /// SHA-256 of the archive, hexadecimal; none where it has just been written.
    pub sha256: Option<String>,
    /// How to read it, where the caller chose.
    #[serde(default)]
    pub options: ReadOptions,
    pub limits: IngestLimits,
    /// Disk space that must stay free.
    pub min_free_bytes: u64,
    /// Whether the child waits when the disk is full, or gives up because a caller is waiting.
    #[serde(default)]
    pub waits_for_disk: bool,
    pub threads: u32,
    /// Shorter side of the images in the pixel pack.
    pub pack_side: u32,
    /// Id of the first image, and the segment of all: what was read before keeps its ids.
    #[serde(default)]
    pub first_image: u32,
    #[serde(default)]
    pub segment: u32,
    /// Whether only names and tables are read, to say what would be understood.
    #[serde(default)]
    pub names_only: bool,
    /// How many bits of 16-bit images count, where the dataset has such images or its owner says so; otherwise it is found out.
    #[serde(default)]
    pub used_bits: Option<UsedBits>,
}

/// Common fields of job runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobRun {
    pub job: JobId,
    /// From 1.
    pub attempt: u32,
    pub dataset: DatasetInput,
    /// `cpu` or `cuda:N`.
    pub device: String,
    pub threads: u32,
    /// Time that earlier attempts used of `max_seconds`.
    pub seconds_used: f64,
}

/// Fine-tune a network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TrainRun {
    #[serde(flatten)]
    pub common: JobRun,
    pub spec: JobSpec,
    pub weights: WeightsSource,
    /// The dataset whose images go along with those of the training, without their labels, if the spec names one.
    #[serde(default)]
    pub unlabelled: Option<DatasetInput>,
    /// The models that it learns from.
    #[serde(default)]
    pub teachers: Vec<TeacherFiles>,
    /// How the backbone learns without labels and without a head, where it does.
    #[serde(default)]
    pub pretraining: Option<PretrainMethod>,
    /// Checkpoints of earlier attempts, newest first; training resumes from the first intact one.
    pub checkpoints: Vec<PathBuf>,
    /// Activations of frozen stages kept from earlier jobs, of any version of this dataset.
    pub activations: Vec<KnownActivations>,
    /// Most disk space that this run's own may use; 0: none are kept.
    pub max_activation_bytes: u64,
    /// Backbones of this architecture that models have as their base, the latest first.
    #[serde(default)]
    pub bases: Vec<KnownBase>,
}

/// A model that a training learns from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TeacherFiles {
    pub model: ModelId,
    pub files: ModelFiles,
}

/// Activations of frozen stages that an earlier job computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownActivations {
    /// Digest of everything that they depend on.
    pub key: String,
    pub path: PathBuf,
}

/// A backbone that a model of this server has as its base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownBase {
    /// SHA-256 of the file of weights that it was made from without a guess, hexadecimal.
    pub source_sha256: String,
    pub file: BaseFile,
    pub bytes: u64,
}

/// Apply a model to a dataset as `spec` says. Every attempt starts over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelRun<S> {
    #[serde(flatten)]
    pub common: JobRun,
    pub spec: S,
    pub model: ModelFiles,
}

/// Evaluate a model.
pub type EvaluateRun = ModelRun<EvaluateSpec>;

/// Classify the images of a dataset.
pub type BatchPredictRun = ModelRun<BatchPredictSpec>;

/// Search for a learning rate for a training. Every attempt starts over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LrFindRun {
    pub train: TrainRun,
    pub lr_find: LrRange,
}

/// Measure backbones: what a training of each would find. Every attempt starts over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CompareRun {
    /// One for each backbone, on the same images; at least one.
    pub trainings: Vec<TrainRun>,
    pub max_seconds: Option<u64>,
}

/// Look for doubtful labels. Every attempt starts over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LabelCheckRun {
    /// Whose features and heads are used; what it says of splits has no effect.
    pub train: TrainRun,
    pub spec: LabelCheckSpec,
}

/// Measure quick heads on folds that they have not seen. Every attempt starts over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CrossValidateRun {
    /// Whose features and heads are used; what it says of splits has no effect.
    pub train: TrainRun,
    pub spec: CrossValidateSpec,
}

/// Train a backbone without labels.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PretrainRun {
    /// What it is like, except for its labels and its head.
    pub train: TrainRun,
    pub spec: PretrainSpec,
}

/// Draw what a job would train on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PreviewRun {
    pub spec: PreviewSpec,
    /// The repository of the base weights, if their preprocessing is unknown until its `config.json` is read.
    #[serde(default)]
    pub hub: Option<HubSource>,
    pub dataset: DatasetInput,
    pub threads: u32,
}

/// Fetch or verify pretrained weights, for the command `finetuned weights`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WeightsRun {
    pub task: WeightsTask,
    /// What the file that is written says about itself.
    #[serde(default)]
    pub about: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightsTask {
    Fetch {
        source: Box<WeightsSource>,
        architecture: Architecture,
    },
    /// Read a file as a job would.
    Verify {
        path: PathBuf,
        /// None: it is detected from the tensors.
        architecture: Option<Architecture>,
    },
}

/// Create thumbnails of images of a segment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ThumbnailsRun {
    /// If its pack has been deleted, the images are decoded.
    pub segment: Segment,
    /// All in the segment.
    pub images: Vec<ManifestImage>,
    /// Largest side of a thumbnail, in pixels.
    pub side: u32,
    pub threads: u32,
}

/// Check a model from elsewhere and convert it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImportRun {
    /// The uploaded file.
    pub file: PathBuf,
    pub contents: ImportContents,
    /// Maximum size of the weights.
    pub max_bytes: u64,
    pub max_classes: usize,
    pub threads: u32,
}

/// The kind of the uploaded model, and what must be known of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "format", rename_all = "snake_case")]
pub enum ImportContents {
    Bundle,
    /// A file of weights, safetensors or of `torch.save`.
    Weights(WeightsDescription),
}

/// Export a model for other programs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExportRun {
    pub model: ModelFiles,
    /// The model's name in the file, such as `flowers@3`.
    pub title: String,
    pub spec: ExportSpec,
}
