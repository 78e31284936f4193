//! What a backup has besides the database and its blobs: checkpoints that jobs go on from, logs, fetched weights, the key of webhooks.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context;

use super::{super::WEBHOOK_KEY, carrier::Carrier};
use crate::{domain::id::JobId, files::private, store::Store};

const RUNS: &str = "runs";
const LOGS: &str = "logs";
const WEIGHTS: &str = "weights";

/// The folders of a data directory beside its blobs.
pub struct Others(PathBuf);

impl Others {
    pub fn of(data_dir: &Path) -> Self {
        Self(data_dir.to_owned())
    }

    /// Checkpoints of all jobs. A worker writes them elsewhere and renames them, so what has the name of one is whole.
    pub fn carry_checkpoints(&self, folder: &Path, carrier: &mut Carrier) -> anyhow::Result<()> {
        for job in names(&self.0.join(RUNS)) {
            if job.parse::<JobId>().is_err() {
                continue;
            }
            for attempt in names(&self.0.join(RUNS).join(&job)) {
                let inner = Path::new(RUNS).join(&job).join(&attempt);
                for file in names(&self.0.join(&inner)) {
                    if file.starts_with("checkpoint-") && file.ends_with(".safetensors") {
                        carry(&self.0, folder, &inner.join(file), Kept::Unchanged, carrier)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Logs, weights in the cache of this directory, and the key of webhooks.
    pub fn carry_rest(&self, folder: &Path, carrier: &mut Carrier) -> anyhow::Result<()> {
        for log in names(&self.0.join(LOGS)) {
            if log.ends_with(".log") {
                carry(
                    &self.0,
                    folder,
                    &Path::new(LOGS).join(log),
                    Kept::Growing,
                    carrier,
                )?;
            }
        }
        if self.0.join(WEBHOOK_KEY).exists() {
            carry(&self.0, folder, Path::new(WEBHOOK_KEY), Kept::Unchanged, carrier)?;
        }
        let mut folders = vec![PathBuf::from(WEIGHTS)];
        while let Some(inner) = folders.pop() {
            for name in names(&self.0.join(&inner)) {
                let path = inner.join(&name);
                if self.0.join(&path).is_dir() {
                    folders.push(path);
                } else if !is_passing(&name) {
                    carry(&self.0, folder, &path, Kept::Unchanged, carrier)?;
                }
            }
        }
        Ok(())
    }

    /// Removes checkpoints of jobs that had ended, or were gone, when the database was copied.
    pub async fn remove_ended(copy: &Store, folder: &Path) -> anyhow::Result<()> {
        let unfinished = copy.unfinished_jobs().await?;
        for job in names(&folder.join(RUNS)) {
            if job.parse().is_ok_and(|job: JobId| !unfinished.contains(&job)) {
                fs::remove_dir_all(folder.join(RUNS).join(job))?;
            }
        }
        Ok(())
    }
}

/// Whether a file is written again after it was made.
#[derive(Clone, Copy, PartialEq)]
enum Kept {
    Unchanged,
    Growing,
}

/// What goes meanwhile is needed no more.
fn carry(from: &Path, folder: &Path, inner: &Path, kept: Kept, carrier: &mut Carrier) -> anyhow::Result<()> {
    let (from, to) = (from.join(inner), folder.join(inner));
    let mut carried = || -> io::Result<bool> {
        private::create_dir_all(to.parent().unwrap_or(folder))?;
        match kept {
            Kept::Unchanged => carrier.carry(&from, &to, None),
            Kept::Growing => carrier.copy(&from, &to, None),
        }
    };
    carried().with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

/// A download that is not complete, or a lock of whoever fetches.
fn is_passing(name: &str) -> bool {
    name.contains(".partial") || name.ends_with(".lock")
}

/// None where the folder is not there.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}
