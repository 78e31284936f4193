//! Zip files whose bytes depend only on their content: no time, no user, entries in insertion order, uncompressed (weights do not
//! compress).

use std::{
    fs::File,
    io::{self, BufWriter, Read, Write},
    path::Path,
};

use zip::{CompressionMethod, DateTime, ZipWriter, write::SimpleFileOptions};

use crate::files::digest::Hasher;

/// Alignment of entries, so that readers can map tensors into memory. PyTorch's own writer does the same.
const ALIGNMENT: u16 = 64;

/// A zip file being written.
pub struct Archive(ZipWriter<BufWriter<File>>);

impl Archive {
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        Ok(Self(ZipWriter::new(BufWriter::new(File::create(path)?))))
    }

    pub fn add(&mut self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        self.begin(name, bytes.len() as u64)?;
        Ok(self.0.write_all(bytes)?)
    }

    /// Adds a file and returns the SHA-256 of what was added.
    pub fn add_file(&mut self, name: &str, path: &Path) -> anyhow::Result<String> {
        let mut file = File::open(path)?;
        self.begin(name, file.metadata()?.len())?;
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hasher.finish()),
                count => {
                    hasher.update(&buffer[..count]);
                    self.0.write_all(&buffer[..count])?;
                }
            }
        }
    }

    pub fn finish(self) -> anyhow::Result<()> {
        let out = self.0.finish()?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(())
    }

    fn begin(&mut self, name: &str, bytes: u64) -> anyhow::Result<()> {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(DateTime::default())
            .unix_permissions(0o644)
            .with_alignment(ALIGNMENT)
            .large_file(bytes >= u64::from(u32::MAX));
        Ok(self.0.start_file(name, options)?)
    }
}
