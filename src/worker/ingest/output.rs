//! Files of the run directory that are hashed while they are written, so that gigabytes need not be read again, and that leave the
//! server its share of the disk: it must be able to write down that there was no room.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
};

use serde::Serialize;

use crate::{digest::Hasher, protocol::Artifact, worker::child::RunDir};

/// Bytes between two looks at how much of the disk is free.
const LOOK_EVERY: u64 = 32 << 20;

pub struct HashedFile {
    name: &'static str,
    file: BufWriter<File>,
    hasher: Hasher,
    min_free_bytes: u64,
    looked_at: u64,
}

impl HashedFile {
    pub fn create(dir: &RunDir, name: &'static str, min_free_bytes: u64) -> io::Result<Self> {
        let new = Self {
            name,
            file: BufWriter::with_capacity(1 << 18, File::create(dir.file(name))?),
            hasher: Hasher::new(),
            min_free_bytes,
            looked_at: 0,
        };
        new.check_disk()?;
        Ok(new)
    }

    /// Appends, and tells where the bytes begin.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let offset = self.hasher.bytes();
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        if self.hasher.bytes() - self.looked_at >= LOOK_EVERY {
            self.looked_at = self.hasher.bytes();
            self.check_disk()?;
        }
        Ok(offset)
    }

    /// The disk counts as full before it is.
    fn check_disk(&self) -> io::Result<()> {
        let disk = rustix::fs::fstatvfs(self.file.get_ref())?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) < self.min_free_bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// Appends a line of JSON.
    pub fn append_line(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.append(&line).map(|_| ())
    }

    /// Makes the file durable and describes it.
    pub fn finish(self) -> io::Result<Artifact> {
        self.file
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()?;
        Ok(Artifact {
            file: self.name.to_owned(),
            bytes: self.hasher.bytes(),
            sha256: self.hasher.finish(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_counts_as_full_when_the_server_s_share_is_all_that_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let dir = RunDir::new(folder.path());
        assert!(HashedFile::create(&dir, "file", 0).is_ok());
        let refused = HashedFile::create(&dir, "file", u64::MAX)
            .map(|_| ())
            .unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        // One that fills up while it is written.
        let mut file = HashedFile::create(&dir, "file", 0).unwrap();
        file.min_free_bytes = u64::MAX;
        let block = vec![0; 1 << 20];
        let written = (0..100).take_while(|_| file.append(&block).is_ok()).count();
        assert_eq!(written as u64 + 1, LOOK_EVERY >> 20);
    }
}
