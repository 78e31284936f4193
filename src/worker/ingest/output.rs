//! Files of the run directory that are hashed while they are written, so that gigabytes need not be read again.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
};

use serde::Serialize;

use crate::{digest::Hasher, protocol::Artifact, worker::child::RunDir};

pub struct HashedFile {
    name: &'static str,
    file: BufWriter<File>,
    hasher: Hasher,
}

impl HashedFile {
    pub fn create(dir: &RunDir, name: &'static str) -> io::Result<Self> {
        Ok(Self {
            name,
            file: BufWriter::with_capacity(1 << 18, File::create(dir.file(name))?),
            hasher: Hasher::new(),
        })
    }

    /// Appends, and tells where the bytes begin.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let offset = self.hasher.bytes();
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        Ok(offset)
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
