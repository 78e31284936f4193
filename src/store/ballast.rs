//! Disk space held back so that the database can still be written when the disk is full: a file that is there for its size alone.
//!
//! Deleting is what frees a full disk, and a deletion is a row of the database first. Where the disk has no room for that row the file
//! is emptied, and it is filled again once there is room for it besides everything else.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// What is given away at a time. Others write too and may be quicker, so one deletion does not give everything away.
const SLICE: u64 = 2 << 20;
/// With less room than this a commit may fail: the log grows by its pages.
const ROOM_FOR_A_COMMIT: u64 = 1 << 20;

pub struct Ballast {
    file: PathBuf,
    bytes: u64,
}

impl Ballast {
    pub fn new(file: PathBuf, bytes: u64) -> Self {
        Self { file, bytes }
    }

    /// Fills the file where something was given away and the disk has room for that and for `reserve` bytes besides.
    ///
    /// # Errors
    /// The disk fails, or its file system cannot reserve space. A disk that has too little room is no error.
    pub fn fill(&self, reserve: u64) -> io::Result<()> {
        let missing = self.missing();
        if missing == 0 || self.free()? < missing.saturating_add(reserve) {
            return Ok(());
        }
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&self.file)?;
        match fallocate(&file, FallocateFlags::empty(), 0, self.bytes).map_err(io::Error::from) {
            Err(error) if !is_full(&error) => Err(error),
            // Others were quicker: the next time, then.
            _ => Ok(()),
        }
    }

    /// Gives some of the space away where the disk has no room for a commit.
    pub fn drop_if_full(&self) {
        if self.free().is_ok_and(|free| free < ROOM_FOR_A_COMMIT) {
            self.drop_now();
        }
    }

    pub fn drop_now(&self) {
        let held = self.held();
        if held == 0 {
            return;
        }
        let left = held.saturating_sub(SLICE);
        let shortened = File::options()
            .write(true)
            .open(&self.file)
            .and_then(|file| file.set_len(left));
        match shortened {
            Ok(()) => tracing::warn!(left, "the disk is full: releasing the ballast for the database"),
            Err(error) => tracing::error!(%error, "cannot release the ballast for the database"),
        }
    }

    /// What was given away, in bytes: the disk is as full as if it were not free.
    pub fn missing(&self) -> u64 {
        self.bytes.saturating_sub(self.held())
    }

    fn held(&self) -> u64 {
        fs::metadata(&self.file).map_or(0, |file| file.len())
    }

    fn free(&self) -> io::Result<u64> {
        let folder = self.file.parent().unwrap_or(&self.file);
        let disk = statvfs(folder)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn it_holds_space_back_and_gives_it_away_slice_by_slice() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ballast");
        let ballast = Ballast::new(file.clone(), 2 * SLICE + 5);
        let blocks = || fs::metadata(&file).unwrap().blocks() * 512;
        ballast.fill(0).unwrap();
        assert!(blocks() >= 2 * SLICE);
        assert_eq!(ballast.missing(), 0);
        ballast.drop_now();
        assert_eq!(ballast.missing(), SLICE);
        assert!(blocks() <= 2 * SLICE);
        ballast.fill(u64::MAX / 2).unwrap();
        assert_eq!(ballast.missing(), SLICE, "there is no room for the reserve");
        ballast.drop_now();
        ballast.drop_now();
        assert_eq!(blocks(), 0);
        ballast.drop_now();
        ballast.fill(0).unwrap();
        assert_eq!(ballast.missing(), 0);
    }

    #[test]
    fn none_is_made_where_none_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let ballast = Ballast::new(folder.path().join("ballast"), 0);
        ballast.fill(0).unwrap();
        ballast.drop_if_full();
        assert!(!folder.path().join("ballast").exists());
    }
}
