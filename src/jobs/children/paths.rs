//! The directories of attempts and the logs in the data directory. All calls block, but are short.
//!
//! `runs/{job or dataset}/{attempt}/` belongs to one child: nobody else writes there after it was created, and it is not removed while a
//! process is alive in it. Paths are built from ids only.

use std::{
    collections::HashSet,
    fmt::Display,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::{
    domain::id::JobId,
    files::private,
    process::lock,
    protocol::{RUN_FILE, RunSpec},
};

/// Checkpoints of earlier attempts to keep: the newest, and one more in case it is damaged.
const KEPT_CHECKPOINTS: usize = 2;
/// Between tries to remove a directory that somebody is about to leave.
const PAUSE: Duration = Duration::from_millis(50);

/// The directories of the background work.
#[derive(Clone, Debug)]
pub struct Paths {
    data_dir: PathBuf,
}

impl Paths {
    /// Children have other working directories, so paths must be absolute.
    pub fn new(data_dir: &Path) -> Self {
        Self {
            data_dir: absolute(data_dir),
        }
    }

    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    pub fn runs(&self) -> PathBuf {
        self.data_dir.join("runs")
    }

    /// The directory of all attempts of a job or dataset.
    pub fn attempts(&self, of: &impl Display) -> PathBuf {
        self.runs().join(of.to_string())
    }

    pub fn run_dir(&self, of: &impl Display, attempt: u32) -> PathBuf {
        self.attempts(of).join(attempt.to_string())
    }

    /// The directory of the predict child.
    pub fn predictions(&self) -> PathBuf {
        self.data_dir.join("predict")
    }

    pub fn logs(&self) -> PathBuf {
        self.data_dir.join("logs")
    }

    pub fn log(&self, of: &impl Display) -> PathBuf {
        self.logs().join(format!("{of}.log"))
    }

    /// Creates the directory of an attempt, with the run file.
    pub fn begin(&self, of: &impl Display, attempt: u32, run: &RunSpec) -> io::Result<PathBuf> {
        let dir = self.run_dir(of, attempt);
        // Files of another attempt with this number (the database was restored from a backup) must not be mistaken for this one's.
        remove(&dir)?;
        private::create_dir_all(&dir)?;
        write_run(&dir, run)?;
        Ok(dir)
    }

    /// Removes everything that the attempts of a job or dataset left.
    pub fn forget(&self, of: &impl Display) -> io::Result<()> {
        remove(&self.attempts(of))
    }

    /// The same once nobody is left in it: what a child has started may outlive it by a moment. Blocks for up to a second.
    pub fn forget_when_left(&self, of: &impl Display) -> io::Result<()> {
        const TRIES: u32 = 20;
        for _ in 1..TRIES {
            match self.forget(of) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => thread::sleep(PAUSE),
                outcome => return outcome,
            }
        }
        self.forget(of)
    }

    /// Checkpoints of a job's earlier attempts, newest first. Only the newest few are kept on disk, and nothing else of those attempts.
    pub fn checkpoints(&self, job: JobId, attempt: u32) -> Vec<PathBuf> {
        let mut found: Vec<(u64, u32, PathBuf)> = Vec::new();
        let mut earlier: Vec<u32> = names(&self.attempts(&job))
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect();
        earlier.retain(|earlier| *earlier < attempt);
        for earlier in &earlier {
            let dir = self.run_dir(&job, *earlier);
            for file in names(&dir) {
                if let Some(step) = checkpoint_step(&file) {
                    found.push((step, *earlier, dir.join(file)));
                }
            }
        }
        found.sort_by_key(|(step, attempt, _)| std::cmp::Reverse((*step, *attempt)));
        found.truncate(KEPT_CHECKPOINTS);
        let kept: Vec<PathBuf> = found.into_iter().map(|(_, _, path)| path).collect();
        for earlier in earlier {
            keep_only(&self.run_dir(&job, earlier), &kept);
        }
        kept
    }
}

/// Removes everything of an ended attempt except these files. What cannot be removed now is removed with its job.
fn keep_only(dir: &Path, kept: &[PathBuf]) {
    if lock::is_held(dir).unwrap_or(true) {
        return;
    }
    let kept: HashSet<&Path> = kept.iter().map(PathBuf::as_path).collect();
    for name in names(dir) {
        let path = dir.join(&name);
        if name != lock::FILE && !kept.contains(path.as_path()) {
            let _ = match path.is_dir() {
                true => fs::remove_dir_all(path),
                false => fs::remove_file(path),
            };
        }
    }
}

/// Prefix of the directories of work that is not in the database.
pub const SCRATCH: &str = "passing-";
/// Age from which such a directory is unused.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3600);

/// A directory of work that is not recorded anywhere: removed when this is dropped, as soon as no process is alive in it.
pub struct ScratchDir(Option<TempDir>);

