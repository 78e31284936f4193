//! Writes a file from a request to disk while it is received: counted, inspected, hashed, and never in memory as a whole.

use std::time::Duration;

use axum::body::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::time::timeout;

use crate::{
    blobs::{Blobs, Spooled, Writer},
    error::{Error, Result},
    store::Room,
    uploads::too_slow,
};

/// How a file is received.
pub struct Intake<'a> {
    pub blobs: &'a Blobs,
    /// Longest time without data from the client.
    pub idle: Duration,
    /// Largest size of the file in bytes.
    pub limit: u64,
    /// The error for a larger file.
    pub too_large: fn(u64) -> Error,
    /// Of whoever will own it: it also ends the file.
    pub room: Room,
}

impl Intake<'_> {
    /// Receives the file. `look` sees every chunk before it is written, and may refuse it. When an error is returned, nothing is left on
    /// the disk: a client that gets the error may check.
    ///
    /// # Errors
    /// Those of `too_large` and `look`, `quota-bytes` (429), `body-too-slow` (408), and the errors of `chunks` and of the disk.
    pub async fn take(
        &self,
        chunks: impl Stream<Item = Result<Bytes>>,
        look: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<Spooled> {
        let mut writer = self.blobs.spool();
        match self.take_all(&mut writer, chunks, look).await {
            Ok(()) => writer.finish().await,
            Err(error) => {
                // It returns an error, as expected; the error that counts is already known.
                let _ = writer.abandon().await;
                Err(error)
            }
        }
    }

    async fn take_all(
        &self,
        writer: &mut Writer<Spooled>,
        chunks: impl Stream<Item = Result<Bytes>>,
        mut look: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut bytes = 0;
        let mut chunks = std::pin::pin!(chunks);
        let slow = |_| too_slow(self.idle);
        while let Some(chunk) = timeout(self.idle, chunks.next()).await.map_err(slow)? {
            let chunk = chunk?;
            bytes += chunk.len() as u64;
            if bytes > self.limit {
                return Err((self.too_large)(self.limit));
            }
            self.room.check(bytes)?;
            look(&chunk)?;
            writer.write(chunk).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use futures_util::stream;

    use super::*;
    use crate::error::Kind;

    fn refusal(code: &'static str) -> Error {
        Error::new(Kind::Malformed, code, "refused")
    }

    fn intake(blobs: &Blobs, limit: u64) -> Intake<'_> {
        Intake {
            blobs,
            idle: Duration::from_secs(60),
            limit,
            too_large: |_| refusal("too-large"),
            room: Room::default(),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_refused_file_is_gone_when_its_refusal_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let intake = intake(&blobs, 2 << 20);
        let chunk = || Ok(Bytes::from(vec![7; 64 << 10]));
        // Many rounds, because a file that is removed a moment too late is mostly gone by now as well.
        for round in 0..100 {
            let (end, code) = match round % 3 {
                0 => (Err(refusal("cut-short")), "cut-short"),
                1 => (Ok(Bytes::from_static(b"no")), "looked-at"),
                _ => (Ok(Bytes::from(vec![7; 1 << 20])), "too-large"),
            };
            let chunks = (0..20).map(|_| chunk()).chain([end]);
            let look = |chunk: &[u8]| match chunk {
                b"no" => Err(refusal("looked-at")),
                _ => Ok(()),
            };
            let refused = intake.take(stream::iter(chunks), look).await.unwrap_err();
            assert_eq!(refused.slug(), code);
            assert_eq!(fs::read_dir(folder.path().join("spool")).unwrap().count(), 0);
        }
    }

    #[tokio::test]
    async fn a_file_is_taken_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let intake = intake(&blobs, 6);
        let chunks = [b"abc", b"def"].map(|chunk| Ok(Bytes::from_static(chunk)));
        let mut seen = Vec::new();
        let look = |chunk: &[u8]| {
            seen.extend_from_slice(chunk);
            Ok(())
        };
        let spooled = intake.take(stream::iter(chunks), look).await.unwrap();
        assert_eq!(fs::read(spooled.path()).unwrap(), b"abcdef");
        assert_eq!(seen, b"abcdef");
        assert_eq!(spooled.bytes, 6);
    }
}
