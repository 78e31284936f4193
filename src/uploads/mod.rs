//! Archives that come in several requests: who may write to which, how far each is, and how a whole one becomes a dataset.
//!
//! `http` speaks tus and calls this; nothing here knows a header. What counts is in the database and synced on disk. Only the running
//! hash is kept in memory, and where it is not there (after a restart) the file is read once more.

mod head;
mod holds;
mod receiving;
mod slow;

use std::{sync::Arc, time::Duration};

use futures_util::Stream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::holds::{Hold, Holds};
pub use self::{head::ArchiveHead, receiving::Incoming, slow::too_slow};
use crate::{
    blobs::Blobs,
    domain::{
        access::Holder,
        datasets::{
            dataset::DatasetError,
            reading::ReadOptions,
            upload::{Upload, UploadStatus},
        },
        id::UploadId,
        name::GivenName,
        time::Timestamp,
    },
    error::{Error, Kind, Result},
    limits::Limits,
    store::{CreatedDataset, NewUpload, Store},
};

/// A request to which nothing came for this long has probably lost its client, and that client stands at the door again.
const SILENCE: Duration = Duration::from_secs(2);
/// How long a newcomer waits for such a request to write down what it has.
const GIVE_WAY: Duration = Duration::from_secs(10);

/// What a client says of an upload before its bytes come.
pub struct Announced {
    pub name: GivenName,
    /// Of the whole archive.
    pub bytes: u64,
    /// `Upload-Metadata` as it came.
    pub metadata: String,
    pub options: ReadOptions,
    /// Of the whole archive, hexadecimal.
    pub sha256: Option<String>,
    pub owner: Option<Holder>,
}

/// Uploads of one server. Cheap to clone.
#[derive(Clone)]
pub struct Uploads(Arc<Parts>);

