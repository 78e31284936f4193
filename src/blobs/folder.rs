//! The folder of the blobs: where they lie, how they get there, whether somebody is adding any.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::{Notify, OwnedRwLockReadGuard, RwLock};

use super::looks::{Looks, is_there};
use super::{placed::Placed, spooled::Spooled, trash::Trash};
use crate::{
    error::{Error, Kind, Result},
    files::{digest, private},
    protocol::{Artifact, BulkFile},
};

/// The blob folder of a data directory. Cheap to clone.
#[derive(Clone)]
pub struct Blobs {
    pub(super) blobs: PathBuf,
    pub(super) spool: PathBuf,
    pub(super) partials: PathBuf,
    pub(super) trash: Trash,
    pub(super) placed: Placed,
    /// Told when blobs may have been added, with their rows, or taken away.
    pub(super) changed: Arc<Notify>,
    /// Held for reading between a blob's appearance and its row's commit, for writing by the sweep.
    pub(super) unswept: Arc<RwLock<()>>,
    pub(super) looks: Arc<Looks>,
}

/// While it is held, no blob is swept: take it before a blob is put in place and keep it until the row that names it is committed.
pub struct Pin {
    /// None while it is dropped.
    unswept: Option<OwnedRwLockReadGuard<()>>,
    changed: Arc<Notify>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        // In this order: who is told finds nobody who adds.
        drop(self.unswept.take());
        self.changed.notify_one();
    }
}

impl Blobs {
    /// Opens the folder; what an interrupted run left in the spool is removed.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let blobs = Self::at(data_dir);
        private::create_dir_all(&blobs.blobs)?;
        private::create_dir_all(&blobs.partials)?;
        blobs.trash.create()?;
        if blobs.spool.exists() {
            fs::remove_dir_all(&blobs.spool)?;
        }
        private::create_dir_all(&blobs.spool)?;
        Ok(blobs)
    }

    /// The folder as it is, to look at: nothing is made and nothing removed.
    pub fn at(data_dir: &Path) -> Self {
        Self {
            blobs: data_dir.join("blobs"),
            spool: data_dir.join("spool"),
            partials: data_dir.join("uploads"),
            trash: Trash::of(data_dir),
            placed: Placed::of(data_dir),
            changed: Arc::default(),
            looks: Arc::default(),
            unswept: Arc::default(),
        }
    }

    /// Where the blob of this digest is, or would be.
    pub fn path(&self, sha256: &str) -> PathBuf {
        debug_assert!(digest::is_digest(sha256));
        self.blobs.join(&sha256[..2]).join(sha256)
    }

    /// Where to look for a blob that a sweep may be moving in this moment, to the trash or back, in this order.
    pub fn places(&self, sha256: &str) -> [PathBuf; 3] {
        let path = self.path(sha256);
        [path.clone(), self.trash.path(sha256), path]
    }

    pub async fn pin(&self) -> Pin {
        Pin {
            unswept: Some(self.unswept.clone().read_owned().await),
            changed: self.changed.clone(),
        }
    }

    /// As if blobs had changed.
    pub fn expect_change(&self) {
        self.changed.notify_one();
    }

    /// Waits until blobs may have been added or taken away since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Puts a spooled file in its place.
    pub async fn keep(&self, spooled: Spooled, _pin: &Pin) -> Result<()> {
        let blobs = self.clone();
        blocking(move || blobs.place(spooled.path(), &spooled.sha256)).await
    }

    /// Takes a file that a child made: checks that it is what the child says, and puts it in its place.
    ///
    /// # Errors
    /// The file is not there or is not what the artifact says.
    pub async fn adopt(&self, run_dir: &Path, artifact: &Artifact, _pin: &Pin) -> Result<()> {
        let (blobs, run_dir, artifact) = (self.clone(), run_dir.to_owned(), artifact.clone());
        blocking(move || {
            if !digest::is_digest(&artifact.sha256) {
                return Err(io::Error::other("an artifact's digest is malformed"));
            }
            blobs.take(&run_dir, &artifact.file, artifact.bytes, Some(&artifact.sha256))?;
            Ok(())
        })
        .await
    }

    /// Takes a large file that a child made without hashing it, and says by which digest it is known from now on.
    ///
    /// # Errors
    /// The file is not there or is not as long as the child says.
    pub async fn adopt_bulk(&self, run_dir: &Path, file: &BulkFile, _pin: &Pin) -> Result<Artifact> {
        let (blobs, run_dir, BulkFile { file, bytes }) = (self.clone(), run_dir.to_owned(), file.clone());
        blocking(move || {
            let sha256 = blobs.take(&run_dir, &file, bytes, None)?;
            Ok(Artifact { file, sha256, bytes })
        })
        .await
    }

    pub(super) fn take(
        &self,
        run_dir: &Path,
        file: &str,
        bytes: u64,
        sha256: Option<&str>,
    ) -> io::Result<String> {
        if Path::new(file).components().count() != 1 || file.starts_with('.') {
            return Err(io::Error::other("an artifact's name is malformed"));
        }
        let path = run_dir.join(file);
        let (found, length) = digest::of_file(&path)?;
        if sha256.is_some_and(|sha256| sha256 != found) || length != bytes {
            return Err(io::Error::other(format!(
                "{file} does not match the worker's result"
            )));
        }
        File::open(&path)?.sync_all()?;
        self.place(&path, &found)?;
        Ok(found)
    }

    /// Free space of the disk that the data directory is on, in bytes.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.blobs)?;
        Ok(disk.f_bavail * disk.f_frsize)
    }

    /// Whether the disk has room for this many bytes more and for what is to stay free. What lies in the trash gives way.
    ///
    /// # Errors
    /// `insufficient-storage`
    pub fn check_room(&self, bytes: u64, reserve: u64) -> Result<()> {
        let needed = bytes.saturating_add(reserve);
        if self.free_bytes()? < needed && self.free_at_least(needed)? > 0 {
            tracing::info!("the disk is nearly full: removed blobs before the end of their grace period");
        }
        if self.free_bytes()? < needed {
            let detail = "the server's disk does not have enough space; delete datasets or models that are no longer needed";
            return Err(Error::new(Kind::DiskFull, "insufficient-storage", detail));
        }
        Ok(())
    }

    pub(super) fn place(&self, from: &Path, sha256: &str) -> io::Result<()> {
        let target = self.path(sha256);
        if is_there(&target, sha256)? {
            return fs::remove_file(from);
        }
        private::close_one(from)?;
        self.placed.note(sha256)?;
        self.make_folder_of(&target)?;
        fs::rename(from, &target)?;
        File::open(target.parent().unwrap_or(&self.blobs))?.sync_all()?;
        self.trash.forget(sha256)
    }

    /// Makes the folder that a blob lies in.
    pub(super) fn make_folder_of(&self, blob: &Path) -> io::Result<()> {
        let folder = blob.parent().unwrap_or(&self.blobs);
        if !folder.exists() {
            private::create_dir_all(folder)?;
            File::open(&self.blobs)?.sync_all()?;
        }
        Ok(())
    }
}

pub async fn blocking<T: Send + 'static>(act: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    // One type for all that return the same, so that the runtime's task is compiled once for them.
    let act: Box<dyn FnOnce() -> io::Result<T> + Send> = Box::new(act);
    Ok(tokio::task::spawn_blocking(act)
        .await
        .map_err(Error::internal)??)
}
