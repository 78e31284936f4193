//! Removes what no row references any more: blobs, directories of ended attempts, and logs. At the start, every hour, and on request.
//!
//! Blobs go to the trash first, and are removed from there after the grace period. If too many blobs are unknown to the database, they
//! stay: it may be the wrong database.
//!
//! Directories are listed before rows are read, so that those created meanwhile are never mistaken for leftovers.

use std::{
    collections::HashSet,
    fmt::Display,
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until};

use super::{
    blocking::blocking,
    children::paths::{self, Paths},
    context::{Context, UnusedDatasets},
    datasets::thumbnails,
    models::exports,
    retention,
};
use crate::{
    blobs::{Blobs, Grace, Swept},
    domain::{
        datasets::dataset::DatasetStatus,
        id::{DatasetId, JobId, UploadId},
        retention::{Age, Keep},
        time::Timestamp,
    },
    error::{Kind, Result},
    process::log,
    store::Store,
};

const EVERY: Duration = Duration::from_secs(3600);
/// A blob whose grace period ends sooner than this waits for those after it.
const SHORTEST: Duration = Duration::from_secs(1);
/// How often free space is checked while there is something in the trash.
const GLANCE: Duration = Duration::from_secs(2);
/// How often it is looked whether another program, `finetuned gc`, has let blobs go.
const LISTEN: Duration = Duration::from_secs(10);

pub async fn run(context: Arc<Context>) {
    if !context.may_begin().await {
        return;
    }
    loop {
        let (next, is_watching) = match sweep(&context).await {
            Ok(next) => (next, next.is_some()),
            Err(error) => {
                tracing::error!(%error, "sweep failed; the next one is in an hour at the latest");
                (None, true)
            }
        };
        // What cannot be counted is swept when it is due.
        let released = context.store.released().await.unwrap_or(0);
        let due = Instant::now() + next.unwrap_or(EVERY).clamp(SHORTEST, EVERY);
        loop {
            tokio::select! {
                () = context.shutdown.cancelled() => return,
                () = context.sweep.notified() => break,
                () = sleep_until(due) => break,
                // While anything may be in the trash: workers fill the disk, and cannot empty it.
                () = sleep(GLANCE), if is_watching => make_room(&context).await,
                () = more_released(&context, released) => break,
            }
        }
    }
}

/// Waits until more blobs are let go than there were after the last sweep.
async fn more_released(context: &Context, known: u64) {
    loop {
        sleep(LISTEN).await;
        if context.store.released().await.is_ok_and(|now| now > known) {
            return;
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
            "the disk is nearly full: removed blobs before the end of their grace period"
        ),
        Err(error) => tracing::error!(%error, "cannot empty the trash"),
    }
}

/// Sweeps once. Returns when the next blob's grace period ends.
///
/// # Errors
/// The first error, after everything was tried: on a full disk rows cannot be written, and just then blobs must be removed.
pub async fn sweep(context: &Context) -> Result<Option<Duration>> {
    let Context {
        store, blobs, paths, ..
    } = context;
    let keep = context.config.keep.keep();
    let first = [
        // Before the files: theirs go with the same sweep.
        retention::apply(store, keep).await.map(|removed| removed.tell()),
        store.forget_old_answers().await,
        sweep_runs(store, paths, keep).await,
        sweep_logs(store, paths).await,
        thumbnails::sweep(context).await,
        exports::sweep(context).await,
        sweep_uploads(store, blobs).await,
        count_unused(context).await,
    ];
    let next = sweep_blobs(context).await?;
    first.into_iter().collect::<Result<()>>()?;
    Ok(next)
}

/// For `/v1/system`. They are never removed without being asked for.
async fn count_unused(context: &Context) -> Result<()> {
    let unused = retention::unused(&context.store).await?;
    let counted = UnusedDatasets {
        count: unused.len() as u64,
        bytes: unused.iter().map(|dataset| dataset.bytes).sum(),
    };
    *context.unused.lock().unwrap_or_else(PoisonError::into_inner) = counted;
    Ok(())
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
        tracing::info!(blobs = swept.discarded, "moved unreferenced blobs to the trash");
    }
    if swept.strays > 0 {
        tracing::warn!(blobs = swept.strays, "some of them were unknown to the database");
    }
    let removed = swept.removed + swept.expired + swept.expired_early;
    if removed > 0 {
        tracing::info!(removed, early = swept.expired_early, "removed unreferenced blobs");
    }
    if swept.put_back > 0 {
        tracing::warn!(blobs = swept.put_back, "restored referenced blobs from the trash");
    }
    if let Some(doubt) = &swept.doubt {
        tracing::error!(
            "{doubt}: they stay where they are, and the next start will refuse; `finetuned fsck` says more, and `finetuned adopt`, \
            with the server stopped, moves them to the trash"
        );
    }
}

