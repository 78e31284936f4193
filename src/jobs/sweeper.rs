//! Removes what no row needs any more: blobs, folders of ended attempts, logs of the deleted. At start, every hour, and when asked.
//!
//! Blobs go to the trash first, and from there when their time is up. Those that the database knows nothing of stay where they are, if
//! they are too many: the database may be the wrong one.
//!
//! Folders are listed before rows are read, so that what is made in between is never taken for a leftover.

use std::{collections::HashSet, fmt::Display, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};

use super::{blocking::blocking, children::paths, context::Context, datasets::thumbnails, models::exports};
use crate::{
    blobs::{Grace, Swept},
    domain::{
        datasets::dataset::DatasetStatus,
        id::{DatasetId, JobId, UploadId},
        time::Timestamp,
    },
    error::{Kind, Result},
    process::log,
};

const EVERY: Duration = Duration::from_secs(3600);
/// A blob whose time is up in less than this waits with those that come after it.
const SHORTEST: Duration = Duration::from_secs(1);
/// How often the disk is looked at while there is something to make room with.
const GLANCE: Duration = Duration::from_secs(2);

pub async fn run(context: Arc<Context>) {
    if !context.may_begin().await {
        return;
    }
    loop {
        let (next, is_watching) = match sweep(&context).await {
            Ok(next) => (next, next.is_some()),
            Err(error) => {
                tracing::error!(%error, "cannot sweep up; the next time is in an hour at the latest");
                (None, true)
            }
        };
        let due = Instant::now() + next.unwrap_or(EVERY).clamp(SHORTEST, EVERY);
        loop {
            tokio::select! {
                () = context.shutdown.cancelled() => return,
                () = context.sweep.notified() => break,
                () = sleep_until(due) => break,
                // While anything may be in the trash: workers fill the disk, and cannot empty it.
                () = sleep(GLANCE), if is_watching => make_room(&context).await,
            }
        }
    }
}

async fn make_room(context: &Context) {
    match context
        .blobs
        .make_room(context.config.limits.min_free_bytes)
        .await
    {
        Ok(0) => {}
        Ok(removed) => tracing::info!(
            removed,
            "the disk is nearly full: blobs went before their time of grace was up"
        ),
        Err(error) => tracing::error!(%error, "cannot empty the trash"),
    }
}

/// Sweeps once. When the next blob's time of grace is up.
///
/// # Errors
/// The first, after everything was tried: on a full disk rows cannot be written, and just then blobs have to go.
pub async fn sweep(context: &Context) -> Result<Option<Duration>> {
    let first = [
        sweep_runs(context).await,
        sweep_logs(context).await,
        thumbnails::sweep(context).await,
        exports::sweep(context).await,
        sweep_uploads(context).await,
    ];
    let next = sweep_blobs(context).await?;
    first.into_iter().collect::<Result<()>>()?;
    Ok(next)
}

async fn sweep_blobs(context: &Context) -> Result<Option<Duration>> {
    let limits = &context.config.limits;
    let grace = Grace {
        time: Duration::from_secs(limits.blob_grace_seconds),
        reserve: limits.min_free_bytes,
    };
    let store = context.store.clone();
    let swept = context
        .blobs
        .sweep(grace, || async move { store.ledger().await })
        .await?;
    tell(&swept);
    context.store.forget_released(swept.done).await?;
    Ok(swept.next)
}

fn tell(swept: &Swept) {
    if swept.discarded > 0 {
        tracing::info!(
            blobs = swept.discarded,
            "blobs that nothing needs were moved to the trash"
        );
    }
    if swept.strays > 0 {
        tracing::warn!(blobs = swept.strays, "some of those the database knew nothing of");
    }
    let removed = swept.removed + swept.expired + swept.expired_early;
    if removed > 0 {
        tracing::info!(
            removed,
            early = swept.expired_early,
            "blobs that nothing needs were removed"
        );
    }
    if swept.put_back > 0 {
        tracing::warn!(
            blobs = swept.put_back,
            "blobs that the database names were put back from the trash"
        );
    }
    if let Some(doubt) = &swept.doubt {
        tracing::error!(
            "{doubt}: they stay where they are, and the next start will refuse; `finetuned fsck` says more, and `finetuned adopt`, \
            with the server stopped, moves them to the trash"
        );
    }
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
