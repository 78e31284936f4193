//! What a child reports while it works.

use serde::{Deserialize, Serialize};

use crate::domain::jobs::{
    event::{CheckpointEvent, EpochEvent, EventKind, LogEvent, StepEvent, WarningEvent},
    job::{Progress, WaitingFor},
};

/// One line of a one-shot child's stdout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case")]
pub enum WorkerMessage {
    /// "I am making progress": extends the deadline, is not stored. `deadline_seconds` overrides the server's own until the next message
    /// (loading and checkpointing take longer than a step).
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
    /// Progress of work without losses.
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
    /// The child is stalled or, with none, no longer is. Extends the deadline, is not stored.
    Waiting {
        waiting: Option<WaitingFor>,
    },
    /// Training resumes from a checkpoint of an earlier attempt.
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

    /// The row of the events table for it, if any.
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
