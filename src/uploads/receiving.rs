//! One request's bytes on their way into an upload's file.

use std::{pin::pin, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::time::timeout;

use super::{ArchiveHead, Uploads, holds::Hold, too_slow};
use crate::{
    blobs::{Continuation, Grown, Writer},
    domain::datasets::{archive::ENOUGH, upload::Upload},
    error::{Error, Kind, Result},
    files::{checksum::Checksum, digest::Hasher},
};

/// What a request brings.
pub struct Incoming<S> {
    /// Where the client thinks that the upload stands.
    pub offset: u64,
    /// How many bytes come, where the client says so.
    pub length: Option<u64>,
    /// What these bytes must hash to.
    pub checksum: Option<Checksum>,
    /// What the whole archive must hash to, hexadecimal.
    pub sha256: Option<String>,
    pub chunks: S,
}

impl<S> Incoming<S> {
    /// Refuses before a byte is read what does not fit.
    ///
    /// # Errors
    /// `offset-mismatch`, `too-large`.
    pub fn check_against(&self, upload: &Upload) -> Result<()> {
        if self.offset != upload.received {
            let detail = format!(
                "the upload is at offset {}, not {}; get its offset with HEAD and continue from there",
                upload.received, self.offset
            );
            return Err(Error::new(Kind::Conflict, "offset-mismatch", detail));
        }
        let end = self.length.map(|length| self.offset.saturating_add(length));
        if end.is_some_and(|end| end > upload.bytes) {
            return Err(beyond(upload));
        }
        Ok(())
    }
}

impl Uploads {
    /// Appends what comes until it ends, one way or the other, and writes down how far the file reaches. The hash of all of it.
    pub(super) async fn grow<S>(&self, upload: &Upload, incoming: Incoming<S>, hold: &Hold) -> Result<Hasher>
    where
        S: Stream<Item = Result<Bytes>> + Send + 'static,
    {
        let head = self.head(upload).await?;
        let checked = incoming.checksum.is_some();
        let mut writer = self.0.blobs.grow_partial(Continuation {
            upload: upload.id,
            length: upload.received,
            hasher: hold.recall(),
            checksum: incoming.checksum,
        });
        let came = self
            .take_all(upload, incoming.chunks, hold, head, &mut writer, checked)
            .await;
        // A body that broke off is kept as far as it came, but not where its checksum can no longer be told.
        let written = match came {
            Ok(()) => writer.finish().await,
            Err(_) => writer.abandon().await,
        };
        let Grown { hasher, intact } = match written {
            Ok(grown) => grown,
            Err(error) => return Err(came.err().unwrap_or(error)),
        };
        let refused = came.as_ref().err().map(Error::kind) == Some(Kind::UnsupportedMedia);
        if !refused && hasher.bytes() < upload.bytes {
            self.0
                .store
                .advance_upload(upload.id, hasher.bytes(), self.expiry())
                .await?;
        }
        if let Err(error) = came {
            hold.remember(hasher);
            return Err(error);
        }
        if !intact {
            hold.remember(hasher);
            let detail = "the received bytes do not match their checksum and were discarded; send them again";
            return Err(Error::new(Kind::ChecksumMismatch, "checksum-mismatch", detail));
        }
        Ok(hasher)
    }

    /// What is known of the archive's first bytes.
    async fn head(&self, upload: &Upload) -> Result<Option<ArchiveHead>> {
        if upload.received >= ENOUGH as u64 {
            return Ok(None);
        }
        if upload.received == 0 {
            return Ok(Some(ArchiveHead::default()));
        }
        let first = self
            .0
            .blobs
            .partial_head(upload.id, upload.received as usize)
            .await?;
        Ok(Some(ArchiveHead::of(first)))
    }

    async fn take_all<S>(
        &self,
        upload: &Upload,
        chunks: S,
        hold: &Hold,
        mut head: Option<ArchiveHead>,
        writer: &mut Writer<Grown>,
        checked: bool,
    ) -> Result<()>
    where
        S: Stream<Item = Result<Bytes>> + Send + 'static,
    {
        let mut chunks = pin!(chunks);
        let mut arrived = upload.received;
        while arrived < upload.bytes {
            let chunk = tokio::select! {
                chunk = self.next(&mut chunks, hold) => chunk?,
                durable = writer.more_durable() => {
                    // Nothing counts of bytes that are still to be checked, and the last one only with what it completes.
                    if !checked && durable < upload.bytes {
                        self.0.store.advance_upload(upload.id, durable, self.expiry()).await?;
                    }
                    continue;
                }
            };
            let Some(chunk) = chunk else {
                return Ok(());
            };
            arrived += chunk.len() as u64;
            if arrived > upload.bytes {
                return Err(beyond(upload));
            }
            if let Some(head) = &mut head {
                head.take(&chunk)?;
            }
            writer.write(chunk).await?;
        }
        head.as_mut().map_or(Ok(()), ArchiveHead::finish)
    }

    /// The next chunk, unless the client is silent for too long, another one wants the upload, or the server stops.
    async fn next<S>(&self, chunks: &mut std::pin::Pin<&mut S>, hold: &Hold) -> Result<Option<Bytes>>
    where
        S: Stream<Item = Result<Bytes>>,
    {
        let idle = self.0.limits.upload_idle();
        let came = tokio::select! {
            came = timeout(idle, chunks.next()) => came,
            () = hold.give_way().cancelled() => {
                let detail = "another request has taken over this upload";
                return Err(Error::new(Kind::Locked, "upload-locked", detail));
            }
            () = self.0.stopping.cancelled() => {
                let detail = "the server is stopping; continue when it has restarted";
                return Err(Error::new(Kind::Unavailable, "draining", detail).retry_after(Duration::from_secs(30)));
            }
        };
        hold.heard();
        match came {
            Ok(chunk) => chunk.transpose(),
            Err(_) => Err(too_slow(idle)),
        }
    }
}

fn beyond(upload: &Upload) -> Error {
    let detail = format!("more than the announced {} bytes were received", upload.bytes);
    Error::new(Kind::TooLarge, "too-large", detail)
}
