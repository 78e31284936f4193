//! A contact sheet of augmented images, made by a child while the caller waits: a limited number at once, each with a deadline.
//!
//! When the caller disconnects, the child is stopped. Nothing of a preview is kept or recorded in the database.

use std::{path::Path, time::Duration};

use crate::{
    domain::{datasets::dataset::Dataset, spec::PreviewSpec},
    error::{Error, Kind, Result},
    files::digest,
    jobs::{
        children::waited::{self, WaitedRun},
        context::Context,
        queue::{prepare::as_files, weights},
    },
    process,
    protocol::{Artifact, PreviewRun, RunResult, RunSpec},
};

/// Largest sheet that is accepted from a child; real ones are far smaller.
const MAX_SHEET: u64 = 64 << 20;
/// Threads for one sheet: it is small, and jobs need the others.
const THREADS: u32 = 2;

/// Augments images of a dataset as a training job would. Returns a PNG.
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
        hub: weights::describing(&context.config, &spec.job.backbone.weights),
        spec,
        dataset: as_files(context, dataset, files).await,
        threads: process::threads(context.config.train_threads).min(THREADS),
    }));
    let limits = &context.config.limits;
    let waited = WaitedRun {
        run,
        deadline: limits.preview_deadline(),
    };
    let too_slow = || {
        let seconds = limits.preview_deadline_seconds;
        let detail = format!("the preview took longer than {seconds} s; request fewer images or views");
        Error::new(Kind::Timeout, "preview-timeout", detail)
    };
    let refused = |error| waited::refusal("preview-failed", error);
    match waited::run(context, waited, too_slow, refused).await? {
        (dir, RunResult::Previewed { sheet }) => take(dir.path(), &sheet).await,
        _ => Err(waited::of_another_kind("preview")),
    }
}

fn busy() -> Error {
    let detail = "too many previews are being made; try again in a moment";
    Error::new(Kind::TooMany, "previews-busy", detail).retry_after(Duration::from_secs(2))
}

async fn take(dir: &Path, sheet: &Artifact) -> Result<Vec<u8>> {
    let wrong = || Error::internal(anyhow::anyhow!("a preview does not match the worker's result"));
    if sheet.file.contains('/') || sheet.bytes > MAX_SHEET {
        return Err(wrong());
    }
    let bytes = tokio::fs::read(dir.join(&sheet.file)).await?;
    if digest::of_bytes(&bytes) != sheet.sha256 {
        return Err(wrong());
    }
    Ok(bytes)
}
