//! Images of a request, packed into a tar file for an ingest child under generated names, one after another as they are received. The
//! server does not look into them.

use std::{
    io::{self, SeekFrom},
    path::PathBuf,
};

use tokio::{
    fs::File,
    io::{AsyncSeekExt, AsyncWriteExt, BufWriter},
};

use crate::jobs::children::paths::ScratchDir;

/// Size of a tar block, and of the header before each file.
const BLOCK: usize = 512;

/// The files of one request; removed when dropped.
pub struct Batch {
    dir: ScratchDir,
    out: BufWriter<File>,
    /// File names that the client sent.
    names: Vec<String>,
    /// Offset of the header of the current file.
    header_at: u64,
    /// Size of the current file so far.
    file_bytes: u64,
    /// Bytes of the files themselves.
    received: u64,
    written: u64,
}

/// A complete batch.
pub struct Packed {
    pub dir: ScratchDir,
    pub archive: PathBuf,
    pub names: Vec<String>,
}

impl Batch {
    /// Starts a batch in a directory of its own.
    pub async fn begin(dir: ScratchDir) -> io::Result<Self> {
        let file = File::create_new(dir.path().join("images.tar")).await?;
        Ok(Self {
            dir,
            out: BufWriter::with_capacity(1 << 18, file),
            names: Vec::new(),
            header_at: 0,
            file_bytes: 0,
            received: 0,
            written: 0,
        })
    }

    pub fn files(&self) -> usize {
        self.names.len()
    }

    /// Size of the current file so far, in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Size of the files so far, in bytes.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Total size in bytes, with what the tar file adds.
    pub fn bytes(&self) -> u64 {
        self.written
    }

    /// Starts the next file. Its size is written into its header when it is complete.
    pub async fn begin_file(&mut self, name: &str) -> io::Result<()> {
        self.names.push(name.to_owned());
        self.header_at = self.written;
        self.file_bytes = 0;
        self.put(&[0; BLOCK]).await
    }

    pub async fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.file_bytes += chunk.len() as u64;
        self.received += chunk.len() as u64;
        self.put(chunk).await
    }

    pub async fn end_file(&mut self) -> io::Result<()> {
        let padding = self.written.next_multiple_of(BLOCK as u64) - self.written;
        self.put(&[0; BLOCK][..padding as usize]).await?;
        let mut header = tar::Header::new_ustar();
        header.set_path(entry_name(self.names.len() - 1))?;
        header.set_size(self.file_bytes);
        header.set_mode(0o600);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        self.out.seek(SeekFrom::Start(self.header_at)).await?;
        self.out.write_all(header.as_bytes()).await?;
        self.out.seek(SeekFrom::Start(self.written)).await?;
        Ok(())
    }

    /// Ends the tar file with two zero blocks.
    pub async fn finish(mut self) -> io::Result<Packed> {
        self.put(&[0; 2 * BLOCK]).await?;
        self.out.flush().await?;
        Ok(Packed {
            archive: self.dir.path().join("images.tar"),
            dir: self.dir,
            names: self.names,
        })
    }

    async fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes).await?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

/// Name of a file in the tar file: never the one that the client sent.
fn entry_name(place: usize) -> String {
    format!("{place:08}.jpg")
}

/// The index of the file with this name.
pub fn place_of(entry: &str) -> Option<usize> {
    entry.strip_suffix(".jpg")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[tokio::test]
    async fn any_reader_of_tar_finds_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let dir = ScratchDir::new(folder.path()).unwrap();
        let mut batch = Batch::begin(dir).await.unwrap();
        let files: Vec<Vec<u8>> = [0, 1, 511, 512, 513, 300_000]
            .map(|length| vec![length as u8; length])
            .into();
        for (place, file) in files.iter().enumerate() {
            batch.begin_file(&format!("../{place}\n")).await.unwrap();
            for chunk in file.chunks(70_000) {
                batch.write(chunk).await.unwrap();
            }
            batch.end_file().await.unwrap();
        }
        let packed = batch.finish().await.unwrap();
        assert_eq!(packed.names[1], "../1\n");
        let mut archive = tar::Archive::new(std::fs::File::open(&packed.archive).unwrap());
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let place = place_of(&entry.path().unwrap().to_string_lossy()).unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, files[place]);
            found.push(place);
        }
        assert_eq!(found, (0..files.len()).collect::<Vec<_>>());
    }
}
