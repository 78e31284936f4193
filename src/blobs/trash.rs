//! Blobs that no row names any more, kept aside for a while: `trash/{digest}`, their time of modification that at which they came here.
//!
//! They go when their time is up, and earlier, the oldest first, where the disk is nearly full: somebody who deletes a dataset to make
//! room gets room. A blob that a row names again is put back.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use crate::files::{digest, private};

#[derive(Clone)]
pub(super) struct Trash(PathBuf);

/// A blob in the trash.
struct Discarded {
    sha256: String,
    bytes: u64,
    /// When it was put there.
    since: SystemTime,
}

impl Trash {
    pub fn of(data_dir: &Path) -> Self {
        Self(data_dir.join("trash"))
    }

    pub fn path(&self, sha256: &str) -> PathBuf {
        self.0.join(sha256)
    }

    pub fn create(&self) -> io::Result<()> {
        private::create_dir_all(&self.0)
    }

    /// Moves a blob here.
    pub fn take(&self, sha256: &str, blob: &Path) -> io::Result<()> {
        // Before the move: a crash in between must not leave it here with the time at which it was made.
        File::open(blob)?.set_modified(SystemTime::now())?;
        fs::rename(blob, self.path(sha256))
    }

    /// Moves a blob back; false where it is not here.
    pub fn put_back(&self, sha256: &str, to: &Path) -> io::Result<bool> {
        match fs::rename(self.path(sha256), to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            moved => moved.map(|()| true),
        }
    }

    /// The same blob came again: the one here is needed no more.
    pub fn forget(&self, sha256: &str) -> io::Result<()> {
        match fs::remove_file(self.path(sha256)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    pub fn names(&self) -> io::Result<HashSet<String>> {
        let mut names = HashSet::new();
        self.each(|sha256, _| {
            names.insert(sha256.to_owned());
            Ok(())
        })?;
        Ok(names)
    }

    /// All that is here, the oldest first.
    fn list(&self) -> io::Result<Vec<Discarded>> {
        let mut all = Vec::new();
        self.each(|sha256, entry| {
            // It may have been taken to make room in this moment.
            if let Ok(metadata) = entry.metadata() {
                all.push(Discarded {
                    sha256: sha256.to_owned(),
                    bytes: metadata.len(),
                    since: metadata.modified()?,
                });
            }
            Ok(())
        })?;
        all.sort_by(|one, other| (one.since, &one.sha256).cmp(&(other.since, &other.sha256)));
        Ok(all)
    }

    /// Looks at everything that is here, in no order, without keeping a list: with many deletions a day of grace is a long one, and it would
    /// be in memory at each of them. What has another name is not ours.
    pub fn each(&self, mut look: impl FnMut(&str, &fs::DirEntry) -> io::Result<()>) -> io::Result<()> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            if let Some(sha256) = name.to_str().filter(|name| digest::is_digest(name)) {
                look(sha256, &entry)?;
            }
        }
        Ok(())
    }

    /// How many have their time up, and their bytes.
    pub fn expired(&self, grace: Duration) -> io::Result<(u64, u64)> {
        let now = SystemTime::now();
        let (mut count, mut bytes) = (0, 0);
        self.each(|_, entry| {
            if let Ok(metadata) = entry.metadata()
                && now.duration_since(metadata.modified()?).unwrap_or_default() >= grace
            {
                count += 1;
                bytes += metadata.len();
            }
            Ok(())
        })?;
        Ok((count, bytes))
    }

    /// Removes those whose time is up. How many, and how long the next one still has.
    pub fn expire(&self, grace: Duration) -> io::Result<(u64, Option<Duration>)> {
        let now = SystemTime::now();
        let (mut removed, mut next) = (0, None);
        self.each(|sha256, entry| {
            let Ok(metadata) = entry.metadata() else {
                return Ok(());
            };
            // A clock that was set back makes it wait longer.
            let age = now.duration_since(metadata.modified()?).unwrap_or_default();
            if let Some(left) = grace.checked_sub(age).filter(|left| !left.is_zero()) {
                next = Some(next.map_or(left, |next: Duration| next.min(left)));
                return Ok(());
            }
            self.forget(sha256)?;
            removed += 1;
            Ok(())
        })?;
        Ok((removed, next))
    }

    /// Removes the oldest until `bytes` are freed or nothing is left. How many that were.
    pub fn free(&self, bytes: u64) -> io::Result<u64> {
        let (mut removed, mut freed) = (0, 0);
        for blob in self.list()? {
            if freed >= bytes {
                break;
            }
            self.forget(&blob.sha256)?;
            removed += 1;
            freed += blob.bytes;
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(blobs: &[(&str, u64)]) -> (tempfile::TempDir, Trash, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let trash = Trash::of(folder.path());
        trash.create().unwrap();
        let mut digests = Vec::new();
        for (text, age) in blobs {
            let (sha256, blob) = (digest::of_bytes(text.as_bytes()), folder.path().join("blob"));
            fs::write(&blob, text).unwrap();
            trash.take(&sha256, &blob).unwrap();
            let since = SystemTime::now() - Duration::from_secs(*age);
            let file = File::open(folder.path().join("trash").join(&sha256)).unwrap();
            file.set_modified(since).unwrap();
            digests.push(sha256);
        }
        (folder, trash, digests)
    }

    #[test]
    fn blobs_go_when_their_time_is_up_and_not_before() {
        let (_folder, trash, digests) = with(&[("young", 10), ("old", 100), ("older", 200)]);
        let (removed, next) = trash.expire(Duration::from_secs(300)).unwrap();
        assert_eq!(removed, 0);
        assert_eq!(trash.expired(Duration::from_secs(60)).unwrap(), (2, 8));
        assert!((90..=100).contains(&next.unwrap().as_secs()), "{next:?}");
        let (removed, next) = trash.expire(Duration::from_secs(60)).unwrap();
        assert_eq!(removed, 2);
        assert!((40..=50).contains(&next.unwrap().as_secs()), "{next:?}");
        assert_eq!(trash.names().unwrap(), HashSet::from([digests[0].clone()]));
        assert_eq!(trash.expire(Duration::ZERO).unwrap(), (1, None));
    }

    #[test]
    fn a_full_disk_takes_the_oldest_first_and_no_more_than_it_needs() {
        let (_folder, trash, digests) = with(&[("ten bytes.", 1), ("9 bytes..", 3), ("8 bytes.", 2)]);
        assert_eq!(trash.free(0).unwrap(), 0);
        assert_eq!(trash.free(10).unwrap(), 2);
        assert_eq!(trash.names().unwrap(), HashSet::from([digests[0].clone()]));
        assert_eq!(trash.free(1000).unwrap(), 1);
    }

    #[test]
    fn a_blob_that_is_needed_again_is_put_back() {
        let (folder, trash, digests) = with(&[("needed", 50)]);
        let place = folder.path().join("place");
        assert!(trash.put_back(&digests[0], &place).unwrap());
        assert_eq!(fs::read(&place).unwrap(), b"needed");
        assert!(!trash.put_back(&digests[0], &place).unwrap());
        trash.forget(&digests[0]).unwrap();
    }
}