impl ScratchDir {
    /// Creates one.
    pub fn new(runs: &Path) -> io::Result<Self> {
        private::create_dir_all(runs)?;
        let dir = tempfile::Builder::new().prefix(SCRATCH).tempdir_in(runs)?;
        Ok(Self(Some(dir)))
    }

    /// Creates one with the run file.
    pub fn begin(runs: &Path, run: &RunSpec) -> io::Result<Self> {
        let dir = Self::new(runs)?;
        write_run(dir.path(), run)?;
        Ok(dir)
    }

    pub fn path(&self) -> &Path {
        self.0.as_ref().map_or(Path::new(""), TempDir::path)
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        let Some(dir) = self.0.take() else { return };
        // When a caller disconnects, its child is stopped, which takes a moment.
        let held = lock::is_held(dir.path()).unwrap_or(true);
        if let (true, Ok(runtime)) = (held, Handle::try_current()) {
            runtime.spawn(async move {
                if let Err(error) = lock::vacate(dir.path(), lock::PATIENCE).await {
                    tracing::error!(dir = %dir.path().display(), %error, "cannot remove the directory of a finished worker run");
                    let _ = dir.keep();
                }
            });
        }
    }
}

/// Removes a directory of `runs` if it is a [`ScratchDir`] one and older than any such work can be.
pub fn forget_scratch(runs: &Path, name: &str) -> io::Result<()> {
    let dir = runs.join(name);
    let age = || {
        fs::metadata(&dir)?
            .modified()?
            .elapsed()
            .map_err(io::Error::other)
    };
    if name.starts_with(SCRATCH) && age()? > FORGOTTEN {
        remove(&dir)?;
    }
    Ok(())
}

pub fn write_run(dir: &Path, run: &RunSpec) -> io::Result<()> {
    // It may contain the hub token.
    let mut file = private::options()
        .write(true)
        .create_new(true)
        .open(dir.join(RUN_FILE))?;
    file.write_all(&serde_json::to_vec_pretty(run)?)
}

/// The absolute path, without file system access.
pub fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Names of a directory's entries; empty if it does not exist.
pub fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn checkpoint_step(file: &str) -> Option<u64> {
    let digits = file.strip_prefix("checkpoint-")?.strip_suffix(".safetensors")?;
    digits.parse().ok()
}

/// Removes a directory in which no process is alive.
pub fn remove(dir: &Path) -> io::Result<()> {
    for inner in names(dir).into_iter().map(|name| dir.join(name)) {
        if inner.is_dir() && lock::is_held(&inner)? {
            return Err(inhabited());
        }
    }
    if lock::is_held(dir)? {
        return Err(inhabited());
    }
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn inhabited() -> io::Error {
    io::Error::new(
        io::ErrorKind::ResourceBusy,
        "a worker is still running in the directory to be removed",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_folders_of_passing_work_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str, old: bool| {
            let dir = folder.path().join(name);
            fs::create_dir(&dir).unwrap();
            if old {
                let before = std::time::SystemTime::now() - 2 * FORGOTTEN;
                fs::File::open(&dir).unwrap().set_modified(before).unwrap();
            }
            forget_scratch(folder.path(), name).unwrap();
            dir.exists()
        };
        assert!(make("passing-new", false));
        assert!(!make("passing-old", true));
        assert!(make("another", true));
    }

    #[test]
    fn checkpoints_come_newest_first_and_old_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        let job = JobId::new();
        let make = |attempt: u32, name: &str| {
            let dir = paths.run_dir(&job, attempt);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join(name), b"state").unwrap();
            dir.join(name)
        };
        let oldest = make(1, "checkpoint-9.safetensors");
        let second = make(1, "checkpoint-80.safetensors");
        let newest = make(2, "checkpoint-100.safetensors");
        make(2, "checkpoint-101.safetensors.partial");
        make(2, "model.safetensors");
        make(3, "checkpoint-200.safetensors");
        let torn = paths.run_dir(&job, 2).join("checkpoint-101.safetensors.partial");
        let unfinished = paths.run_dir(&job, 3).join("checkpoint-200.safetensors");
        assert_eq!(paths.checkpoints(job, 3), [newest, second]);
        assert!(!oldest.exists() && !torn.exists());
        assert!(unfinished.exists(), "the attempt's own files are kept");
    }

    #[tokio::test]
    async fn a_folder_is_not_removed_while_somebody_lives_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        let job = JobId::new();
        fs::create_dir_all(paths.run_dir(&job, 1)).unwrap();
        let held = lock::claim(&paths.run_dir(&job, 1)).await.unwrap();
        for kind in [paths.forget(&job), remove(&paths.run_dir(&job, 1))] {
            assert_eq!(kind.unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        }
        drop(held);
        paths.forget(&job).unwrap();
        assert!(!paths.attempts(&job).exists());
    }
}
