//! The data directory that `finetuned doctor` looks at, and the disk that it is on.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::data_dir::Lock;

/// Where the data directory is, or would be.
pub struct Place {
    pub data_dir: PathBuf,
    /// The directory, or the nearest one above it that is there.
    pub existing: PathBuf,
    /// A server runs on it.
    pub is_served: bool,
}

impl Place {
    pub fn of(data_dir: &Path) -> Self {
        let path = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
        let existing = path.ancestors().find(|folder| folder.is_dir());
        Self {
            existing: existing.unwrap_or(Path::new("/")).to_owned(),
            // One that cannot be read is a finding of the database.
            is_served: Lock::try_without_a_trace(&path).is_ok_and(|lock| lock.is_none()),
            data_dir: path,
        }
    }

    pub fn is_there(&self) -> bool {
        self.existing == self.data_dir
    }

    /// A folder for trying things out on the same disk, gone when it is dropped.
    pub fn scratch(&self) -> std::io::Result<TempDir> {
        tempfile::Builder::new()
            .prefix(".finetuned-doctor-")
            .tempdir_in(&self.existing)
    }
}
