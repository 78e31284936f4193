//! Everything that the two programs say to each other. serde only: no I/O here.
//!
//! A one-shot child (`ingest`, `train`, `evaluate`, `lr-find`, `batch-predict`, `preview`, `thumbnails`, `import`, `export`) gets a directory with [`RUN_FILE`] in it, tells [`WorkerMessage`]s as lines of JSON on its
//! stdout, writes whatever it makes into that directory, and last of all, by rename, [`RESULT_FILE`]. Its stdin carries nothing: its
//! end means "checkpoint and leave". A `predict` child speaks [`frames`] both ways. `devices` prints a list of [`Device`]s.

pub mod frames;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::frames::ModelFiles;
use crate::{
    domain::{
        dataset::{Class, DatasetError, Layout, ReportSummary, SplitCounts},
        event::{CheckpointEvent, EpochEvent, EventKind, LogEvent, StepEvent, WarningEvent},
        export::ExportSpec,
        job::{JobError, Progress, StopReason, WaitingFor},
        model::{DatasetLineage, ModelCard},
        model_import::WeightsDescription,
        spec::{Architecture, BatchPredictSpec, EvaluateSpec, JobSpec, LrRange, PreviewSpec},
        split::Split,
    },
    id::{DatasetId, JobId},
    limits::IngestLimits,
};

/// What the server wants: written into the run directory before the child starts.
pub const RUN_FILE: &str = "run.json";
/// What came of it: written by the child, last, by rename.
pub const RESULT_FILE: &str = "result.json";
/// Name of the list of packs in the run directory.
pub const PACKS_FILE: &str = "packs.json";
/// A child that leaves because its stdin ended, its state saved, exits with this status (`EX_TEMPFAIL`).
pub const EXIT_STOPPED: i32 = 75;
/// A child that cannot even write its result, because the disk is full, exits with this status (`EX_CANTCREAT`).
pub const EXIT_DISK_FULL: i32 = 73;

/// A device that can train or predict, as `finetuned-worker devices` lists them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Device {
    /// `cpu` or `cuda:N`.
    pub name: String,
    /// Model of the processor or card.
    pub description: String,
    /// Threads that a worker on it uses for arithmetic.
    pub threads: u32,
    /// Memory of the host or the card.
    pub memory_bytes: u64,
}

/// [`RUN_FILE`]. Paths are absolute and may only be read; all writing goes into the run directory.
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
    /// Whether the child waits where the disk is full. Where somebody waits for an answer, it is told at once instead.
    pub fn waits_for_disk(&self) -> bool {
        match self {
            RunSpec::Train(_) | RunSpec::Evaluate(_) | RunSpec::LrFind(_) | RunSpec::BatchPredict(_) => true,
            RunSpec::Ingest(run) => run.waits_for_disk,
            RunSpec::Preview(_) | RunSpec::Thumbnails(_) | RunSpec::Import(_) | RunSpec::Export(_) => false,
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

/// Fine-tune a network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TrainRun {
    pub job: JobId,
    /// From 1.
    pub attempt: u32,
    pub spec: JobSpec,
    pub dataset: DatasetInput,
    pub weights: WeightsSource,
    /// `cpu` or `cuda:N`.
    pub device: String,
    pub threads: u32,
    /// Checkpoints of earlier attempts, newest first; the first that is whole is gone on from.
    pub checkpoints: Vec<PathBuf>,
    /// Time that earlier attempts have used of `max_seconds`.
    pub seconds_used: f64,
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

/// Activations that a run trained on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedActivations {
    pub key: String,
    /// The file that the run made; none where it took an earlier job's.
    pub file: Option<Artifact>,
}

/// Measure a model.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EvaluateRun {
    pub job: JobId,
    pub spec: EvaluateSpec,
    pub model: ModelFiles,
    pub dataset: DatasetInput,
    /// `cpu` or `cuda:N`.
    pub device: String,
    pub threads: u32,
    /// Time that earlier attempts have used of `max_seconds`.
    pub seconds_used: f64,
}

/// Look for a learning rate for a training. It begins anew with every attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LrFindRun {
    pub train: TrainRun,
    pub lr_find: LrRange,
}

/// Classify the images of a dataset. It begins anew with every attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BatchPredictRun {
    pub job: JobId,
    pub spec: BatchPredictSpec,
    pub model: ModelFiles,
    pub dataset: DatasetInput,
    /// `cpu` or `cuda:N`.
    pub device: String,
    pub threads: u32,
    /// Time that earlier attempts have used of `max_seconds`.
    pub seconds_used: f64,
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

/// A dataset version as files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DatasetInput {
    pub lineage: DatasetLineage,
    pub classes: Vec<String>,
    /// [`ManifestImage`]s, a line each.
    pub manifest: PathBuf,
    /// Of the manifest, hexadecimal.
    pub manifest_sha256: String,
    /// Every segment that the manifest names, in the order of their numbers.
    pub segments: Vec<Segment>,
    /// What earlier runs packed of its images, at whatever size, most recently used first.
    #[serde(default)]
    pub packs: Vec<KnownPack>,
}

