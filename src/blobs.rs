//! Content-addressed files: archives, what ingest made of them, models. A blob is named by the SHA-256 of its bytes and never changes.
//!
//! Written once: into the spool with a running hash, synced, renamed to its name, the folder synced; only then may a row point to it.
//! A crash therefore leaves at worst a file that no row names, and [`Blobs::sweep`] takes it away: into the trash, where it stays for a
//! while. Paths are built here and nowhere else.
//! (`object_store` is not used for the local disk: it does not sync what it writes, and a finished file cannot be moved into it.)

mod check;
mod partial;
mod placed;
mod spool;
mod sweep;
mod trash;
mod writer;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::{Notify, OwnedRwLockReadGuard, RwLock};

pub use self::{
    partial::{Continuation, Grown},
    spool::Spooled,
    sweep::{Grace, Swept},
    writer::Writer,
};
use self::{placed::Placed, trash::Trash};
use crate::{
    error::{Error, Kind, Result},
    files::{digest, private},
    protocol::{Artifact, BulkFile},
};

/// The blob folder of a data directory. Cheap to clone.
#[derive(Clone)]
pub struct Blobs {
    blobs: PathBuf,
    spool: PathBuf,
    partials: PathBuf,
    trash: Trash,
    placed: Placed,
    /// Told when blobs may have been added, with their rows, or taken away.
    changed: Arc<Notify>,
    /// Held for reading between a blob's appearance and its row's commit, for writing by the sweep.
    unswept: Arc<RwLock<()>>,
    looks: Arc<check::Looks>,
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
            tracing::info!("the disk is nearly full: blobs went before their time of grace was up");
        }
        if self.free_bytes()? < needed {
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
        private::close_one(from)?;
        self.placed.note(sha256)?;
        self.make_folder_of(&target)?;
        fs::rename(from, &target)?;
        File::open(target.parent().unwrap_or(&self.blobs))?.sync_all()?;
        self.trash.forget(sha256)
    }

    /// Makes the folder that a blob lies in.
    fn make_folder_of(&self, blob: &Path) -> io::Result<()> {
        let folder = blob.parent().unwrap_or(&self.blobs);
        if !folder.exists() {
            private::create_dir_all(folder)?;
            File::open(&self.blobs)?.sync_all()?;
        }
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(act: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    Ok(tokio::task::spawn_blocking(act)
        .await
        .map_err(Error::internal)??)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{HashMap, HashSet},
        time::Duration,
    };

    use bytes::Bytes;

    use super::*;
    use crate::domain::{data_directory::Misfit, jobs::ledger::Ledger};

    const GRACE: Grace = Grace {
        time: Duration::from_secs(60),
        reserve: 0,
    };

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
        let kept = Ledger {
            named: HashSet::from([sha256.clone()]),
            ..Ledger::default()
        };
        let swept = blobs.sweep(GRACE, || async { Ok(kept.clone()) }).await.unwrap();
        assert_eq!(swept, Swept::default());
        assert_eq!(fs::read(blobs.path(&sha256)).unwrap(), b"abc");
        let swept = blobs
            .sweep(GRACE, || async { Ok(Ledger::default()) })
            .await
            .unwrap();
        assert_eq!((swept.discarded, swept.strays, swept.doubt), (1, 1, None));
        assert!(swept.next.is_some_and(|next| next <= GRACE.time));
        assert!(!blobs.path(&sha256).exists());
        // A row names it again: the database was put back.
        let swept = blobs.sweep(GRACE, || async { Ok(kept) }).await.unwrap();
        assert_eq!((swept.put_back, swept.next), (1, None));
        assert_eq!(fs::read(blobs.path(&sha256)).unwrap(), b"abc");
        let over = Grace {
            time: Duration::ZERO,
            ..GRACE
        };
        let swept = blobs
            .sweep(over, || async { Ok(Ledger::default()) })
            .await
            .unwrap();
        assert_eq!((swept.discarded, swept.expired), (1, 1));
        assert!(!blobs.path(&sha256).exists() && blobs.trash.names().unwrap().is_empty());
    }

    /// Blobs without rows, put in place by others than this program.
    fn strangers(blobs: &Blobs, count: usize) -> Vec<String> {
        let digests: Vec<_> = (0..count)
            .map(|index| digest::of_bytes(format!("stranger {index}").as_bytes()))
            .collect();
        for sha256 in &digests {
            fs::create_dir_all(blobs.path(sha256).parent().unwrap()).unwrap();
            fs::write(blobs.path(sha256), "bytes").unwrap();
        }
        digests
    }

    #[tokio::test]
    async fn a_database_that_does_not_know_the_blobs_moves_none_of_them_but_those_that_were_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let digests = strangers(&blobs, 5);
        let ledger = Ledger {
            released: HashMap::from([(digests[0].clone(), false), (digests[1].clone(), true)]),
            ..Ledger::default()
        };
        let swept = blobs.sweep(GRACE, || async { Ok(ledger) }).await.unwrap();
        assert_eq!(swept.doubt, Some(Misfit::Strays { strays: 3, blobs: 5 }));
        assert_eq!((swept.discarded, swept.removed, swept.strays), (1, 1, 0));
        assert_eq!(swept.done.len(), 2);
        assert_eq!(blobs.present().unwrap().len(), 3);
        assert_eq!(blobs.trash.names().unwrap(), HashSet::from([digests[0].clone()]));
    }

    #[tokio::test]
    async fn what_was_put_in_place_since_the_last_sweep_is_a_leaving_of_a_crash_however_much_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let pin = blobs.pin().await;
        for text in [&b"one"[..], b"two", b"three", b"four"] {
            blobs.keep(spooled(&blobs, text).await, &pin).await.unwrap();
        }
        drop(pin);
        // Another start of the server.
        let blobs = Blobs::open(folder.path()).unwrap();
        assert_eq!(blobs.check(&Ledger::default()).unwrap(), None);
        let swept = blobs
            .sweep(GRACE, || async { Ok(Ledger::default()) })
            .await
            .unwrap();
        assert_eq!((swept.discarded, swept.strays, swept.doubt), (4, 0, None));
        // One of them comes again: it need not be kept twice.
        let pin = blobs.pin().await;
        let again = spooled(&blobs, b"one").await;
        let sha256 = again.sha256.clone();
        blobs.keep(again, &pin).await.unwrap();
        assert!(blobs.path(&sha256).exists());
        assert_eq!(blobs.trash.names().unwrap().len(), 3);
    }

    #[tokio::test]
    async fn little_room_empties_the_trash_before_anybody_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        strangers(&blobs, 2);
        let swept = blobs
            .sweep(GRACE, || async { Ok(Ledger::default()) })
            .await
            .unwrap();
        assert_eq!((swept.strays, swept.expired_early), (2, 0));
        blobs.check_room(1, 0).unwrap();
        assert_eq!(blobs.trash.names().unwrap().len(), 2);
        let refused = blobs.check_room(u64::MAX, 0).unwrap_err();
        assert_eq!(refused.slug(), "insufficient-storage");
        assert!(blobs.trash.names().unwrap().is_empty());
        strangers(&blobs, 2);
        let nearly_full = Grace {
            reserve: u64::MAX,
            ..GRACE
        };
        let swept = blobs.sweep(nearly_full, || async { Ok(Ledger::default()) }).await;
        assert_eq!(swept.unwrap().expired_early, 2);
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
