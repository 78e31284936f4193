//! A child that works while its caller waits: previews, thumbnails, exports, imports. It has a deadline, nothing it says is written
//! down, and no row of the database knows of it; a caller that leaves takes it along.

use std::{path::Path, time::Duration};

use tempfile::TempDir;
use tokio::sync::mpsc;

use super::{
    context::Context,
    failure, paths,
    supervisor::{Outcome, Run, supervise},
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
/// `too_slow` after the deadline, what `refused` makes of a failure that a person can do something about, `shutting-down`, and failures
/// of the worker.
pub async fn send(
    context: &Context,
    errand: Errand,
    too_slow: impl FnOnce() -> Error,
    refused: impl FnOnce(JobError) -> Error,
) -> Result<(TempDir, RunResult)> {
    let runs = context.paths.runs();
    let run = errand.run;
    let dir = tokio::task::spawn_blocking(move || paths::begin_passing(&runs, &run)).await;
    let dir = dir.map_err(Error::internal)??;
    let child = Run {
        program: &context.worker,
        command: errand.command,
        dir: dir.path(),
        log: context.log(&errand.command),
        limits: &context.config.limits,
    };
    let stop = async {
        tokio::select! {
            () = context.shutdown.cancelled() => Cause::Shutdown,
            () = tokio::time::sleep(errand.deadline) => Cause::TooSlow,
        }
    };
    let (sender, mut messages) = mpsc::channel(16);
    let nobody_listens = async { while messages.recv().await.is_some() {} };
    let (report, ()) = tokio::join!(supervise(&child, sender, stop), nobody_listens);
    let broken = failure::of_child(&report, context.paths.data_dir());
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
        } => {
            let detail = "the server is stopping; try again when it is back";
            Err(Error::new(Kind::Unavailable, "shutting-down", detail).retry_after(Duration::from_secs(10)))
        }
        Outcome::Stopped {
            cause: Cause::TooSlow,
            ..
        } => Err(too_slow()),
        _ => Err(Error::internal(anyhow::anyhow!(
            "{}: {}",
            errand.command,
            broken.message
        ))),
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
    Error::new(kind, slug, error.message)
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
