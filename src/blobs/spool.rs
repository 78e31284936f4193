//! Files of one request: written and hashed while their bytes come, and gone with the request unless they are kept.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::Path,
};

use uuid::Uuid;

use super::spooled::Spooled;
use super::{
    folder::Blobs,
    writer::{Receiver, Writer},
};
use crate::{
    error::Result,
    files::{digest::Hasher, private},
};

impl Blobs {
    /// Begins a file in the spool. Dropping the writer removes it.
    pub fn spool(&self) -> Writer<Spooled> {
        let path = self.spool.join(Uuid::now_v7().simple().to_string());
        Writer::start(move |chunks| {
            let written = write(&path, chunks);
            if written.is_err() {
                let _ = fs::remove_file(&path);
            }
            written
        })
    }

    /// Writes a file into the spool, at once. Blocking; what fails leaves nothing.
    pub fn write<T>(&self, fill: impl FnOnce(&mut dyn Write) -> Result<T>) -> Result<(Spooled, T)> {
        let path = self.spool.join(Uuid::now_v7().simple().to_string());
        let file = private::options().write(true).create_new(true).open(&path)?;
        // From here on the file goes when this is dropped.
        let mut spooled = Spooled {
            path,
            sha256: String::new(),
            bytes: 0,
        };
        let hasher = Hasher::new();
        let mut out = BufWriter::with_capacity(1 << 18, Hashing { file, hasher });
        let filled = fill(&mut out)?;
        let Hashing { file, hasher } = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        spooled.bytes = hasher.bytes();
        spooled.sha256 = hasher.finish();
        Ok((spooled, filled))
    }
}

/// A file and the hash of what was written to it.
struct Hashing {
    file: File,
    hasher: Hasher,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn write(path: &Path, chunks: Receiver) -> io::Result<Spooled> {
    let file = private::options().write(true).create_new(true).open(path)?;
    let mut hasher = Hasher::new();
    if !chunks.write_to(&file, 0, |chunk| hasher.update(chunk))? {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    file.sync_all()?;
    Ok(Spooled {
        path: path.to_owned(),
        bytes: hasher.bytes(),
        sha256: hasher.finish(),
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[tokio::test]
    async fn an_upload_that_breaks_off_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let mut writer = blobs.spool();
        writer.write(Bytes::from_static(b"half")).await.unwrap();
        assert!(writer.abandon().await.is_err());
        assert_eq!(fs::read_dir(folder.path().join("spool")).unwrap().count(), 0);
    }
}
