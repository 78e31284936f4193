//! How a changed file is told from the former one.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use crate::config::TlsFiles;

/// What tells a changed file from the former one, for both files; links are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp([Option<File>; 2]);

#[derive(Clone, Debug, PartialEq, Eq)]
struct File {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    pub fn of(files: &TlsFiles) -> Self {
        let file = |path: &Path| {
            let about = fs::metadata(path).ok()?;
            Some(File {
                device: about.dev(),
                inode: about.ino(),
                bytes: about.len(),
                changed: (about.mtime(), about.mtime_nsec()),
            })
        };
        Self([file(&files.certificate), file(&files.key)])
    }
}
