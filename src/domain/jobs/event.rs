//! What a job reports while it runs: the rows of the events table, the lines of the event stream, the points of the curves.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::job::JobStatus;
use crate::domain::time::Timestamp;

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// [`StatusEvent`]
    Status,
    /// [`StepEvent`], at most 10 a second.
    Step,
    /// [`EpochEvent`]
    Epoch,
    /// [`Progress`](super::job::Progress) of work without losses.
    Progress,
    /// [`CheckpointEvent`]
    Checkpoint,
    /// [`LogEvent`]
    Log,
    /// [`WarningEvent`]
    Warning,
    /// [`RewindEvent`]
    Rewind,
    /// [`EndEvent`], the last one of a job.
    End,
}

impl EventKind {
    pub const ALL: [EventKind; 9] = [
        EventKind::Status,
        EventKind::Step,
        EventKind::Epoch,
        EventKind::Progress,
        EventKind::Checkpoint,
        EventKind::Log,
        EventKind::Warning,
        EventKind::Rewind,
        EventKind::End,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Status => "status",
            EventKind::Step => "step",
            EventKind::Epoch => "epoch",
            EventKind::Progress => "progress",
            EventKind::Checkpoint => "checkpoint",
            EventKind::Log => "log",
            EventKind::Warning => "warning",
            EventKind::Rewind => "rewind",
            EventKind::End => "end",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// One event of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Always `event`.
    #[schema(example = "event")]
    pub object: String,
    /// The job's own sequence, from 1, without gaps as long as the job's `events_pruned_at` is null.
    pub seq: i64,
    pub kind: EventKind,
    pub created_at: Timestamp,
    /// The payload of this kind.
    #[schema(value_type = Object)]
    pub data: serde_json::Value,
}

/// The job's state changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StatusEvent {
    pub status: JobStatus,
    pub attempt: u32,
    pub device: Option<String>,
    /// Why, where it is not obvious: `interrupted`, `worker_crashed`.
    pub reason: Option<String>,
}

/// Progress of training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StepEvent {
    /// Optimiser steps since the job began, from 1.
    pub step: u64,
    /// From 1.
    pub epoch: u32,
    /// Mean over the images since the previous step event.
    pub train_loss: f64,
    /// Learning rate of the head.
    pub lr: f64,
    pub images_per_second: f64,
    /// Mean loss between the domains since the previous step event, without its weight; only where images of a target domain take part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alignment_loss: Option<f64>,
    /// Mean divergence from the teachers since the previous step event, without its weight; only where there are teachers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distillation_loss: Option<f64>,
}

/// One epoch is complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EpochEvent {
    /// From 1.
    pub epoch: u32,
    /// Optimiser steps since the job began.
    pub step: u64,
    /// Mean over the epoch's images, while training on them.
    pub train_loss: f64,
    /// Fraction of the epoch's images classified correctly while training on them, 0 to 1; null where labels do not take part.
    pub train_accuracy: Option<f64>,
    /// Null where there are no validation images.
    pub val_loss: Option<f64>,
    pub val_accuracy: Option<f64>,
    /// Only with several labels: mean average precision on the validation images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_map: Option<f64>,
    /// Learning rate of the head at the epoch's last step; null where the head is not trained step by step.
    pub lr: Option<f64>,
    /// Of the solver `lbfgs`: the strength of the penalty that this row is for. Each value that it tries is told as an epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l2: Option<f64>,
    /// Mean loss between the domains over the epoch, without its weight; only where images of a target domain take part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alignment_loss: Option<f64>,
    /// Mean divergence from the teachers over the epoch, without its weight; only where there are teachers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distillation_loss: Option<f64>,
    /// Only of a pretraining, after the first epoch, the last one, and about twenty in between: fraction of the validation images whose class
    /// is that of the 20 most similar training images, weighted by their similarity; not where the images have no labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knn_accuracy: Option<f64>,
    /// Likewise: root of the mean squared distance of the training images' feature vectors, each of length 1, from their mean. 0: all are the
    /// same, the features have collapsed; at most 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature_spread: Option<f64>,
    /// Duration of the epoch including its validation.
    pub seconds: f64,
    /// Fraction of the time in which training waited for data, 0 to 1.
    pub data_wait: f64,
    /// Whether these are the best weights so far.
    pub best: bool,
}

/// The state of training is on disk: an interrupted run resumes from here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CheckpointEvent {
    pub step: u64,
    pub epoch: u32,
    /// File name within the attempt's directory.
    pub file: String,
    pub sha256: String,
    pub bytes: u64,
}

/// Something a person may want to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogEvent {
    pub message: String,
}

/// Something a person should know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WarningEvent {
    pub code: String,
    pub message: String,
}

/// A new attempt resumes from an earlier state: what was reported about later steps no longer counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RewindEvent {
    /// Steps up to and including this one remain valid.
    pub to_step: u64,
    pub to_epoch: u32,
}

/// The job has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EndEvent {
    pub status: JobStatus,
    pub model: Option<crate::domain::id::ModelId>,
    pub error: Option<super::job::JobError>,
}