/// Directories of deleted or ended jobs and datasets. Entries that are not named by an id are left alone.
pub(super) async fn sweep_runs(store: &Store, paths: &Paths, keep: Keep) -> Result<()> {
    let runs = paths.runs();
    let names = blocking(move || Ok(paths::names(&runs))).await?;
    let unfinished: HashSet<JobId> = store.unfinished_jobs().await?.into_iter().collect();
    for name in names {
        let (runs, passing) = (paths.runs(), name.clone());
        if let Err(error) = blocking(move || Ok(paths::forget_scratch(&runs, &passing)?)).await {
            tracing::debug!(%error, "a directory was removed meanwhile");
        }
        if let Ok(job) = name.parse::<JobId>()
            && !unfinished.contains(&job)
        {
            match keeps_checkpoints(store, keep.checkpoints, job).await? {
                true => keep_checkpoints(paths, job).await,
                false => forget(paths, job).await,
            }
        }
        if let Ok(dataset) = name.parse::<DatasetId>()
            && found(store.dataset(&name).await)?
                .is_none_or(|dataset| dataset.status != DatasetStatus::Processing)
        {
            forget(paths, dataset).await;
        }
    }
    Ok(())
}

/// Whether the checkpoints of an ended job are kept for a while.
pub(super) async fn keeps_checkpoints(store: &Store, age: Age, job: JobId) -> Result<bool> {
    let Some(end) = store.job_end(job).await? else {
        return Ok(false);
    };
    Ok(age.before(Timestamp::now()).is_none_or(|before| end > before))
}

/// The last ones of a job, and nothing else in its directory.
pub(super) async fn keep_checkpoints(paths: &Paths, job: JobId) {
    let paths = paths.clone();
    // It cannot fail; what cannot be removed now is removed with the rest.
    let _ = blocking(move || Ok(paths.checkpoints(job, u32::MAX))).await;
}

/// A process that cannot be killed may still be alive there; the rest must be removed anyway.
async fn forget(paths: &Paths, of: impl Display + Send + 'static) {
    let paths = paths.clone();
    if let Err(error) = blocking(move || Ok(paths.forget(&of)?)).await {
        tracing::error!(%error, "cannot remove the directory of an ended job or dataset");
    }
}

/// Expired uploads, and the files of deleted ones.
pub(super) async fn sweep_uploads(store: &Store, blobs: &Blobs) -> Result<()> {
    let expired = store.forget_expired_uploads(Timestamp::now()).await?;
    if expired > 0 {
        tracing::info!(expired, "removed expired uploads");
    }
    let with_files = blobs.partials().await?;
    let needed: HashSet<UploadId> = store.unfinished_uploads().await?.into_iter().collect();
    for upload in with_files {
        if !needed.contains(&upload) {
            blobs.remove_partial(upload).await?;
        }
    }
    Ok(())
}

/// Logs of deleted jobs and datasets.
pub(super) async fn sweep_logs(store: &Store, paths: &Paths) -> Result<()> {
    let logs = paths.logs();
    let names = blocking(move || Ok(paths::names(&logs))).await?;
    for name in names {
        let Some(id) = name.strip_suffix(".log") else {
            continue;
        };
        let gone = if id.parse::<JobId>().is_ok() {
            !is_job(store, id).await?
        } else if id.parse::<DatasetId>().is_ok() {
            !is_dataset(store, id).await?
        } else {
            false
        };
        if gone {
            let path = paths.logs().join(name);
            blocking(move || Ok(log::remove(&path)?)).await?;
        }
    }
    Ok(())
}

pub(super) async fn is_job(store: &Store, id: &str) -> Result<bool> {
    Ok(found(store.job(id).await)?.is_some())
}

pub(super) async fn is_dataset(store: &Store, id: &str) -> Result<bool> {
    Ok(found(store.dataset(id).await)?.is_some())
}

fn found<T>(looked_up: Result<T>) -> Result<Option<T>> {
    match looked_up {
        Ok(row) => Ok(Some(row)),
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
