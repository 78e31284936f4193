//! What the end of a child means, in words for the person whose job it was.

use std::{path::Path, time::Duration};

use super::supervisor::{Outcome, Report};
use crate::{
    domain::job::{FailureCode, JobError},
    process,
};

/// A child that ended without being of use: did the machine fail it, did it break down, did it hang?
pub fn of_child<C>(report: &Report<C>, data_dir: &Path) -> JobError {
    match &report.outcome {
        Outcome::NotStarted(error) => JobError::new(
            FailureCode::WorkerLost,
            format!(
                "the worker program could not be started ({}); see that the server's --worker names it and that the host has \
                memory and processes to spare, then try again",
                error.kind()
            ),
        ),
        Outcome::Stalled(allowed) => stalled(*allowed),
        Outcome::Ended { status, .. } if status.success() => crashed("without a result", report, data_dir),
        Outcome::Ended { status, .. } => {
            crashed(&format!("with {}", process::describe(*status)), report, data_dir)
        }
        Outcome::Stopped { .. } => crashed("when it was asked to", report, data_dir),
        Outcome::Unknown(_) => crashed("in a way that the kernel does not tell", report, data_dir),
    }
}

fn stalled(allowed: Duration) -> JobError {
    let message = format!(
        "the worker made no progress for {} s and was killed; the server's --step-deadline-seconds (between two signs of life) and \
        --load-deadline-seconds (before the first) allow more",
        allowed.as_secs()
    );
    JobError::new(FailureCode::WorkerStalled, message)
}

fn crashed<C>(how: &str, report: &Report<C>, data_dir: &Path) -> JobError {
    let mut message = format!("the worker ended {how}");
    if let Some(line) = &report.last_line {
        // A caller has no business with the server's folders.
        let line = line.replace(&*data_dir.to_string_lossy(), "DATA");
        message = format!("{message}; its last words: {line}");
    }
    JobError::new(
        FailureCode::WorkerCrashed,
        format!("{message} (the log has more)"),
    )
}

/// The server could not take over what a child made.
pub fn of_adoption() -> JobError {
    JobError::new(
        FailureCode::WorkerCrashed,
        "the files that the worker left are not what its result says they are; the server's log has the details",
    )
}

pub fn internal(what: &str) -> JobError {
    JobError::new(
        FailureCode::Internal,
        format!("{what}; the server's log has the details"),
    )
}
