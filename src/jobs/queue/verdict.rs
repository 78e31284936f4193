//! What becomes of a job after an attempt.

use crate::{
    domain::jobs::job::JobError,
    protocol::{Artifact, PredictedResult, TrainResult},
};

/// What becomes of the job after this attempt.
#[derive(Debug)]
pub enum Verdict {
    Trained(Box<TrainResult>),
    /// It found something, and made no model.
    Found(Artifact),
    Predicted(Box<PredictedResult>),
    Failed(JobError),
    Died(JobError),
    Drained,
    /// The disk was full, and it could not wait for room itself.
    DiskFull,
    Cancelled,
    /// It belongs to another attempt, or to nobody: nothing more is done.
    Lost,
}

impl Verdict {
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Trained(_) => "trained",
            Verdict::Found(_) => "found",
            Verdict::Predicted(_) => "predicted",
            Verdict::Failed(_) => "failed",
            Verdict::Died(_) => "died",
            Verdict::Drained => "drained",
            Verdict::DiskFull => "disk full",
            Verdict::Cancelled => "cancelled",
            Verdict::Lost => "lost",
        }
    }
}
