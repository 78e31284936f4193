//! What happens to a job after an attempt.

use crate::{
    domain::jobs::job::JobError,
    protocol::{FoundResult, PredictedResult, TrainResult},
};

/// What happens to the job after this attempt.
#[derive(Debug)]
pub enum Verdict {
    Trained(Box<TrainResult>),
    /// It has a result, but no model.
    Found(FoundResult),
    Predicted(Box<PredictedResult>),
    Failed(JobError),
    Died(JobError),
    /// Its device failed.
    DeviceLost(JobError),
    Drained,
    /// The disk was full, and the child could not wait for space itself.
    DiskFull,
    Cancelled,
    /// The job belongs to another attempt, or to none: nothing more is done.
    Lost,
}

impl Verdict {
    /// What it failed of, where it did.
    pub fn fault(&self) -> Option<&str> {
        match self {
            Verdict::Failed(error) | Verdict::Died(error) | Verdict::DeviceLost(error) => {
                Some(&error.message)
            }
            _ => None,
        }
    }

    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Trained(_) => "trained",
            Verdict::Found(_) => "found",
            Verdict::Predicted(_) => "predicted",
            Verdict::Failed(_) => "failed",
            Verdict::Died(_) => "died",
            Verdict::DeviceLost(_) => "device lost",
            Verdict::Drained => "drained",
            Verdict::DiskFull => "disk full",
            Verdict::Cancelled => "cancelled",
            Verdict::Lost => "lost",
        }
    }
}
