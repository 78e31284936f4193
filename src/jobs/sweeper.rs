//! Removes what no row needs any more: blobs, folders of ended attempts, logs of the deleted. At start, every hour, and when asked.
//!
//! Folders are listed before rows are read, so that what is made in between is never taken for a leftover.

use std::{collections::HashSet, fmt::Display, sync::Arc, time::Duration};

use super::{blocking::blocking, context::Context, exports, paths, thumbnails};
use crate::{
    domain::{dataset::DatasetStatus, time::Timestamp},
    error::{Kind, Result},
    id::{DatasetId, JobId, UploadId},
    process::log,
};

const EVERY: Duration = Duration::from_secs(3600);

pub async fn run(context: Arc<Context>) {
    if !context.may_begin().await {
        return;
    }
    loop {
        if let Err(error) = sweep(&context).await {
            tracing::error!(%error, "cannot sweep up; the next time is in an hour at the latest");
        }
        tokio::select! {
            () = context.shutdown.cancelled() => return,
            () = context.sweep.notified() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Sweeps once.
pub async fn sweep(context: &Context) -> Result<()> {
    sweep_runs(context).await?;
    sweep_logs(context).await?;
    thumbnails::sweep(context).await?;
    exports::sweep(context).await?;
    sweep_uploads(context).await?;
    let store = context.store.clone();
    let removed = context
        .blobs
        .sweep(|| async move { store.referenced_blobs().await })
        .await?;
    if removed > 0 {
        tracing::info!(removed, "blobs that nothing needs were removed");
    }
    Ok(())
}

/// Folders of jobs and datasets that are gone or have ended. What is not named by an id is not ours to remove.
async fn sweep_runs(context: &Context) -> Result<()> {
    let runs = context.paths.runs();
    let names = blocking(move || Ok(paths::names(&runs))).await?;
    let unfinished: HashSet<JobId> = context.store.unfinished_jobs().await?.into_iter().collect();
    for name in names {
        let (runs, passing) = (context.paths.runs(), name.clone());
        if let Err(error) = blocking(move || Ok(paths::forget_passing(&runs, &passing)?)).await {
            tracing::debug!(%error, "a folder went while it was looked at");
        }
        if let Ok(job) = name.parse::<JobId>()
            && !unfinished.contains(&job)
        {
            forget(context, job).await;
        }
        if let Ok(dataset) = name.parse::<DatasetId>()
            && found(context.store.dataset(&name).await)?
                .is_none_or(|dataset| dataset.status != DatasetStatus::Processing)
        {
            forget(context, dataset).await;
        }
    }
    Ok(())
}

/// Somebody may still live there who cannot be ended; that must not keep the rest.
async fn forget(context: &Context, of: impl Display + Send + 'static) {
    let paths = context.paths.clone();
    if let Err(error) = blocking(move || Ok(paths.forget(&of)?)).await {
        tracing::error!(%error, "cannot remove the folder of a job or a dataset that is over");
    }
}

/// Uploads of which nothing came for too long, and the files of those that are gone.
async fn sweep_uploads(context: &Context) -> Result<()> {
    let expired = context.store.forget_expired_uploads(Timestamp::now()).await?;
    if expired > 0 {
        tracing::info!(expired, "uploads of which nothing came for too long were removed");
    }
    let with_files = context.blobs.partials().await?;
    let needed: HashSet<UploadId> = context.store.unfinished_uploads().await?.into_iter().collect();
    for upload in with_files {
        if !needed.contains(&upload) {
            context.blobs.remove_partial(upload).await?;
        }
    }
    Ok(())
}

/// Logs of jobs and datasets that are gone.
async fn sweep_logs(context: &Context) -> Result<()> {
    let logs = context.paths.logs();
    let names = blocking(move || Ok(paths::names(&logs))).await?;
    for name in names {
        let Some(id) = name.strip_suffix(".log") else {
            continue;
        };
        let gone = if id.parse::<JobId>().is_ok() {
            found(context.store.job(id).await)?.is_none()
        } else if id.parse::<DatasetId>().is_ok() {
            found(context.store.dataset(id).await)?.is_none()
        } else {
            false
        };
        if gone {
            let path = context.paths.logs().join(name);
            blocking(move || Ok(log::remove(&path)?)).await?;
        }
    }
    Ok(())
}

fn found<T>(looked_up: Result<T>) -> Result<Option<T>> {
    match looked_up {
        Ok(row) => Ok(Some(row)),
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
