//! Where attempts and logs lie in the data directory, and what is in them. Blocking calls, all of them small.
//!
//! `runs/{job or dataset}/{attempt}/` belongs to one child; nobody else ever writes there after it was made. Paths are built from ids only.

use std::{
    fmt::Display,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    id::JobId,
    private,
    protocol::{RUN_FILE, RunSpec},
};

/// Checkpoints of earlier attempts that are kept: the newest, and one more in case it is damaged.
const KEPT_CHECKPOINTS: usize = 2;

/// The folders of the background work.
#[derive(Clone, Debug)]
pub struct Paths {
    data_dir: PathBuf,
}

impl Paths {
    /// Children have folders of their own, so paths must not depend on the server's.
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

    /// The folder of all attempts of a job or a dataset.
    pub fn attempts(&self, of: &impl Display) -> PathBuf {
        self.runs().join(of.to_string())
    }

    pub fn run_dir(&self, of: &impl Display, attempt: u32) -> PathBuf {
        self.attempts(of).join(attempt.to_string())
    }

    pub fn logs(&self) -> PathBuf {
        self.data_dir.join("logs")
    }

    pub fn log(&self, of: &impl Display) -> PathBuf {
        self.logs().join(format!("{of}.log"))
    }

    /// Makes the folder of an attempt with the run file in it.
    pub fn begin(&self, of: &impl Display, attempt: u32, run: &RunSpec) -> io::Result<PathBuf> {
        let dir = self.run_dir(of, attempt);
        // What another attempt of this number left (the database came out of a backup) must not be taken for ours.
        remove(&dir)?;
        private::create_dir_all(&dir)?;
        write_run(&dir, run)?;
        Ok(dir)
    }

    /// Removes everything that the attempts of a job or a dataset left.
    pub fn forget(&self, of: &impl Display) -> io::Result<()> {
        remove(&self.attempts(of))
    }

    /// Checkpoints that earlier attempts of a job left, newest first. Only the newest few stay on disk.
    pub fn checkpoints(&self, job: JobId, attempt: u32) -> Vec<PathBuf> {
        let mut found: Vec<(u64, u32, PathBuf)> = Vec::new();
        for earlier in 1..attempt {
            let dir = self.run_dir(&job, earlier);
            for file in names(&dir) {
                if let Some(step) = checkpoint_step(&file) {
                    found.push((step, earlier, dir.join(file)));
                }
            }
        }
        found.sort_by_key(|(step, attempt, _)| std::cmp::Reverse((*step, *attempt)));
        for (_, _, old) in found.drain(found.len().min(KEPT_CHECKPOINTS)..) {
            // One that cannot be removed now is removed with its job.
            let _ = fs::remove_file(old);
        }
        found.into_iter().map(|(_, _, path)| path).collect()
    }
}

/// Beginning of the names of folders of work that no row knows of.
const PASSING: &str = "passing-";
/// Age from which such a folder is one that a server left when it was killed.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3600);

/// Makes a folder with the run file in it for work that nothing is to remember; it goes when it is dropped.
pub fn begin_passing(runs: &Path, run: &RunSpec) -> io::Result<TempDir> {
    let dir = passing(runs)?;
    write_run(dir.path(), run)?;
    Ok(dir)
}

/// The same without a run file.
pub fn passing(runs: &Path) -> io::Result<TempDir> {
    private::create_dir_all(runs)?;
    tempfile::Builder::new().prefix(PASSING).tempdir_in(runs)
}

/// Removes a folder of `runs` where it is of [`begin_passing`] and older than any such work can be.
pub fn forget_passing(runs: &Path, name: &str) -> io::Result<()> {
    let dir = runs.join(name);
    let age = || {
        fs::metadata(&dir)?
            .modified()?
            .elapsed()
            .map_err(io::Error::other)
    };
    if name.starts_with(PASSING) && age()? > FORGOTTEN {
        remove(&dir)?;
    }
    Ok(())
}

pub fn write_run(dir: &Path, run: &RunSpec) -> io::Result<()> {
    // It may hold the token of the hub.
    let mut file = private::options()
        .write(true)
        .create_new(true)
        .open(dir.join(RUN_FILE))?;
    file.write_all(&serde_json::to_vec_pretty(run)?)
}

/// The path from the root, without asking the disk.
pub fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Names of the entries of a folder; none where there is no such folder.
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

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
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
            forget_passing(folder.path(), name).unwrap();
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
        assert_eq!(paths.checkpoints(job, 3), [newest, second]);
        assert!(!oldest.exists());
    }
}
