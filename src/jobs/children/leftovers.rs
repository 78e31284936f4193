//! What a server that was killed has left: children that go on, and folders that nobody will come back to. They go at the start, before
//! any work is begun: two attempts of a job never run side by side.
//!
//! Usually the kernel has killed the children with their server. What they started themselves is left, and children of a server that did
//! not start them by itself but through another program.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::time::sleep;

use super::paths::{self, PASSING, Paths};
use crate::{
    domain::id::{DatasetId, JobId},
    error::Result,
    jobs::{blocking::blocking, context::Context},
    process::{lock, log},
};

/// Time after which somebody who does not go is spoken of again.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// What there is at a start.
pub struct Leftovers {
    /// Folders in which somebody lives.
    inhabited: Vec<PathBuf>,
    /// Folders of work that nothing remembers: of callers who are gone, and of archives, which are read from the beginning.
    forgotten: Vec<PathBuf>,
    /// Jobs of which something lies there.
    jobs: Vec<JobId>,
}

impl Leftovers {
    /// Looks around. Blocking, and quick: a few calls for each unfinished job.
    pub fn find(paths: &Paths) -> Self {
        let mut found = Self {
            inhabited: Vec::new(),
            forgotten: Vec::new(),
            jobs: Vec::new(),
        };
        // The next one is started only when it is gone, see `lock::claim`: nobody else has to wait for that.
        let predictions = paths.predictions();
        if is_inhabited(&predictions)
            && let Err(error) = lock::end(&predictions)
        {
            tracing::error!(%error, "cannot end the predict worker of an earlier server");
        }
        for name in paths::names(&paths.runs()) {
            let dir = paths.runs().join(&name);
            if name.starts_with(PASSING) {
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
                // It is written anew when it is needed.
                let _ = fs::remove_file(paths.logs().join(name));
            }
        }
        found
    }

    fn look_into(&mut self, dir: PathBuf) {
        if is_inhabited(&dir) {
            tracing::warn!(dir = %dir.display(), "a worker of an earlier server is still there; it is ended");
            self.inhabited.push(dir);
        }
    }

    /// Ends everybody, removes what is left, and then lets work begin.
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
                tracing::error!(%error, "cannot remove a folder that an earlier server left");
            }
        }
        for job in self.jobs {
            // Of what its attempts left, only checkpoints are of use.
            let paths = context.paths.clone();
            blocking(move || Ok(paths.checkpoints(job, u32::MAX))).await?;
        }
        if removed > 0 {
            tracing::info!(removed, "folders that an earlier server left were removed");
        }
        Ok(())
    }
}

fn is_inhabited(dir: &Path) -> bool {
    lock::is_held(dir).unwrap_or_else(|error| {
        tracing::error!(dir = %dir.display(), %error, "cannot see whether somebody lives in a folder");
        false
    })
}

/// Ends who lives in a folder, however long it takes: to go on beside them would be worse than to wait.
async fn end(dir: &Path) {
    while let Err(error) = lock::vacate(dir, SAY_EVERY).await {
        tracing::error!(dir = %dir.display(), %error, "no job and no archive is begun before it is gone");
        if error.kind() != std::io::ErrorKind::TimedOut {
            sleep(SAY_EVERY).await;
        }
    }
}
