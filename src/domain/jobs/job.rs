//! A job as callers see it: its states, its progress, how it ended.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::predictions::BatchPredictions;
use crate::domain::{
    access::Holder,
    id::{DatasetId, JobId, ModelId},
    name::Name,
    spec::{JobKind, Spec},
    time::Timestamp,
};

/// `queued -> running -> succeeded | failed | cancelled`, and `running -> queued` when an attempt is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl JobStatus {
    pub const ALL: [JobStatus; 5] = [
        JobStatus::Queued,
        JobStatus::Running,
        JobStatus::Succeeded,
        JobStatus::Failed,
        JobStatus::Cancelled,
    ];

    /// Whether this state is final.
    pub fn is_end(self) -> bool {
        matches!(
            self,
            JobStatus::Succeeded | JobStatus::Failed | JobStatus::Cancelled
        )
    }

    pub fn as_str(self) -> &'static str {
        match self {
            JobStatus::Queued => "queued",
            JobStatus::Running => "running",
            JobStatus::Succeeded => "succeeded",
            JobStatus::Failed => "failed",
            JobStatus::Cancelled => "cancelled",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// Why a job failed. `data_damaged`: data that it reads is damaged on the server's disk and cannot be regenerated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// The dataset cannot be trained on.
    InvalidData,
    /// The base weights could not be obtained.
    WeightsUnavailable,
    OutOfMemory,
    /// The loss or the gradients became infinite or NaN before any epoch was better than guessing.
    Diverged,
    /// The worker ended without a result too often.
    WorkerCrashed,
    /// The worker made no progress too often.
    WorkerStalled,
    /// The worker could not be started.
    WorkerLost,
    /// The GPU failed under the job too often, although it worked before and after.
    DeviceLost,
    TimeLimit,
    DiskFull,
    /// Data that the job reads is damaged on the server's disk and cannot be regenerated.
    DataDamaged,
    Internal,
}

/// Why a job failed, and what to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobError {
    pub code: FailureCode,
    pub message: String,
}

impl JobError {
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// The progress of a running job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    pub epoch: u32,
    pub epochs: u32,
    pub step: u64,
    /// Steps of the whole job. In a `batch-predict` job a step is an image.
    pub steps: u64,
    pub images_per_second: Option<f64>,
    pub eta_seconds: Option<f64>,
    /// What the job is waiting for; null while it makes progress, or is in the queue for nothing but its turn. It continues by itself.
    #[serde(default)]
    pub waiting: Option<WaitingFor>,
}

impl Progress {
    /// Of a job that has not reported anything yet.
    pub const NONE: Progress = Progress {
        epoch: 0,
        epochs: 0,
        step: 0,
        steps: 0,
        images_per_second: None,
        eta_seconds: None,
        waiting: None,
    };
}

/// What stalled work is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitingFor {
    /// The server's disk is full: delete what is no longer needed, or free space in another way.
    Disk,
    /// As many jobs of the job's owner run as its key may have running; it begins when one of them has ended.
    Quota,
}

/// The epoch whose weights are kept: the best by `early_stopping.monitor`, or else the one with the highest validation accuracy, then the
/// lowest validation loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Best {
    pub epoch: u32,
    pub val_loss: Option<f64>,
    pub val_accuracy: Option<f64>,
}

/// Why a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// Everything was done: all epochs of a training.
    Completed,
    /// `early_stopping` saw no improvement for long enough; the best weights became the model.
    EarlyStopped,
    /// `max_seconds` ran out; the best weights so far became the model.
    Budget,
    /// The loss or the gradients became infinite or NaN after an epoch that was better than guessing; the best weights so far became the
    /// model. A warning names the step. Without such an epoch the job fails.
    Diverged,
    Cancelled,
}

/// The dataset version that a job is pinned to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DatasetVersion {
    pub id: DatasetId,
    pub version: u32,
    /// The content of the version, as one SHA-256. Null while the dataset is being read.
    pub content_sha256: Option<String>,
}

/// A job.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Job {
    pub id: JobId,
    /// Always `job`.
    #[schema(example = "job")]
    pub object: String,
    pub kind: JobKind,
    /// The name of the model that it produces, or by default that of the model that it evaluates or predicts with.
    pub name: Name,
    pub status: JobStatus,
    /// The resolved spec, with defaults filled in.
    pub spec: Spec,
    pub dataset: DatasetVersion,
    /// The model that it produced; only jobs of kind `train` produce one.
    pub model: Option<ModelId>,
    /// The output of a job of kind `batch-predict`.
    pub predictions: Option<BatchPredictions>,
    pub created_at: Timestamp,
    /// The key that submitted it, to which its model belongs as well; null where no key was needed.
    pub owner: Option<Holder>,
    /// Trace of the request that submitted it, 32 hexadecimal digits; its log and the server's name it. Only where the request had a
    /// `traceparent` (W3C Trace Context).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "0af7651916cd43dd8448eb211c80319c")]
    pub trace_id: Option<String>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// When the events of single steps were removed, by `--keep-events`; null while all are there.
    #[serde(default)]
    pub events_pruned_at: Option<Timestamp>,
    /// How often a worker was started for it.
    pub attempt: u32,
    /// Queued jobs before it, from 0; null unless queued.
    pub queue_position: Option<u64>,
    pub device: Option<String>,
    pub progress: Option<Progress>,
    pub best: Option<Best>,
    pub stop_reason: Option<StopReason>,
    pub error: Option<JobError>,
}
