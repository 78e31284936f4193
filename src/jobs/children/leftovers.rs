//! Cleans up after a server that was killed: running children and abandoned directories. This happens at the start, before any other work:
//! two attempts of a job must never run at the same time.
//!
//! Usually the kernel has killed the children with their server. What remains are processes that they started, and children of a server
//! that was not their direct parent.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::time::sleep;

use super::paths::{self, Paths, SCRATCH};
use crate::{
    domain::id::{DatasetId, JobId},
    error::Result,
    jobs::{blocking::blocking, context::Context},
    process::{lock, log},
};

/// Time after which a process that has not exited is logged again.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// What was found at the start.
pub struct Leftovers {
    /// Directories with a live process.
    inhabited: Vec<PathBuf>,
    /// Directories of work that is not recorded anywhere: of clients that have disconnected, and of archives, which are read again.
    forgotten: Vec<PathBuf>,
    /// Jobs that have directories.
    jobs: Vec<JobId>,
}

impl Leftovers {
    /// Searches for leftovers. Blocking but quick: a few calls per unfinished job.
    pub fn find(paths: &Paths) -> Self {
        let mut found = Self {
            inhabited: Vec::new(),
            forgotten: Vec::new(),
            jobs: Vec::new(),
        };
        // The next one is started only when it is gone, see `lock::claim`: nothing else has to wait for that.
        let predictions = paths.predictions();
        if is_inhabited(&predictions)
            && let Err(error) = lock::end(&predictions)
        {
            tracing::error!(%error, "cannot end the predict worker of an earlier server");
        }
        for name in paths::names(&paths.runs()) {
            let dir = paths.runs().join(&name);
            if name.starts_with(SCRATCH) {
                found.look_into(dir.clone());
                found.forgotten.push(dir);
                continue;
            }
            for attempt in paths::names(&dir) {
                found.look_into(dir.join(attempt));
            }
            if let Ok(job) = name.parse() {
                found.jobs.push(job);
            }
            if name.parse::<DatasetId>().is_ok() {
                found.forgotten.push(dir);
            }
        }
        for name in paths::names(&paths.logs()) {
            if log::is_half_written(&name) {
                // It is written again when needed.
                let _ = fs::remove_file(paths.logs().join(name));
            }
        }
        found
    }

    fn look_into(&mut self, dir: PathBuf) {
        if is_inhabited(&dir) {
            tracing::warn!(dir = %dir.display(), "a worker of an earlier server is still running; killing it");
            self.inhabited.push(dir);
        }
    }

    /// Kills the processes, removes the directories, and then allows work to begin.
    pub async fn clear(self, context: Arc<Context>) {
        let ends = self.inhabited.iter().map(|dir| end(dir));
        tokio::select! {
            () = context.shutdown.cancelled() => return,
            _ = futures_util::future::join_all(ends) => {}
        }
        if let Err(error) = self.remove(&context).await {
            tracing::error!(%error, "cannot remove what an earlier server left");
        }
        let _ = context.cleared.set(());
    }

    async fn remove(self, context: &Context) -> Result<()> {
        let removed = self.forgotten.len();
        for dir in self.forgotten {
            let gone = blocking(move || Ok(paths::remove(&dir)?)).await;
            if let Err(error) = gone {
                tracing::error!(%error, "cannot remove a directory that an earlier server left");
            }
        }
        for job in self.jobs {
            // Of the files of its attempts, only checkpoints are needed.
            let paths = context.paths.clone();
            blocking(move || Ok(paths.checkpoints(job, u32::MAX))).await?;
        }
        if removed > 0 {
            tracing::info!(removed, "removed directories that an earlier server left");
        }
        Ok(())
    }
}

fn is_inhabited(dir: &Path) -> bool {
    lock::is_held(dir).unwrap_or_else(|error| {
        tracing::error!(dir = %dir.display(), %error, "cannot check whether a process is running in a directory");
        false
    })
}

/// Kills the processes of a directory, however long it takes: continuing beside them would be worse than waiting.
async fn end(dir: &Path) {
    while let Err(error) = lock::vacate(dir, SAY_EVERY).await {
        tracing::error!(dir = %dir.display(), %error, "a process of an earlier server is still running; no job or archive is started before it has ended");
        if error.kind() != std::io::ErrorKind::TimedOut {
            sleep(SAY_EVERY).await;
        }
    }
}