/// How large the pictures of a pack are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackSize {
    /// Length of the shorter side.
    pub side: u32,
    /// Whether smaller pictures are brought up to it.
    pub bring_up: bool,
}

/// A pack that an earlier run made. It need not have every image, and it may have gone by now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownPack {
    pub sha256: String,
    pub size: PackSize,
    pub path: PathBuf,
}

/// [`PACKS_FILE`]: which packs a run works with besides those of the segments. It is there before the work begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedPacks {
    /// Digests of those that earlier runs made.
    pub used: Vec<String>,
    /// Digests of those, the segments' among them, that turned out to be damaged, also later while the run goes on.
    #[serde(default)]
    pub damaged: Vec<String>,
    /// What the run made of the images that none of them has.
    pub made: Option<MadePack>,
}

/// A pack that a run made. The file is not synced: it may be made again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadePack {
    pub file: Artifact,
    pub size: PackSize,
}

impl DatasetInput {
    /// Shorter side of the packed pictures, where it is the same in every segment.
    pub fn pack_side(&self) -> Option<u32> {
        let side = self.segments.first()?.pack_side;
        self.segments
            .iter()
            .all(|segment| segment.pack_side == side)
            .then_some(side)
    }
}

/// The images that came into a dataset at one time, as two files that never change. Versions share them: what an image is labelled with
/// is only in a version's manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Within its dataset, from 0.
    pub number: u32,
    /// The original image files, one after another.
    pub images: PathBuf,
    /// Packed pixels, see [`ManifestImage::pack_offset`]. The file may have gone to make room.
    pub pack: PathBuf,
    /// Of the pack, hexadecimal.
    pub pack_sha256: String,
    /// Shorter side of the pictures in the pack; smaller pictures are packed as they are.
    pub pack_side: u32,
}

/// One image of a dataset version: a line of its manifest, in the order of `id`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManifestImage {
    /// From 0, and the same in every version of the dataset.
    pub id: u32,
    /// Number of the segment that it lies in; manifests of before have only the one.
    #[serde(default)]
    pub segment: u32,
    /// As in the archive.
    pub path: String,
    /// Index of its class; none in an unlabelled dataset.
    pub class: Option<u32>,
    /// The part that the dataset itself puts it in.
    pub split: Split,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Where the file begins in its segment's images, and its length.
    pub offset: u64,
    pub bytes: u64,
    /// Size of the picture, upright.
    pub width: u32,
    pub height: u32,
    /// Where its pixels begin in its segment's pack: `pack_height` rows of `pack_width` pixels of 3 bytes, red, green, blue.
    pub pack_offset: u64,
    pub pack_width: u32,
    pub pack_height: u32,
    /// CRC-32 (ISO-HDLC, as in zip) of these pixels; none in manifests of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack_crc32: Option<u32>,
}

/// Base weights, resolved as far as the server can without opening them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum WeightsSource {
    /// Random initialisation.
    None,
    /// A file of safetensors or of `torch.save`, with torchvision's names; a head of other classes is left out.
    File {
        path: PathBuf,
        origin: String,
        /// Of the file, hexadecimal, where it is the server's own.
        sha256: Option<String>,
    },
    /// A hub in the manner of Hugging Face.
    Hub(HubSource),
    /// What was asked for is not there: the job fails with this message.
    Unavailable { message: String },
}

/// Where and how to fetch pretrained weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HubSource {
    /// Such as `https://hub.example`: the file is at `{endpoint}/{repository}/resolve/{revision}/model.safetensors`.
    pub endpoint: String,
    pub repository: String,
    pub revision: String,
    /// Use what is in the cache and nothing else.
    pub offline: bool,
    /// Shared by all jobs of the server: files appear in it whole, by rename.
    pub cache: PathBuf,
    /// Known SHA-256 of the file, hexadecimal, and size; what the hub itself tells is checked as well.
    pub sha256: Option<String>,
    pub bytes: Option<u64>,
    /// For gated or private repositories.
    pub token: Option<String>,
}

impl HubSource {
    /// The repository of torchvision's ImageNet weights for an architecture, in timm's conversion (same parameter names).
    pub fn imagenet_repository(architecture: Architecture) -> String {
        format!("timm/{architecture}.tv_in1k")
    }
}

/// One line of a one-shot child's stdout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case")]
pub enum WorkerMessage {
    /// "I am alive and getting on": moves the deadline, is not stored. `deadline_seconds` overrides the server's own for the time
    /// until the next message (loading and checkpointing take longer than a step).
    Alive {
        deadline_seconds: Option<u64>,
    },
    Step {
        event: StepEvent,
        progress: Progress,
    },
    Epoch {
        event: EpochEvent,
        progress: Progress,
    },
    /// Progress of work that has no losses to tell.
    Progress {
        progress: Progress,
    },
    Checkpoint {
        event: CheckpointEvent,
    },
    Log {
        event: LogEvent,
    },
    Warning {
        event: WarningEvent,
    },
    /// The child cannot get on, or, with none, can again. Moves the deadline, is not stored.
    Waiting {
        waiting: Option<WaitingFor>,
    },
    /// Training goes on from a checkpoint of an earlier attempt.
    Resumed {
        step: u64,
        epoch: u32,
    },
}

