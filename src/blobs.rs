//! Content-addressed files: archives, what ingest made of them, models. A blob is named by the SHA-256 of its bytes and never changes.
//!
//! Written once: into the spool with a running hash, synced, renamed to its name, the folder synced; only then may a row point to it.
//! A crash therefore leaves at worst a file that no row names, and [`Blobs::sweep`] removes it. Paths are built here and nowhere else.
//! (`object_store` is not used for the local disk: it does not sync what it writes, and a finished file cannot be moved into it.)

mod check;
mod partial;
mod spool;
mod writer;

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::{OwnedRwLockReadGuard, RwLock};

pub use self::{
    partial::{Continuation, Grown},
    spool::Spooled,
    writer::Writer,
};
use crate::{
    digest,
    error::{Error, Kind, Result},
    protocol::{Artifact, BulkFile},
};

/// The blob folder of a data directory. Cheap to clone.
#[derive(Clone)]
pub struct Blobs {
    blobs: PathBuf,
    spool: PathBuf,
    partials: PathBuf,
    /// Held for reading between a blob's appearance and its row's commit, for writing by the sweep.
    unswept: Arc<RwLock<()>>,
    looks: Arc<check::Looks>,
}

/// While it is held, no blob is swept: take it before a blob is put in place and keep it until the row that names it is committed.
pub struct Pin(#[allow(dead_code)] OwnedRwLockReadGuard<()>);

impl Blobs {
    /// Opens the folder; what an interrupted run left in the spool is removed.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let blobs = Self {
            blobs: data_dir.join("blobs"),
            spool: data_dir.join("spool"),
            partials: data_dir.join("uploads"),
            unswept: Arc::default(),
            looks: Arc::default(),
        };
        fs::create_dir_all(&blobs.blobs)?;
        fs::create_dir_all(&blobs.partials)?;
        if blobs.spool.exists() {
            fs::remove_dir_all(&blobs.spool)?;
        }
        fs::create_dir_all(&blobs.spool)?;
        Ok(blobs)
    }

    /// Where the blob of this digest is, or would be.
    pub fn path(&self, sha256: &str) -> PathBuf {
        debug_assert!(digest::is_digest(sha256));
        self.blobs.join(&sha256[..2]).join(sha256)
    }

    pub async fn pin(&self) -> Pin {
        Pin(self.unswept.clone().read_owned().await)
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

    fn take(&self, run_dir: &Path, file: &str, bytes: u64, sha256: Option<&str>) -> io::Result<String> {
        if Path::new(file).components().count() != 1 || file.starts_with('.') {
            return Err(io::Error::other("an artifact's name is malformed"));
        }
        let path = run_dir.join(file);
        let (found, length) = digest::of_file(&path)?;
        if sha256.is_some_and(|sha256| sha256 != found) || length != bytes {
            return Err(io::Error::other(format!(
                "{file} is not the file that the worker says it wrote"
            )));
        }
        File::open(&path)?.sync_all()?;
        self.place(&path, &found)?;
        Ok(found)
    }

    /// Removes every blob that is not in `referenced`; the caller reads that set while it holds the lock that this takes.
    pub async fn sweep<F>(&self, referenced: impl FnOnce() -> F) -> Result<u64>
    where
        F: Future<Output = Result<HashSet<String>>>,
    {
        let _nobody_adds = self.unswept.write().await;
        let keep = referenced().await?;
        let blobs = self.blobs.clone();
        blocking(move || remove_others(&blobs, &keep)).await
    }

    /// Free space of the disk that the data directory is on, in bytes.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.blobs)?;
        Ok(disk.f_bavail * disk.f_frsize)
    }

    /// Whether the disk has room for this many bytes more and for what is to stay free.
    ///
    /// # Errors
    /// `insufficient-storage`
    pub fn check_room(&self, bytes: u64, reserve: u64) -> Result<()> {
        if self.free_bytes()? < bytes.saturating_add(reserve) {
            let detail =
                "the server's disk has no room for this; delete datasets or models that are no longer needed";
            return Err(Error::new(Kind::DiskFull, "insufficient-storage", detail));
        }
        Ok(())
    }

    fn place(&self, from: &Path, sha256: &str) -> io::Result<()> {
        let target = self.path(sha256);
        if check::is_there(&target, sha256)? {
            return fs::remove_file(from);
        }
        let folder = target.parent().unwrap_or(&self.blobs);
        let new_folder = !folder.exists();
        fs::create_dir_all(folder)?;
        fs::rename(from, &target)?;
        File::open(folder)?.sync_all()?;
        if new_folder {
            File::open(&self.blobs)?.sync_all()?;
        }
        Ok(())
    }
}

fn remove_others(blobs: &Path, keep: &HashSet<String>) -> io::Result<u64> {
    let mut removed = 0;
    for folder in fs::read_dir(blobs)? {
        let folder = folder?.path();
        if !folder.is_dir() {
            continue;
        }
        for blob in fs::read_dir(&folder)? {
            let blob = blob?;
            if !blob.file_name().to_str().is_some_and(|name| keep.contains(name)) {
                fs::remove_file(blob.path())?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

async fn blocking<T: Send + 'static>(act: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    Ok(tokio::task::spawn_blocking(act)
        .await
        .map_err(Error::internal)??)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    async fn spooled(blobs: &Blobs, contents: &'static [u8]) -> Spooled {
        let mut writer = blobs.spool();
        for half in contents.chunks(contents.len().div_ceil(2).max(1)) {
            writer.write(Bytes::from_static(half)).await.unwrap();
        }
        writer.finish().await.unwrap()
    }

    #[tokio::test]
    async fn a_blob_is_named_by_its_contents_and_survives_a_sweep_while_a_row_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let file = spooled(&blobs, b"abc").await;
        let sha256 = file.sha256.clone();
        assert_eq!(sha256, digest::of_bytes(b"abc"));
        let pin = blobs.pin().await;
        blobs.keep(file, &pin).await.unwrap();
        drop(pin);
        let kept = HashSet::from([sha256.clone()]);
        assert_eq!(blobs.sweep(|| async { Ok(kept) }).await.unwrap(), 0);
        assert_eq!(fs::read(blobs.path(&sha256)).unwrap(), b"abc");
        assert_eq!(blobs.sweep(|| async { Ok(HashSet::new()) }).await.unwrap(), 1);
        assert!(!blobs.path(&sha256).exists());
    }

    #[tokio::test]
    async fn an_artifact_that_is_not_what_the_worker_says_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let pin = blobs.pin().await;
        fs::write(folder.path().join("model"), b"other").unwrap();
        let artifact = Artifact {
            file: "model".into(),
            sha256: digest::of_bytes(b"model"),
            bytes: 5,
        };
        assert!(blobs.adopt(folder.path(), &artifact, &pin).await.is_err());
        let outside = Artifact {
            file: "../model".into(),
            ..artifact
        };
        assert!(blobs.adopt(folder.path(), &outside, &pin).await.is_err());
        let bulk = |bytes| BulkFile {
            file: "model".into(),
            bytes,
        };
        assert!(blobs.adopt_bulk(folder.path(), &bulk(4), &pin).await.is_err());
        let known = blobs.adopt_bulk(folder.path(), &bulk(5), &pin).await.unwrap();
        assert_eq!(known.sha256, digest::of_bytes(b"other"));
        assert_eq!(fs::read(blobs.path(&known.sha256)).unwrap(), b"other");
    }
}
