//! Runs a one-shot child, whatever its kind: starts it in its directory, receives its messages, stops it when requested, and returns how it
//! ended in the caller's terms.

use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use super::{
    failure,
    supervisor::{Outcome, Report, Run, Stop, supervise},
};
use crate::{
    domain::jobs::job::JobError,
    error::Error,
    jobs::context::Context,
    process::log::Log,
    protocol::{RunResult, WorkerMessage},
};

/// Capacity of the message channel: how far a child may be ahead of the database.
const IN_FLIGHT: usize = 64;

/// How a child ended. `C` is the reason for stopping it.
pub enum End<C> {
    /// It exited by itself, with a result.
    Done(RunResult),
    /// It was asked to stop. It may have finished first.
    Stopped {
        cause: C,
        result: Option<RunResult>,
    },
    Broken(Broken<C>),
}

/// A child that ended without a result, or could not be started.
pub struct Broken<C> {
    report: Report<C>,
    data_dir: PathBuf,
}

/// Runs a child in `dir`, which contains its run file, until it and all processes it started are gone.
pub async fn run<C, H: Future<Output = ()>>(
    context: &Context,
    dir: &Path,
    log: Log,
    hear: impl FnOnce(mpsc::Receiver<WorkerMessage>) -> H,
    stop: impl Future<Output = Stop<C>>,
) -> End<C> {
    let run = Run {
        program: &context.worker,
        dir,
        log,
        limits: &context.config.limits,
        sandbox: context.config.sandbox,
    };
    let (sender, receiver) = mpsc::channel(IN_FLIGHT);
    let (report, ()) = tokio::join!(supervise(&run, sender, stop), hear(receiver));
    match report.outcome {
        Outcome::Ended {
            result: Some(result), ..
        } => End::Done(result),
        Outcome::Stopped { cause, result } => End::Stopped { cause, result },
        _ => End::Broken(Broken {
            report,
            data_dir: context.paths.data_dir().to_owned(),
        }),
    }
}

/// Receives and drops messages.
pub async fn nobody(mut messages: mpsc::Receiver<WorkerMessage>) {
    while messages.recv().await.is_some() {}
}

impl<C> Broken<C> {
    /// Whether the child could not be started: the next attempt would fail too.
    pub fn never_began(&self) -> bool {
        matches!(self.report.outcome, Outcome::NotStarted(_))
    }

    pub fn is_stalled(&self) -> bool {
        matches!(self.report.outcome, Outcome::Stalled(_))
    }

    /// The error for the owner of the job or dataset.
    pub fn to_job(&self) -> JobError {
        failure::of_child(&self.report, &self.data_dir)
    }

    /// The error for a client that waited; `kind` is the child's kind of work.
    pub fn to_caller(&self, kind: &str) -> Error {
        failure::to_caller(kind, &self.report, &self.data_dir)
    }
}
