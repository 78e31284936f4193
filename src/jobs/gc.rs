//! `finetuned gc`: says what is no longer needed, by kind, and removes it.
//!
//! It removes what the server removes every hour, with the same rules. Beside a running server it removes rows only: files may belong to
//! something that the server is about to record, so they are the server's to sweep, which it does within seconds of blobs being let go.

use std::{collections::HashSet, fmt, fs, path::Path, time::Duration};

use serde::Serialize;

use super::{
    children::paths::{self, Paths},
    retention, sweeper,
};
use crate::{
    blobs::Grace,
    data_dir::{Opened, with_directory, with_rows},
    domain::{
        id::{DatasetId, JobId, UploadId},
        retention::Keep,
        time::Timestamp,
    },
    error::Error,
};

/// What is to be removed.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub keep: Keep,
    /// How long unreferenced blobs stay in the trash.
    pub grace: Duration,
}

/// What is no longer needed, of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Heap {
    /// `jobs`, `events`, `deliveries`, `checkpoints`, `logs`, `uploads`, `blobs` or `trash`.
    pub kind: &'static str,
    pub count: u64,
    /// On the disk; of events those of their rows, which the database uses again.
    pub bytes: u64,
}

/// A dataset that nothing uses: it is never removed without being asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Unused {
    pub id: DatasetId,
    pub name: String,
    pub created_at: Timestamp,
    pub bytes: u64,
}

/// What was removed, or would be.
#[derive(Clone, Debug, Serialize)]
pub struct Collected {
    pub data_dir: String,
    pub dry_run: bool,
    /// A server runs, and removes the files.
    pub is_served: bool,
    pub removed: Vec<Heap>,
    pub unused_datasets: Vec<Unused>,
}

/// Collects, or says what would be collected.
///
/// # Errors
/// There is no such directory, its database does not belong to it, or the disk fails.
pub async fn gc(data_dir: &Path, rules: Rules, dry_run: bool) -> anyhow::Result<Collected> {
    if dry_run {
        return with_rows(data_dir, async |opened| {
            let mut found = survey(&opened, rules).await?;
            found.dry_run = true;
            Ok(found)
        })
        .await;
    }
    let data_dir = data_dir
        .canonicalize()
        .map_err(|error| anyhow::anyhow!("there is no data directory {}: {error}", data_dir.display()))?;
    with_directory(&data_dir, async |opened| {
        let found = survey(&opened, rules).await?;
        retention::apply(opened.store, rules.keep).await.map_err(told)?;
        if !opened.is_served {
            sweep(&opened, rules).await.map_err(told)?;
        }
        Ok(found)
    })
    .await
}

/// The files, as the server's sweep takes them.
async fn sweep(opened: &Opened<'_>, rules: Rules) -> crate::error::Result<()> {
    let (store, paths) = (opened.store, Paths::new(opened.path));
    sweeper::sweep_runs(store, &paths, rules.keep).await?;
    sweeper::sweep_logs(store, &paths).await?;
    sweeper::sweep_uploads(store, opened.blobs).await?;
    let grace = Grace {
        time: rules.grace,
        reserve: 0,
    };
    let swept = opened
        .blobs
        .sweep(grace, || async { store.ledger().await })
        .await?;
    store.forget_released(swept.done).await
}

async fn survey(opened: &Opened<'_>, rules: Rules) -> anyhow::Result<Collected> {
    let now = Timestamp::now();
    let paths = Paths::new(opened.path);
    let (store, blobs) = (opened.store, opened.blobs);
    let mut heaps = Vec::new();
    let (mut old, mut released) = (HashSet::new(), Vec::new());
    let mut bytes_of_jobs = 0;
    if let Some(before) = rules.keep.runs.before(now) {
        old.extend(store.old_jobs(before).await?);
        released = store.blobs_of_old_jobs(before).await?;
        bytes_of_jobs = store.events_of_old_jobs(before).await?.bytes;
    }
    heaps.push(Heap {
        kind: "jobs",
        count: old.len() as u64,
        bytes: bytes_of_jobs,
    });
    let events = match rules.keep.events.before(now) {
        Some(before) => store.old_events(before).await?,
        None => Default::default(),
    };
    heaps.push(Heap {
        kind: "events",
        count: events.rows,
        bytes: events.bytes,
    });
    let (count, bytes) = match rules.keep.deliveries.before(now) {
        Some(before) => store.old_deliveries(before).await?,
        None => (0, 0),
    };
    heaps.push(Heap {
        kind: "deliveries",
        count,
        bytes,
    });
    heaps.push(checkpoints(opened, &paths, rules.keep, &old).await?);
    heaps.push(logs(opened, &paths, &old).await?);
    heaps.push(uploads(opened).await?);
    let swept = blobs.sweepable(&store.ledger().await?, &released, opened.is_served)?;
    heaps.push(sum("blobs", swept.iter().map(|sha256| blobs.path(sha256))));
    let (count, bytes) = blobs.expired(rules.grace)?;
    heaps.push(Heap {
        kind: "trash",
        count,
        bytes,
    });
    let unused = retention::unused(store).await?;
    let unused = unused.into_iter().map(|dataset| Unused {
        id: dataset.id,
        name: dataset.name.to_string(),
        created_at: dataset.created_at,
        bytes: dataset.bytes,
    });
    Ok(Collected {
        data_dir: opened.path.display().to_string(),
        dry_run: false,
        is_served: opened.is_served,
        removed: heaps,
        unused_datasets: unused.collect(),
    })
}

