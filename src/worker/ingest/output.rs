//! Files of the run directory that are synced while they are written, so that the end has little to wait for, and that leave some free
//! space for the server: it must be able to record that the disk was full. The small ones are also hashed; the server hashes whatever it
//! stores, so the large ones need not be hashed twice.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    os::unix::fs::FileExt,
    sync::mpsc::{SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

use serde::Serialize;

use crate::{
    files::digest::Hasher,
    protocol::{Artifact, BulkFile},
    worker::process::{disk::OutputFile, run_dir::RunDir},
};

/// Bytes between two checks of the free disk space.
const CHECK_EVERY: u64 = 32 << 20;
/// Bytes between two syncs.
const FLUSH_EVERY: u64 = 32 << 20;

/// A file whose bytes are only counted.
pub struct Output {
    name: &'static str,
    file: BufWriter<OutputFile>,
    bytes: u64,
    min_free_bytes: u64,
    looked_at: u64,
    flushed_at: u64,
    /// Set after the first time.
    flusher: Option<Flusher>,
}

/// A file whose digest is known as soon as it is written.
pub struct HashedFile {
    file: Output,
    hasher: Hasher,
}

/// Syncs a file incrementally on its own thread, so that the end has little to wait for.
struct Flusher {
    wake: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Flusher {
    fn of(file: &File) -> io::Result<Self> {
        let file = file.try_clone()?;
        // At most one pending request: the disk should not be asked for more than it can do.
        let (wake, woken) = sync_channel(1);
        let thread =
            thread::Builder::new().spawn(move || woken.iter().try_for_each(|()| file.sync_data()))?;
        Ok(Self { wake, thread })
    }

    /// Does not wait. If the thread has failed, [`Flusher::finish`] reports it.
    fn wake(&self) {
        let _ = self.wake.try_send(());
    }

    fn finish(self) -> io::Result<()> {
        drop(self.wake);
        self.thread
            .join()
            .map_err(|_| io::Error::other("making a file durable failed unexpectedly"))?
    }
}

impl Output {
    pub fn create(dir: &RunDir, name: &'static str, min_free_bytes: u64) -> io::Result<Self> {
        let new = Self {
            name,
            file: BufWriter::with_capacity(1 << 18, dir.create(name)?),
            bytes: 0,
            min_free_bytes,
            looked_at: 0,
            flushed_at: 0,
            flusher: None,
        };
        new.check_disk()?;
        Ok(new)
    }

    /// Appends; returns the offset of the bytes.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let offset = self.bytes;
        self.file.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        if self.bytes - self.looked_at >= CHECK_EVERY {
            self.looked_at = self.bytes;
            self.check_disk()?;
        }
        if self.bytes - self.flushed_at >= FLUSH_EVERY {
            self.flushed_at = self.bytes;
            let flusher = match self.flusher.take() {
                Some(flusher) => flusher,
                None => Flusher::of(self.file.get_ref().file())?,
            };
            self.flusher.insert(flusher).wake();
        }
        Ok(offset)
    }

    /// Writes over bytes that were appended. Nothing may be waiting in the buffer, see [`Output::flush`].
    pub fn replace(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = self.file.get_ref();
        file.retry_when_full(|| file.file().write_all_at(bytes, offset))
    }

    /// Makes what was appended readable by others.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// The disk counts as full before it is.
    fn check_disk(&self) -> io::Result<()> {
        let file = self.file.get_ref();
        file.retry_when_full(|| {
            let disk = rustix::fs::fstatvfs(file.file())?;
            if disk.f_bavail.saturating_mul(disk.f_frsize) < self.min_free_bytes {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        })
    }

    /// Makes the file durable.
    pub fn finish(self) -> io::Result<BulkFile> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        self.flusher.map_or(Ok(()), Flusher::finish)?;
        file.file().sync_all()?;
        Ok(BulkFile {
            file: self.name.to_owned(),
            bytes: self.bytes,
        })
    }
}

impl HashedFile {
    pub fn create(dir: &RunDir, name: &'static str, min_free_bytes: u64) -> io::Result<Self> {
        Ok(Self {
            file: Output::create(dir, name, min_free_bytes)?,
            hasher: Hasher::new(),
        })
    }

    /// Appends a line of JSON.
    pub fn append_line(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.hasher.update(&line);
        self.file.append(&line).map(|_| ())
    }

    /// Makes the file durable and describes it.
    pub fn finish(self) -> io::Result<Artifact> {
        let BulkFile { file, bytes } = self.file.finish()?;
        Ok(Artifact {
            file,
            bytes,
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
        assert!(Output::create(&dir, "file", 0).is_ok());
        let refused = Output::create(&dir, "file", u64::MAX).map(|_| ()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        // One that fills up while it is written.
        let mut file = Output::create(&dir, "file", 0).unwrap();
        file.min_free_bytes = u64::MAX;
        let block = vec![0; 1 << 20];
        let written = (0..100).take_while(|_| file.append(&block).is_ok()).count();
        assert_eq!(written as u64 + 1, CHECK_EVERY >> 20);
    }
}
