//! A job as callers see it: its states, its progress, how it ended.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::predictions::BatchPredictions;
use crate::domain::{
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

    /// Whether a job stays in this state for ever.
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

/// Why a job failed. `data_damaged`: something that it reads is damaged on the server's disk and cannot be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// The dataset cannot train.
    InvalidData,
    /// The base weights could not be had.
    WeightsUnavailable,
    OutOfMemory,
    /// The loss or the gradients stopped being numbers before any epoch was better than guessing.
    Diverged,
    /// The worker ended without a result, too often.
    WorkerCrashed,
    /// The worker made no progress, too often.
    WorkerStalled,
    /// The worker could not be started.
    WorkerLost,
    TimeLimit,
    DiskFull,
    /// Something that the job reads is damaged on the server's disk and cannot be made again.
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

/// How far a running job has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    pub epoch: u32,
    pub epochs: u32,
    pub step: u64,
    /// Steps of the whole job. A step of a `batch-predict` is an image.
    pub steps: u64,
    pub images_per_second: Option<f64>,
    pub eta_seconds: Option<f64>,
    /// What the job waits for; null while it gets on. It goes on by itself.
    #[serde(default)]
    pub waiting: Option<WaitingFor>,
}

impl Progress {
    /// Of a job that has not told anything yet.
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

/// What work waits for that cannot get on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitingFor {
    /// The server's disk is full: delete what is no longer needed, or make room in another way.
    Disk,
}

/// The epoch whose weights are kept: the best by `early_stopping.monitor`, or else highest validation accuracy, then lowest validation loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Best {
    pub epoch: u32,
    pub val_loss: Option<f64>,
    pub val_accuracy: Option<f64>,
}

/// Why a job stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// Everything was done: every epoch of a training.
    Completed,
    /// `early_stopping` saw nothing better for long enough; the best weights became the model.
    EarlyStopped,
    /// `max_seconds` were over; the best weights so far became the model.
    Budget,
    /// The loss or the gradients stopped being numbers after an epoch that was better than guessing; the best weights so far became the
    /// model. A warning says at which step. Without such an epoch the job fails.
    Diverged,
    Cancelled,
}

/// The dataset version that a job is pinned to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DatasetVersion {
    pub id: DatasetId,
    pub version: u32,
    /// What the version holds, as one SHA-256. Null while the dataset is being read.
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
    /// The name of the model that it makes, or by default that of the model that it measures or predicts with.
    pub name: Name,
    pub status: JobStatus,
    /// The resolved spec, defaults filled in.
    pub spec: Spec,
    pub dataset: DatasetVersion,
    /// The model that it made; only jobs of kind `train` make one.
    pub model: Option<ModelId>,
    /// What a job of kind `batch-predict` left.
    pub predictions: Option<BatchPredictions>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// Times that a worker was started for it.
    pub attempt: u32,
    /// Queued jobs before it, from 0; null unless queued.
    pub queue_position: Option<u64>,
    pub device: Option<String>,
    pub progress: Option<Progress>,
    pub best: Option<Best>,
    pub stop_reason: Option<StopReason>,
    pub error: Option<JobError>,
}