impl WorkerMessage {
    pub fn alive() -> Self {
        WorkerMessage::Alive {
            deadline_seconds: None,
        }
    }

    pub fn log(message: impl Into<String>) -> Self {
        WorkerMessage::Log {
            event: LogEvent {
                message: message.into(),
            },
        }
    }

    pub fn warning(code: impl Into<String>, message: impl Into<String>) -> Self {
        WorkerMessage::Warning {
            event: WarningEvent {
                code: code.into(),
                message: message.into(),
            },
        }
    }

    /// The row of the events table that it becomes, if any.
    pub fn event(&self) -> Option<(EventKind, serde_json::Value)> {
        let (kind, data) = match self {
            WorkerMessage::Alive { .. } | WorkerMessage::Waiting { .. } => return None,
            WorkerMessage::Step { event, .. } => (EventKind::Step, serde_json::to_value(event)),
            WorkerMessage::Epoch { event, .. } => (EventKind::Epoch, serde_json::to_value(event)),
            WorkerMessage::Progress { progress } => (EventKind::Progress, serde_json::to_value(progress)),
            WorkerMessage::Checkpoint { event } => (EventKind::Checkpoint, serde_json::to_value(event)),
            WorkerMessage::Log { event } => (EventKind::Log, serde_json::to_value(event)),
            WorkerMessage::Warning { event } => (EventKind::Warning, serde_json::to_value(event)),
            WorkerMessage::Resumed { step, epoch } => (
                EventKind::Rewind,
                Ok(serde_json::json!({"to_step": step, "to_epoch": epoch})),
            ),
        };
        data.ok().map(|data| (kind, data))
    }
}

/// A file that a child made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Name within the run directory.
    pub file: String,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    pub bytes: u64,
}

/// A large file that a child made: it is not hashed there, because the server hashes what it takes in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkFile {
    /// Name within the run directory.
    pub file: String,
    pub bytes: u64,
}

/// [`RESULT_FILE`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum RunResult {
    Ingested(Box<IngestResult>),
    Trained(Box<TrainResult>),
    /// `evaluation.json`: an [`Evaluation`](crate::domain::evaluation::Evaluation).
    Evaluated {
        evaluation: Artifact,
    },
    /// `lr_find.json`: an [`LrCurve`](crate::domain::lr_curve::LrCurve).
    LrFound {
        curve: Artifact,
    },
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
    /// What was uploaded is no model.
    Unimportable {
        error: ImportFault,
    },
    /// The model in the format that was asked for. The same model and wish always make the same bytes.
    Exported {
        file: Artifact,
    },
    /// The dataset cannot be used.
    Rejected {
        error: DatasetError,
        report: Option<Box<ReportSummary>>,
        report_entries: Option<Artifact>,
    },
    /// The job cannot be done, and trying again would not help.
    Failed {
        error: JobError,
    },
}

/// A dataset that was understood.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IngestResult {
    pub layout: Layout,
    pub images: u64,
    pub classes: Vec<Class>,
    pub splits: SplitCounts,
    /// See [`ContentDigest`](crate::domain::content::ContentDigest).
    pub content_sha256: String,
    pub report: ReportSummary,
    /// [`ManifestImage`]s, a line each.
    pub manifest: Artifact,
    /// The original image files, one after another.
    pub images_file: BulkFile,
    pub pack: BulkFile,
    /// [`crate::domain::dataset::ReportEntry`]s, a line each.
    pub report_entries: Artifact,
}

/// Images that were classified.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PredictedResult {
    /// Rows in each of the files.
    pub images: u64,
    /// Rows with an error instead of predictions.
    pub errors: u64,
    /// [`PredictionRow`](crate::domain::predictions::PredictionRow)s, a line each.
    pub jsonl: Artifact,
    /// The same as CSV (RFC 4180).
    pub csv: Artifact,
}

/// A model that was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainResult {
    pub stop_reason: StopReason,
    pub card: ModelCard,
    /// `model.safetensors`
    pub weights: Artifact,
    /// `model.json`, which holds `card`.
    pub card_file: Artifact,
    /// Of frozen stages, which the server keeps for later jobs.
    #[serde(default)]
    pub activations: Vec<UsedActivations>,
    /// `evaluation.json`: an [`Evaluation`](crate::domain::evaluation::Evaluation) on the validation images; none where there are none.
    #[serde(default)]
    pub evaluation: Option<Artifact>,
}

/// A model that was brought, as files of ours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImportResult {
    pub card: ModelCard,
    /// `model.safetensors`
    pub weights: Artifact,
    /// `model.json`, which holds `card`.
    pub card_file: Artifact,
}

/// Why an uploaded file is no model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportFault {
    /// Whether files of its kind are not taken at all.
    pub unsupported: bool,
    /// The field of the request that does not fit the file.
    pub pointer: Option<String>,
    pub message: String,
}
