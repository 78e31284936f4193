//! A contact sheet of augmented pictures, drawn by a child while the caller waits: a bounded number at once, each with a deadline.
//!
//! A caller that leaves takes its child along: nothing of a preview outlives the call, and no row of the database knows of it.

use std::{io, path::Path, time::Duration};

use tempfile::TempDir;
use tokio::sync::mpsc;

use super::{
    context::Context,
    failure, paths,
    prepare::as_files,
    supervisor::{Outcome, Run, supervise},
};
use crate::{
    digest,
    domain::{dataset::Dataset, job::FailureCode, spec::PreviewSpec},
    error::{Error, Kind, Result},
    process,
    protocol::{Artifact, PreviewRun, RunResult, RunSpec},
};

/// Largest sheet that is taken from a child; its pixels are far below this.
const MAX_SHEET: u64 = 64 << 20;
/// Threads that draw one sheet: it is small, and jobs need the others.
const THREADS: u32 = 2;

enum Cause {
    Shutdown,
    TooSlow,
}

/// Draws pictures of a dataset as a job would train on them. The result is a PNG.
///
/// # Errors
/// `previews-busy`, `preview-timeout`, `dataset-not-ready`, and failures of the worker.
pub async fn preview(context: &Context, dataset: Dataset, spec: PreviewSpec) -> Result<Vec<u8>> {
    let _place = context.previews.try_acquire().map_err(|_| busy())?;
    let files = context.store.version_files(dataset.id, dataset.version).await?;
    let Some(files) = files else {
        let detail = "the dataset is not ready; wait for it with ?wait=60";
        return Err(Error::new(Kind::Conflict, "dataset-not-ready", detail));
    };
    let run = RunSpec::Preview(Box::new(PreviewRun {
        spec,
        dataset: as_files(context, dataset, files).await,
        threads: process::threads(context.config.train_threads).min(THREADS),
    }));
    let runs = context.paths.runs();
    let dir = tokio::task::spawn_blocking(move || paths::begin_passing(&runs, &run)).await;
    let dir: TempDir = dir.map_err(io::Error::other).flatten()?;
    let limits = &context.config.limits;
    let child = Run {
        program: &context.worker,
        command: "preview",
        dir: dir.path(),
        log: context.log(&"preview"),
        limits,
    };
    let stop = async {
        tokio::select! {
            () = context.shutdown.cancelled() => Cause::Shutdown,
            () = tokio::time::sleep(limits.preview_deadline()) => Cause::TooSlow,
        }
    };
    let (sender, mut messages) = mpsc::channel(16);
    let nobody_listens = async { while messages.recv().await.is_some() {} };
    let (report, ()) = tokio::join!(supervise(&child, sender, stop), nobody_listens);
    let broken = failure::of_child(&report, context.paths.data_dir());
    match report.outcome {
        Outcome::Ended {
            result: Some(RunResult::Previewed { sheet }),
            ..
        } => take(dir.path(), &sheet).await,
        Outcome::Ended {
            result: Some(RunResult::Failed { error }),
            ..
        } => Err(refusal(error.code, error.message)),
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
        } => {
            let seconds = limits.preview_deadline_seconds;
            let detail = format!("the preview took longer than {seconds} s; ask for fewer images or views");
            Err(Error::new(Kind::Timeout, "preview-timeout", detail))
        }
        _ => Err(Error::internal(anyhow::anyhow!("a preview: {}", broken.message))),
    }
}

fn busy() -> Error {
    let detail = "as many previews as the server allows are being drawn; try again in a moment";
    Error::new(Kind::TooMany, "previews-busy", detail).retry_after(Duration::from_secs(2))
}

fn refusal(code: FailureCode, message: String) -> Error {
    let kind = match code {
        FailureCode::DiskFull => Kind::DiskFull,
        _ => Kind::Invalid,
    };
    Error::new(kind, "preview-failed", message)
}

async fn take(dir: &Path, sheet: &Artifact) -> Result<Vec<u8>> {
    let wrong = || {
        Error::internal(anyhow::anyhow!(
            "a preview is not the file that its result says it is"
        ))
    };
    if sheet.file.contains('/') || sheet.bytes > MAX_SHEET {
        return Err(wrong());
    }
    let bytes = tokio::fs::read(dir.join(&sheet.file)).await?;
    if digest::of_bytes(&bytes) != sheet.sha256 {
        return Err(wrong());
    }
    Ok(bytes)
}
