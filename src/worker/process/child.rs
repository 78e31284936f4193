//! A one-shot child's ends of the pipes: messages out, "leave" in, the result file last.
//!
//! Used by `ingest`, `train`, `evaluate`, `lr-find` and `batch-predict`. Nothing else in the worker prints to stdout or reads stdin.

use std::{
    error::Error,
    fs::{self, File},
    io::{self, Read, Write},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use super::disk::{self, OutputFile, Patience};
use crate::{
    files::digest,
    protocol::{Artifact, RESULT_FILE, RUN_FILE, RunResult, RunSpec, WorkerMessage},
};
use serde::Serialize;

/// Where a child tells what it does. Cheap to clone; lines never mix.
#[derive(Clone)]
pub struct Reporter {
    out: Arc<Mutex<Box<dyn Write + Send>>>,
}

impl Reporter {
    pub fn stdout() -> Self {
        Self::to(io::stdout())
    }

    /// For tests: messages go into any writer.
    pub fn to(out: impl Write + Send + 'static) -> Self {
        Self {
            out: Arc::new(Mutex::new(Box::new(out))),
        }
    }

    /// Sends one message. A server that no longer listens is not an error here: the end of stdin tells that story.
    pub fn send(&self, message: &WorkerMessage) {
        let Ok(mut line) = serde_json::to_vec(message) else {
            return;
        };
        line.push(b'\n');
        if let Ok(mut out) = self.out.lock() {
            let _ = out.write_all(&line).and_then(|()| out.flush());
        }
    }
}

/// The server asked the child to leave, and its state is saved: the reason why a run ended without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped because stdin ended; the state is saved")]
pub struct Stopped;

/// Set once the child should save its state and leave.
#[derive(Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Watches stdin on a thread of its own: its end (or failure) sets the flag.
    pub fn from_stdin() -> Self {
        let flag = Self::default();
        let watcher = flag.clone();
        thread::spawn(move || {
            let mut ignored = [0; 256];
            while matches!(io::stdin().read(&mut ignored), Ok(count) if count > 0) {}
            watcher.set();
        });
        flag
    }

    pub fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// The directory of one attempt. What is written there goes through [`RunDir::create`] or [`RunDir::patiently`].
#[derive(Clone)]
pub struct RunDir {
    path: PathBuf,
    /// None where a full disk is an error.
    patience: Option<Patience>,
}

impl RunDir {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            patience: None,
        }
    }

    /// The same for a run that waits where the disk is full.
    pub fn waiting_for_room(self, reporter: &Reporter, stop: &StopFlag) -> Self {
        Self {
            patience: Some(Patience::new(reporter, stop)),
            ..self
        }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Begins a file.
    pub fn create(&self, name: &str) -> io::Result<OutputFile> {
        let path = self.file(name);
        let file = self.patiently(|| File::create(&path))?;
        Ok(OutputFile::new(file, self.patience.clone()))
    }

    /// Repeats `act` while the disk is full, where this run waits for room. It has to leave nothing half done behind.
    pub fn patiently<T, E: Error + 'static>(&self, act: impl FnMut() -> Result<T, E>) -> Result<T, E> {
        disk::retry(self.patience.as_ref(), act)
    }

    /// Time that was spent waiting for room.
    pub fn waited(&self) -> Duration {
        self.patience.as_ref().map_or(Duration::ZERO, Patience::waited)
    }

    /// Reads what the server wants.
    pub fn spec(&self) -> io::Result<RunSpec> {
        Ok(serde_json::from_slice(&fs::read(self.file(RUN_FILE))?)?)
    }

    /// Writes the result, durable, by rename: its being there means that everything it names is there.
    pub fn finish(&self, result: &RunResult) -> io::Result<()> {
        self.write_json(RESULT_FILE, result)?;
        File::open(&self.path)?.sync_all()
    }

    /// Writes a JSON file for people, durable, by rename.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        self.write(name, &serde_json::to_vec_pretty(value)?)
    }

    /// The same in as few bytes as it takes.
    pub fn write_compact_json(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        self.write(name, &serde_json::to_vec(value)?)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let partial = self.file(&format!("{name}.partial"));
        self.patiently(|| {
            let mut file = File::create(&partial)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&partial, self.file(name))
        })
    }

    /// Makes a finished file durable and describes it.
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
