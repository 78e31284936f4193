//! How a child ended, as a message for the owner of the job.

use std::{path::Path, time::Duration};

use anyhow::anyhow;

use super::supervisor::{Outcome, Report};
use crate::{
    domain::jobs::job::{FailureCode, JobError},
    error::{Error, Kind},
    process,
    protocol::{EXIT_DEVICE_LOST, EXIT_DISK_FULL},
};

const DISK_FULL: &str =
    "the server's disk is full; delete datasets or models that are no longer needed and try again";

const OUT_OF_MEMORY: &str = "the worker ran out of memory and was ended by the kernel; ask for less at a time (a smaller batch, smaller images \
    or a smaller model), or give the server more memory";

/// When a client should retry.
pub const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The error of a child that ended without a result: killed from outside, crashed, or hung.
pub fn of_child<C>(report: &Report<C>, data_dir: &Path) -> JobError {
    match &report.outcome {
        Outcome::NotStarted(error) => JobError::new(
            FailureCode::WorkerLost,
            format!(
                "the worker program could not be started ({}); check that the server's --worker is correct and that the host has \
                enough free memory and processes, then try again",
                error.kind()
            ),
        ),
        Outcome::Stalled(allowed) => stalled(*allowed),
        Outcome::Ended { status, .. } if status.code() == Some(EXIT_DISK_FULL) => {
            JobError::new(FailureCode::DiskFull, DISK_FULL)
        }
        Outcome::Ended { status, .. } if status.code() == Some(EXIT_DEVICE_LOST) => JobError {
            code: FailureCode::DeviceLost,
            ..crashed("because its device failed", report, data_dir)
        },
        Outcome::Ended { status, .. } if status.ran_out_of_memory() => {
            JobError::new(FailureCode::OutOfMemory, OUT_OF_MEMORY)
        }
        Outcome::Ended { status, .. } if status.success() => crashed("without a result", report, data_dir),
        Outcome::Ended { status, .. } => {
            crashed(&format!("with {}", process::describe(*status)), report, data_dir)
        }
        Outcome::Stopped { .. } => crashed("when it was asked to stop", report, data_dir),
        Outcome::Unknown(_) => crashed("in an unknown way", report, data_dir),
    }
}

fn stalled(allowed: Duration) -> JobError {
    let message = format!(
        "the worker made no progress for {} s and was killed; to allow more time, raise the server's --step-deadline-seconds (between \
        two reports of progress) or --load-deadline-seconds (before the first)",
        allowed.as_secs()
    );
    JobError::new(FailureCode::WorkerStalled, message)
}

fn crashed<C>(how: &str, report: &Report<C>, data_dir: &Path) -> JobError {
    let mut message = format!("the worker ended {how}");
    if let Some(line) = &report.last_line {
        // Clients must not see the server's directories.
        let line = line.replace(&*data_dir.to_string_lossy(), "DATA");
        message = format!("{message}; last line of its log: {line}");
    }
    JobError::new(
        FailureCode::WorkerCrashed,
        format!("{message} (see the log for details)"),
    )
}

/// The error for a client that waits for the child. If the child was killed from outside or could not be started, a retry may succeed; a
/// child that crashed would crash again.
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
            let detail = "the worker for this request made no progress and was killed; try again when the server is less busy";
            return Error::new(Kind::Timeout, "worker-stalled", detail).with_context(context);
        }
        Outcome::Stopped { .. } => false,
    };
    if !lost {
        return Error::internal(context);
    }
    tracing::warn!("{context}");
    let detail = "the worker for this request was killed or could not be started, which happens when the host runs \
        out of memory; try again in a moment";
    Error::new(Kind::Unavailable, "worker-lost", detail)
        .retry_after(RETRY_AFTER)
        .with_context(context)
}

/// The child returned a result of another kind than requested.
pub fn of_another_kind() -> JobError {
    JobError::new(
        FailureCode::WorkerCrashed,
        "the worker returned a result of the wrong kind; the server's log has the details",
    )
}

/// For a client whose child stops because the server does.
pub fn shutting_down() -> Error {
    let detail = "the server is stopping; try again when it has restarted";
    Error::new(Kind::Unavailable, "shutting-down", detail).retry_after(Duration::from_secs(10))
}

/// The server could not store what a child wrote.
pub fn of_adoption() -> JobError {
    JobError::new(
        FailureCode::WorkerCrashed,
        "the worker's files do not match its result; the server's log has the details",
    )
}

pub fn internal(what: &str) -> JobError {
    JobError::new(
        FailureCode::Internal,
        format!("{what}; the server's log has the details"),
    )
}
