//! The directory of a run: its task and its output.

use serde::Serialize;
use std::{
    error::Error,
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use super::{
    child::{Reporter, StopFlag},
    disk::{self, DiskWait, OutputFile},
};
use crate::{
    files::digest,
    protocol::{Artifact, RESULT_FILE, RUN_FILE, RunResult, RunSpec},
};

/// The directory of one attempt. Files are written through [`RunDir::create`] or [`RunDir::retry_when_full`].
#[derive(Clone)]
pub struct RunDir {
    path: PathBuf,
    /// None where a full disk is an error.
    disk_wait: Option<DiskWait>,
}

impl RunDir {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            disk_wait: None,
        }
    }

    /// The same for a run that waits when the disk is full.
    pub fn waiting_for_room(self, reporter: &Reporter, stop: &StopFlag) -> Self {
        Self {
            disk_wait: Some(DiskWait::new(reporter, stop)),
            ..self
        }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A folder in it, which is created if it is not there.
    pub fn folder(&self, name: &str) -> io::Result<Self> {
        let path = self.file(name);
        self.retry_when_full(|| fs::create_dir_all(&path))?;
        Ok(Self {
            path,
            disk_wait: self.disk_wait.clone(),
        })
    }

    /// Starts a file.
    pub fn create(&self, name: &str) -> io::Result<OutputFile> {
        let path = self.file(name);
        let file = self.retry_when_full(|| File::create(&path))?;
        Ok(OutputFile::new(file, self.disk_wait.clone()))
    }

    /// Repeats `act` while the disk is full, if this run waits for space. It must leave nothing half done behind.
    pub fn retry_when_full<T, E: Error + 'static>(&self, act: impl FnMut() -> Result<T, E>) -> Result<T, E> {
        disk::retry(self.disk_wait.as_ref(), act)
    }

    /// Time spent waiting for space.
    pub fn waited(&self) -> Duration {
        self.disk_wait.as_ref().map_or(Duration::ZERO, DiskWait::waited)
    }

    /// Reads the task.
    pub fn spec(&self) -> io::Result<RunSpec> {
        Ok(serde_json::from_slice(&fs::read(self.file(RUN_FILE))?)?)
    }

    /// Writes the result, durably, by rename: its existence means that everything it names exists.
    pub fn finish(&self, result: &RunResult) -> io::Result<()> {
        self.write_json(RESULT_FILE, result)?;
        File::open(&self.path)?.sync_all()
    }

    /// Writes a JSON file for people, durably, by rename.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        self.write(name, &serde_json::to_vec_pretty(value)?)
    }

    /// The same without whitespace.
    pub fn write_compact_json(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        self.write(name, &serde_json::to_vec(value)?)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let partial = self.file(&format!("{name}.partial"));
        self.retry_when_full(|| {
            let mut file = File::create(&partial)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&partial, self.file(name))
        })
    }

    /// Makes a complete file durable and describes it.
    pub fn artifact(&self, name: &str) -> io::Result<Artifact> {
        let path = self.file(name);
        File::open(&path)?.sync_all()?;
        let (sha256, bytes) = digest::of_file(&path)?;
        Ok(Artifact {
            file: name.to_owned(),
            sha256,
            bytes,
        })
    }
}
