//! Files of uploads that come in several requests: they outlive the request, the connection and the server, until the last byte is
//! there and the file becomes a blob. How much of a file counts is in the upload's row; what lies behind that is cut off.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::{
    folder::{Blobs, Pin, blocking},
    writer::{Receiver, Writer},
};
use crate::{
    domain::id::UploadId,
    error::Result,
    files::{
        checksum::Checksum,
        digest::{self, Hasher},
        private,
    },
};

/// Where an upload goes on.
pub struct Continuation {
    pub upload: UploadId,
    /// Bytes that count.
    pub length: u64,
    /// Of these bytes, where somebody still has it; otherwise they are read again.
    pub hasher: Option<Hasher>,
    /// What the bytes to come must hash to.
    pub checksum: Option<Checksum>,
}

/// What an upload's file has become; synced.
pub struct Grown {
    /// Of all of it; it knows the length.
    pub hasher: Hasher,
    /// False where the new bytes do not have their checksum. Then they are cut off again.
    pub intact: bool,
}

impl Blobs {
    /// Appends to the file of an upload, which begins with the upload's first byte. What was written when the writer is given up stays.
    pub fn grow_partial(&self, continuation: Continuation) -> Writer<Grown> {
        let path = self.partial(continuation.upload);
        Writer::start(move |chunks| grow(&path, continuation, chunks))
    }

    /// The first bytes of an upload, `count` of them.
    pub async fn partial_head(&self, upload: UploadId, count: usize) -> Result<Vec<u8>> {
        let path = self.partial(upload);
        blocking(move || {
            let mut head = vec![0; count];
            File::open(path)?.read_exact(&mut head)?;
            Ok(head)
        })
        .await
    }

    /// Makes the whole file of an upload the blob of this digest. Doing it twice does nothing more.
    pub async fn keep_partial(&self, upload: UploadId, sha256: &str, _pin: &Pin) -> Result<()> {
        let (blobs, path, sha256) = (self.clone(), self.partial(upload), sha256.to_owned());
        blocking(move || {
            debug_assert!(digest::is_digest(&sha256));
            if !path.exists() && blobs.path(&sha256).exists() {
                return Ok(());
            }
            blobs.place(&path, &sha256)
        })
        .await
    }

    /// Removes the file of an upload, where there is one.
    pub async fn remove_partial(&self, upload: UploadId) -> Result<()> {
        let path = self.partial(upload);
        blocking(move || match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await
    }

    /// Every upload that has a file.
    pub async fn partials(&self) -> Result<Vec<UploadId>> {
        let folder = self.partials.clone();
        blocking(move || {
            let mut uploads = Vec::new();
            for entry in fs::read_dir(folder)? {
                let name = entry?.file_name();
                // What has another name is not ours.
                if let Some(upload) = name.to_str().and_then(|name| name.parse::<UploadId>().ok()) {
                    uploads.push(upload);
                }
            }
            Ok(uploads)
        })
        .await
    }

    fn partial(&self, upload: UploadId) -> PathBuf {
        self.partials.join(upload.to_string())
    }
}

fn grow(path: &Path, continuation: Continuation, chunks: Receiver) -> io::Result<Grown> {
    let Continuation {
        length,
        hasher,
        mut checksum,
        ..
    } = continuation;
    let mut file = open(path, length)?;
    let known = hasher.filter(|hasher| hasher.bytes() == length);
    let mut hasher = match known {
        Some(hasher) => hasher,
        None => hash_beginning(&mut file, length)?,
    };
    file.seek(SeekFrom::Start(length))?;
    let before = checksum.is_some().then(|| hasher.clone());
    let whole = chunks.write_to(&file, length, |chunk| {
        hasher.update(chunk);
        if let Some(checksum) = &mut checksum {
            checksum.update(chunk);
        }
    })?;
    let intact = checksum.is_none_or(|checksum| whole && checksum.holds());
    if let Some(before) = before.filter(|_| !intact) {
        file.set_len(length)?;
        hasher = before;
    }
    file.sync_all()?;
    Ok(Grown { hasher, intact })
}

/// Opens an upload's file and cuts off what does not count: it was written and never acknowledged.
fn open(path: &Path, length: u64) -> io::Result<File> {
    let file = private::options()
        .read(true)
        .write(true)
        .create(length == 0)
        .truncate(false)
        .open(path)?;
    if file.metadata()?.len() < length {
        return Err(io::Error::other("the file of an upload is shorter than it was"));
    }
    file.set_len(length)?;
    if let (0, Some(folder)) = (length, path.parent()) {
        File::open(folder)?.sync_all()?;
    }
    Ok(file)
}

fn hash_beginning(file: &mut File, length: u64) -> io::Result<Hasher> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut beginning = file.take(length);
    loop {
        match beginning.read(&mut buffer)? {
            0 => return Ok(hasher),
            count => hasher.update(&buffer[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    async fn grow(blobs: &Blobs, continuation: Continuation, bytes: &'static [u8]) -> Grown {
        let mut writer = blobs.grow_partial(continuation);
        writer.write(Bytes::from_static(bytes)).await.unwrap();
        writer.finish().await.unwrap()
    }

    fn at(upload: UploadId, length: u64, checksum: Option<&str>) -> Continuation {
        Continuation {
            upload,
            length,
            hasher: None,
            checksum: checksum.map(|header| Checksum::parse_tus(header).unwrap()),
        }
    }

    #[tokio::test]
    async fn what_was_not_acknowledged_is_written_anew_and_the_digest_is_that_of_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let upload = UploadId::new();
        grow(&blobs, at(upload, 0, None), b"abcdef").await;
        let grown = grow(&blobs, at(upload, 3, None), b"xyz").await;
        assert_eq!(grown.hasher.bytes(), 6);
        let sha256 = grown.hasher.finish();
        assert_eq!(sha256, digest::of_bytes(b"abcxyz"));
        // Another start of the server.
        let blobs = Blobs::open(folder.path()).unwrap();
        assert_eq!(blobs.partials().await.unwrap(), [upload]);
        assert_eq!(blobs.partial_head(upload, 4).await.unwrap(), b"abcx");
        let pin = blobs.pin().await;
        for _ in 0..2 {
            blobs.keep_partial(upload, &sha256, &pin).await.unwrap();
            assert_eq!(fs::read(blobs.path(&sha256)).unwrap(), b"abcxyz");
        }
        assert!(blobs.partials().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn bytes_without_their_checksum_are_cut_off_again() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let upload = UploadId::new();
        let of_def = "sha1 WJwiM1o4HxItEpIl9cC6MFbtWBE=";
        grow(&blobs, at(upload, 0, None), b"abc").await;
        let torn = grow(&blobs, at(upload, 3, Some(of_def)), b"dxf").await;
        assert!(!torn.intact);
        assert_eq!(torn.hasher.bytes(), 3);
        let grown = grow(&blobs, at(upload, 3, Some(of_def)), b"def").await;
        assert!(grown.intact);
        assert_eq!(grown.hasher.finish(), digest::of_bytes(b"abcdef"));
    }
}
