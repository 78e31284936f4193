//! A worker run whose caller waits: previews, thumbnails, exports, imports and added images. It is not recorded in the database, and it is
//! stopped when the caller disconnects.

use std::{path::Path, time::Duration};

use super::{
    child::{self, End},
    failure,
    paths::ScratchDir,
    supervisor::Stop,
};
use crate::{
    domain::{
        damage::Damaged,
        jobs::job::{FailureCode, JobError},
    },
    error::{Error, Kind, Result},
    files::digest,
    jobs::{blocking::blocking, context::Context},
    process::log::Log,
    protocol::{Artifact, RunResult, RunSpec},
};

/// What a child has to do, and its deadline.
pub struct WaitedRun {
    pub run: RunSpec,
    pub deadline: Duration,
}

enum Cause {
    Shutdown,
    TooSlow,
}

/// Runs a child and returns its result and the directory with its files, which is removed when dropped.
///
/// # Errors
/// `too_slow` after the deadline, what `refused` makes of a failure that the user can correct, and those of [`in_folder`].
pub async fn run(
    context: &Context,
    waited: WaitedRun,
    too_slow: impl FnOnce() -> Error,
    refused: impl FnOnce(JobError) -> Error,
) -> Result<(ScratchDir, RunResult)> {
    let WaitedRun { run, deadline } = waited;
    let kind = run.kind();
    let runs = context.paths.runs();
    let dir = blocking(move || Ok(ScratchDir::begin(&runs, &run)?)).await?;
    let log = context.log(&kind);
    match in_folder(context, kind, dir.path(), log, Some(deadline)).await? {
        None => Err(too_slow()),
        Some(RunResult::Failed(error)) => Err(refused(error)),
        Some(result) => Ok((dir, result)),
    }
}

/// The same in a directory that the caller has created, with the run file in it; a failure that the child explains is returned as a result.
/// `None` if the child missed its deadline; without a deadline it may run as long as it makes progress.
///
/// # Errors
/// `shutting-down`, `worker-lost`, `worker-stalled`, and failures of the worker.
pub async fn in_folder(
    context: &Context,
    kind: &str,
    dir: &Path,
    log: Log,
    deadline: Option<Duration>,
) -> Result<Option<RunResult>> {
    let too_slow = async {
        match deadline {
            Some(deadline) => tokio::time::sleep(deadline).await,
            None => std::future::pending().await,
        }
    };
    let stop = async {
        let cause = tokio::select! {
            () = context.shutdown.cancelled() => Cause::Shutdown,
            () = too_slow => Cause::TooSlow,
        };
        Stop::at_once(cause, &context.config.limits)
    };
    match child::run(context, dir, log, child::nobody, stop).await {
        End::Done(result) => Ok(Some(result)),
        End::Stopped {
            cause: Cause::Shutdown,
            ..
        } => Err(failure::shutting_down()),
        End::Stopped {
            cause: Cause::TooSlow,
            ..
        } => Ok(None),
        End::Broken(broken) if broken.is_stalled() && deadline.is_some() => Ok(None),
        End::Broken(broken) => Err(broken.to_caller(kind)),
    }
}

/// A result of the wrong kind.
pub fn of_another_kind(kind: &str) -> Error {
    Error::internal(anyhow::anyhow!("{kind}: a result of the wrong kind"))
}

/// The error that the caller gets for a failure that the child explains.
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
        Kind::Unavailable => error.retry_after(failure::RETRY_AFTER),
        _ => error,
    }
}

/// Verifies that a file in the child's directory is the one that its result describes.
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
        "{} does not match the worker's result",
        made.file
    )))
}
