//! What the end of a child means, in words for the person whose job it was.

use std::{path::Path, time::Duration};

use anyhow::anyhow;

use super::supervisor::{Outcome, Report};
use crate::{
    domain::jobs::job::{FailureCode, JobError},
    error::{Error, Kind},
    process,
    protocol::EXIT_DISK_FULL,
};

const DISK_FULL: &str =
    "the server's disk is full; delete datasets or models that are no longer needed and try again";

/// When a caller may find the host with more room.
pub const COME_BACK: Duration = Duration::from_secs(5);

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
        Outcome::Ended { status, .. } if status.code() == Some(EXIT_DISK_FULL) => {
            JobError::new(FailureCode::DiskFull, DISK_FULL)
        }
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

/// The same for a caller who waits for the child. One that was taken away, or could not be started, can be had again; one that breaks down
/// over what it is to do would do so again.
pub fn to_caller<C>(command: &str, report: &Report<C>, data_dir: &Path) -> Error {
    let of_child = of_child(report, data_dir);
    if of_child.code == FailureCode::DiskFull {
        return Error::new(Kind::DiskFull, "insufficient-storage", of_child.message);
    }
    let context = anyhow!("{command}: {}", of_child.message);
    let lost = match &report.outcome {
        Outcome::NotStarted(_) | Outcome::Unknown(_) => true,
        Outcome::Ended { status, .. } => process::was_ended_by_others(*status),
        Outcome::Stalled(_) => {
            let detail = "the worker that was to do this made no progress and was ended; try again when the server has less to do";
            return Error::new(Kind::Timeout, "worker-stalled", detail).with_context(context);
        }
        Outcome::Stopped { .. } => false,
    };
    if !lost {
        return Error::internal(context);
    }
    tracing::warn!("{context}");
    let detail = "the worker that was to do this was ended before it was done, or could not be started, as happens on a host without \
        memory to spare; try again in a moment";
    Error::new(Kind::Unavailable, "worker-lost", detail)
        .retry_after(COME_BACK)
        .with_context(context)
}

/// A child that brought what it was not asked for.
pub fn of_another_kind() -> JobError {
    JobError::new(
        FailureCode::WorkerCrashed,
        "the worker brought a result of another kind of work; the server's log has the details",
    )
}

/// For a caller whose child leaves because the server does.
pub fn shutting_down() -> Error {
    let detail = "the server is stopping; try again when it is back";
    Error::new(Kind::Unavailable, "shutting-down", detail).retry_after(Duration::from_secs(10))
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
