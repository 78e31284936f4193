//! What is around every one-shot child, whoever asked for it: it is started in its folder, its messages are heard, it is stopped when its
//! time has come, and its end is put into the words of those who asked.

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

/// Messages that a child may be ahead of those who hear them, and of the database.
const IN_FLIGHT: usize = 64;

/// How a child ended. `C` says why it was stopped.
pub enum End<C> {
    /// By itself, with a result.
    Done(RunResult),
    /// It was asked to leave. It may have been done first.
    Stopped {
        cause: C,
        result: Option<RunResult>,
    },
    Broken(Broken<C>),
}

/// A child that ended without a result, or never began.
pub struct Broken<C> {
    report: Report<C>,
    data_dir: PathBuf,
}

/// Runs a child in `dir`, which has its run file, until it and everything that it started is gone.
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

/// Hears messages that nobody wants.
pub async fn nobody(mut messages: mpsc::Receiver<WorkerMessage>) {
    while messages.recv().await.is_some() {}
}

impl<C> Broken<C> {
    /// Whether there never was a child: the next attempt would fare no better.
    pub fn never_began(&self) -> bool {
        matches!(self.report.outcome, Outcome::NotStarted(_))
    }

    pub fn is_stalled(&self) -> bool {
        matches!(self.report.outcome, Outcome::Stalled(_))
    }

    /// In words for the person whose job or dataset it was.
    pub fn to_job(&self) -> JobError {
        failure::of_child(&self.report, &self.data_dir)
    }

    /// For a caller who waited; `kind` is what the child was to do.
    pub fn to_caller(&self, kind: &str) -> Error {
        failure::to_caller(kind, &self.report, &self.data_dir)
    }
}
