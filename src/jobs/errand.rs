//! A child that works while its caller waits: previews, thumbnails, exports, imports. It has a deadline, nothing it says is written
//! down, and no row of the database knows of it; a caller that leaves takes it along.

use std::{path::Path, time::Duration};

use tokio::sync::mpsc;

use super::{
    context::Context,
    failure,
    paths::Passing,
    supervisor::{Outcome, Run, Stop, supervise},
};
use crate::{
    digest,
    domain::{
        damage::Damaged,
        job::{FailureCode, JobError},
    },
    error::{Error, Kind, Result},
    protocol::{Artifact, RunResult, RunSpec},
};

/// What a child is to do.
pub struct Errand {
    /// Which of the worker's commands, such as `preview`; also the name of the log.
    pub command: &'static str,
    pub run: RunSpec,
    pub deadline: Duration,
}

enum Cause {
    Shutdown,
    TooSlow,
}

/// Sends a child and waits for what it brings: its result, and the folder that it made its files in, which goes when it is dropped.
///
/// # Errors
/// `too_slow` after the deadline, what `refused` makes of a failure that a person can do something about, `shutting-down`, `worker-lost`,
/// and failures of the worker.
pub async fn send(
    context: &Context,
    errand: Errand,
    too_slow: impl FnOnce() -> Error,
    refused: impl FnOnce(JobError) -> Error,
) -> Result<(Passing, RunResult)> {
    let runs = context.paths.runs();
    let run = errand.run;
    let dir = tokio::task::spawn_blocking(move || Passing::begin(&runs, &run)).await;
    let dir = dir.map_err(Error::internal)??;
    let child = Run {
        program: &context.worker,
        command: errand.command,
        dir: dir.path(),
        log: context.log(&errand.command),
        limits: &context.config.limits,
    };
    let stop = async {
        let cause = tokio::select! {
            () = context.shutdown.cancelled() => Cause::Shutdown,
            () = tokio::time::sleep(errand.deadline) => Cause::TooSlow,
        };
        Stop::at_once(cause, &context.config.limits)
    };
    let (sender, mut messages) = mpsc::channel(16);
    let nobody_listens = async { while messages.recv().await.is_some() {} };
    let (report, ()) = tokio::join!(supervise(&child, sender, stop), nobody_listens);
    let data_dir = context.paths.data_dir();
    match report.outcome {
        Outcome::Ended {
            result: Some(RunResult::Failed { error }),
            ..
        } => Err(refused(error)),
        Outcome::Ended {
            result: Some(result), ..
        } => Ok((dir, result)),
        Outcome::Stopped {
            cause: Cause::Shutdown,
            ..
        } => Err(failure::shutting_down()),
        Outcome::Stopped {
            cause: Cause::TooSlow,
            ..
        }
        | Outcome::Stalled(_) => Err(too_slow()),
        _ => Err(failure::to_caller(errand.command, &report, data_dir)),
    }
}

/// What a failure that the child explains is to the caller.
pub fn refusal(slug: &'static str, error: JobError) -> Error {
    if error.code == FailureCode::DataDamaged {
        return Error::new(Kind::Damaged, Damaged::SLUG, error.message);
    }
    let kind = match error.code {
        FailureCode::DiskFull => Kind::DiskFull,
        FailureCode::OutOfMemory => Kind::Unavailable,
        _ => Kind::Invalid,
    };
    let error = Error::new(kind, slug, error.message);
    match kind {
        Kind::Unavailable => error.retry_after(failure::COME_BACK),
        _ => error,
    }
}

/// Whether a file in the child's folder is what the child says that it is.
///
/// # Errors
/// It is not, or it is larger than `max_bytes`.
pub fn check(dir: &Path, made: &Artifact, max_bytes: u64) -> Result<()> {
    let known = !made.file.contains('/')
        && made.bytes <= max_bytes
        && digest::of_file(&dir.join(&made.file))? == (made.sha256.clone(), made.bytes);
    if known {
        return Ok(());
    }
    Err(Error::internal(anyhow::anyhow!(
        "{} is not the file that the worker says it is",
        made.file
    )))
}
