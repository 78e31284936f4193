//! A file of one request.

use std::{
    fs::{self},
    path::{Path, PathBuf},
};

/// A file in the spool, whole and synced.
#[derive(Debug)]
pub struct Spooled {
    pub(super) path: PathBuf,
    pub sha256: String,
    pub bytes: u64,
}

impl Spooled {
    /// Where it lies until it is kept, for a child to read.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Spooled {
    /// A file that was not kept goes; one that was kept is no longer here.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