struct Parts {
    store: Store,
    blobs: Blobs,
    limits: Limits,
    holds: Holds,
    /// Fires when the server begins to stop: what has arrived is written down, and the rest comes later.
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl Uploads {
    /// Takes up what an interrupted run left: archives that are whole become datasets now.
    pub async fn open(
        store: Store,
        blobs: Blobs,
        limits: Limits,
        stopping: CancellationToken,
    ) -> Result<Self> {
        let uploads = Self(Arc::new(Parts {
            store,
            blobs,
            limits,
            holds: Holds::new(SILENCE, GIVE_WAY),
            stopping,
            tasks: TaskTracker::new(),
        }));
        for upload in uploads.0.store.finishing_uploads().await? {
            if let Err(error) = uploads.make_dataset(upload).await {
                tracing::warn!(%upload, %error, "cannot turn a complete upload into a dataset");
            }
        }
        Ok(uploads)
    }

    /// Begins an upload.
    ///
    /// # Errors
    /// `too-large`, `archive-unsupported` for an empty one, and those of [`Store::create_upload`].
    pub async fn create(&self, announced: Announced) -> Result<Upload> {
        let limit = self.0.limits.max_archive_bytes;
        if announced.bytes > limit {
            return Err(too_large(limit));
        }
        if announced.bytes == 0 {
            ArchiveHead::default().finish()?;
        }
        let new = NewUpload {
            name: announced.name,
            bytes: announced.bytes,
            metadata: announced.metadata,
            options: announced.options,
            announced_sha256: announced.sha256,
            owner: announced.owner,
            expires_at: self.expiry(),
        };
        let most = i64::from(self.0.limits.max_unfinished_uploads);
        self.0.store.create_upload(new, most).await
    }

    /// Takes what a request brings, from byte `incoming.offset` on, and makes the dataset when that was the last of it. It runs to its
    /// end also when the caller goes away: what has arrived by then is kept. The upload as it is afterwards.
    ///
    /// # Errors
    /// `upload-locked` (another request is writing to it), `offset-mismatch`, `checksum-mismatch`, and everything that ends an upload:
    /// `archive-unsupported`, `digest-mismatch`, `name-taken`.
    pub async fn receive<S>(&self, id: UploadId, incoming: Incoming<S>) -> Result<Upload>
    where
        S: Stream<Item = Result<bytes::Bytes>> + Send + 'static,
    {
        let hold = self.0.holds.take(id).await?;
        let upload = self.existing(id).await?;
        incoming.check_against(&upload)?;
        match upload.status {
            UploadStatus::Complete => return Ok(upload),
            UploadStatus::Finishing => {
                self.make_dataset(id).await?;
                return self.0.store.upload(id).await;
            }
            _ => {}
        }
        let uploads = self.clone();
        let task = self
            .0
            .tasks
            .spawn(async move { uploads.receive_held(upload, incoming, hold).await });
        task.await.map_err(Error::internal)?
    }

    async fn receive_held<S>(&self, upload: Upload, incoming: Incoming<S>, hold: Hold) -> Result<Upload>
    where
        S: Stream<Item = Result<bytes::Bytes>> + Send + 'static,
    {
        let id = upload.id;
        let expected = incoming.sha256.clone().or(upload.announced_sha256.clone());
        let hasher = match self.grow(&upload, incoming, &hold).await {
            Ok(hasher) => hasher,
            Err(error) => {
                if error.kind() == Kind::UnsupportedMedia {
                    self.remove(id).await?;
                }
                return Err(error);
            }
        };
        if hasher.bytes() < upload.bytes {
            hold.remember(hasher);
            return self.0.store.upload(id).await;
        }
        let sha256 = hasher.finish();
        if let Err(error) = check_digest(expected.as_deref(), &sha256) {
            self.fail(id, &error).await?;
            return Err(error);
        }
        self.0.store.begin_finishing_upload(id, sha256).await?;
        self.make_dataset(id).await?;
        self.0.store.upload(id).await
    }

    /// Makes the dataset of an upload in state `finishing`; where that is impossible the upload has failed.
    async fn make_dataset(&self, id: UploadId) -> Result<CreatedDataset> {
        let upload = self.0.store.upload(id).await?;
        let sha256 = upload.sha256.unwrap_or_default();
        let pin = self.0.blobs.pin().await;
        self.0.blobs.keep_partial(id, &sha256, &pin).await?;
        match self.0.store.complete_upload(id).await {
            Err(error) if error.kind() == Kind::Conflict => {
                self.fail(id, &error).await?;
                Err(error)
            }
            outcome => outcome,
        }
    }

    /// The upload, if it may still be asked for.
    ///
    /// # Errors
    /// `not-found`, or `upload-gone` for what has failed or expired.
    pub async fn existing(&self, id: UploadId) -> Result<Upload> {
        let upload = self.0.store.upload(id).await?;
        if let Some(error) = &upload.error {
            let detail = format!("this upload has failed: {}", error.message);
            return Err(Error::new(Kind::Gone, "upload-gone", detail));
        }
        if upload.expires_at < Timestamp::now() && upload.status == UploadStatus::Receiving {
            let detail = "this upload has expired because no data was received; start a new one";
            return Err(Error::new(Kind::Gone, "upload-gone", detail));
        }
        Ok(upload)
    }

    /// Forgets an upload and the bytes that it brought; the dataset that it has become stays.
    ///
    /// # Errors
    /// `not-found`; `upload-locked` while bytes come.
    pub async fn terminate(&self, id: UploadId) -> Result<()> {
        let _hold = self.0.holds.take(id).await?;
        self.remove(id).await
    }

    /// Row before file: a row never stands for bytes that are gone.
    async fn remove(&self, id: UploadId) -> Result<()> {
        self.0.store.delete_upload(id).await?;
        self.0.blobs.remove_partial(id).await
    }

    async fn fail(&self, id: UploadId, error: &Error) -> Result<()> {
        let told = DatasetError {
            code: error.slug().replace('-', "_"),
            message: error.detail().to_owned(),
        };
        self.0.store.fail_upload(id, told).await?;
        self.0.blobs.remove_partial(id).await
    }

    /// When an upload that moves on now would expire.
    fn expiry(&self) -> Timestamp {
        const LONGEST: u64 = 10 * 365 * 24 * 3600;
        let seconds = self.0.limits.upload_expiry_seconds.min(LONGEST);
        Timestamp(Timestamp::now().0 + 1000 * seconds as i64)
    }

    /// Returns when, after `stopping` has fired, everything that arrived is written down.
    pub async fn drained(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

/// Compares an archive's digest with the one that was announced.
///
/// # Errors
/// `digest-mismatch`, with both.
pub fn check_digest(announced: Option<&str>, sha256: &str) -> Result<()> {
    match announced {
        Some(announced) if !announced.eq_ignore_ascii_case(sha256) => {
            let detail = format!(
                "the received archive has the SHA-256 {sha256} instead of {}; send it again",
                announced.to_ascii_lowercase()
            );
            Err(Error::new(Kind::Malformed, "digest-mismatch", detail))
        }
        _ => Ok(()),
    }
}

pub fn too_large(limit: u64) -> Error {
    Error::new(
        Kind::TooLarge,
        "too-large",
        format!("the archive is larger than {limit} bytes, which is the server's limit"),
    )
}