/// Directories of ended jobs whose time is up, and of jobs that are not there any more.
async fn checkpoints(
    opened: &Opened<'_>,
    paths: &Paths,
    keep: Keep,
    old: &HashSet<JobId>,
) -> anyhow::Result<Heap> {
    let store = opened.store;
    let unfinished: HashSet<JobId> = store.unfinished_jobs().await?.into_iter().collect();
    let mut gone = Vec::new();
    for name in paths::names(&paths.runs()) {
        let Ok(job) = name.parse::<JobId>() else { continue };
        if unfinished.contains(&job) {
            continue;
        }
        let is_kept = sweeper::keeps_checkpoints(store, keep.checkpoints, job).await?;
        if !is_kept || old.contains(&job) {
            gone.push(paths.attempts(&job));
        }
    }
    Ok(sum("checkpoints", gone))
}

/// Logs of jobs and datasets that are not there any more.
async fn logs(opened: &Opened<'_>, paths: &Paths, old: &HashSet<JobId>) -> anyhow::Result<Heap> {
    let mut gone = Vec::new();
    for name in paths::names(&paths.logs()) {
        let Some(id) = name.strip_suffix(".log") else {
            continue;
        };
        let is_gone = match (id.parse::<JobId>(), id.parse::<DatasetId>()) {
            (Ok(job), _) => old.contains(&job) || !sweeper::is_job(opened.store, id).await?,
            (_, Ok(_)) => !sweeper::is_dataset(opened.store, id).await?,
            _ => false,
        };
        if is_gone {
            gone.push(paths.logs().join(&name));
        }
    }
    Ok(sum("logs", gone))
}

/// Files of uploads that are not there any more.
async fn uploads(opened: &Opened<'_>) -> anyhow::Result<Heap> {
    let needed: HashSet<UploadId> = opened.store.unfinished_uploads().await?.into_iter().collect();
    let folder = opened.path.join("uploads");
    let names = paths::names(&folder).into_iter();
    let gone = names.filter(|name| name.parse().is_ok_and(|upload| !needed.contains(&upload)));
    Ok(sum("uploads", gone.map(|name| folder.join(name))))
}

/// Files and folders, and what is in them. What goes meanwhile counts nothing.
fn sum(kind: &'static str, paths: impl IntoIterator<Item = std::path::PathBuf>) -> Heap {
    let mut heap = Heap {
        kind,
        count: 0,
        bytes: 0,
    };
    for path in paths {
        heap.count += 1;
        heap.bytes += bytes_of(&path);
    }
    heap
}

fn bytes_of(path: &Path) -> u64 {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| bytes_of(&entry.path())).sum()
        }
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    }
}

/// What a refusal says to a person.
fn told(error: Error) -> anyhow::Error {
    let detail = error.detail().to_owned();
    match error.context() {
        Some(context) => anyhow::anyhow!("{detail} ({context:#})"),
        None => anyhow::anyhow!(detail),
    }
}

impl fmt::Display for Collected {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Heap { kind, count, bytes } in &self.removed {
            let what = match *kind {
                "jobs" => "ended jobs, with their events and results",
                "events" => "events of single steps",
                "deliveries" => "messages to webhooks that were delivered or given up",
                "checkpoints" => "directories of ended jobs",
                "logs" => "logs of deleted jobs and datasets",
                "uploads" => "files of expired uploads",
                "blobs" => {
                    "unreferenced files, which go to the trash, or at once where they can be made again"
                }
                _ => "files whose time in the trash is up",
            };
            writeln!(out, "{kind:<12}{count:>9}{bytes:>16} bytes   {what}")?;
        }
        for dataset in &self.unused_datasets {
            writeln!(
                out,
                "unused      {:>9}{:>16} bytes   dataset {} of {}: no job and no model has used it; it stays",
                1,
                dataset.bytes,
                dataset.name,
                dataset.created_at.to_rfc3339()
            )?;
        }
        match (self.dry_run, self.is_served) {
            (true, _) => write!(out, "nothing was removed (--dry-run)"),
            (false, true) => write!(
                out,
                "rows were removed; the running server removes the files that go with them, within the hour at the latest"
            ),
            (false, false) => write!(out, "removed"),
        }
    }
}
