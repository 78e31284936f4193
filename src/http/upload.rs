//! Taking an archive in: raw or as a form, told by its first bytes, counted, hashed, never in memory as a whole.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Multipart, Request, multipart::Field},
    http::{HeaderMap, header},
};
use futures_util::{StreamExt, TryStreamExt};
use tokio::time::timeout;

use super::App;
use crate::{
    blobs::{SpoolWriter, Spooled},
    domain::archive::{ArchiveKind, ENOUGH},
    error::{Error, Kind, Result},
};

/// An archive that is whole and on disk.
pub struct Upload {
    pub file: Spooled,
    /// What the form called the file, if it was a form.
    pub file_name: Option<String>,
}

/// Receives the archive that a request carries.
///
/// # Errors
/// `archive-unsupported` (415) for what is no archive by its first bytes, `too-large` (413), `insufficient-storage` (507),
/// `body-too-slow` (408), `body-incomplete` (400).
pub async fn receive(app: &App, request: Request) -> Result<Upload> {
    check_announced_size(app, request.headers())?;
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    if kind.to_ascii_lowercase().starts_with("multipart/form-data") {
        return receive_form(app, request).await;
    }
    receive_raw(app, request.into_body()).await
}

async fn receive_raw(app: &App, body: Body) -> Result<Upload> {
    let chunks = body.into_data_stream().map_err(|_| cut_short());
    let file = receive_chunks(app, chunks).await?;
    Ok(Upload {
        file,
        file_name: None,
    })
}

async fn receive_form(app: &App, request: Request) -> Result<Upload> {
    let malformed = || Error::new(Kind::Malformed, "form-invalid", "the form cannot be read");
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|_| malformed())?;
    while let Some(field) = form.next_field().await.map_err(|_| malformed())? {
        if field.name() == Some("file") {
            return receive_field(app, field).await;
        }
    }
    Err(Error::new(
        Kind::Malformed,
        "form-invalid",
        "the form has no field named `file`",
    ))
}

async fn receive_field(app: &App, field: Field<'_>) -> Result<Upload> {
    let file_name = field.file_name().map(str::to_owned);
    let file = receive_chunks(app, field.map_err(|_| cut_short())).await?;
    Ok(Upload { file, file_name })
}

async fn receive_chunks(
    app: &App,
    chunks: impl futures_util::Stream<Item = Result<Bytes>>,
) -> Result<Spooled> {
    let idle = Duration::from_secs(app.limits().upload_idle_seconds);
    let mut receiving = Receiving::begin(app);
    let mut chunks = std::pin::pin!(chunks);
    loop {
        let next = timeout(idle, chunks.next()).await.map_err(|_| {
            let detail = format!(
                "nothing came for {} seconds; send the archive again",
                idle.as_secs()
            );
            Error::new(Kind::TooSlow, "body-too-slow", detail)
        })?;
        match next {
            Some(chunk) => receiving.take(chunk?).await?,
            None => return receiving.finish().await,
        }
    }
}

/// An archive that is on its way.
struct Receiving {
    writer: SpoolWriter,
    /// The first bytes, until there are enough to tell what they begin.
    head: Option<Vec<u8>>,
    bytes: u64,
    limit: u64,
}

impl Receiving {
    fn begin(app: &App) -> Self {
        Self {
            writer: app.blobs().spool(),
            head: Some(Vec::new()),
            bytes: 0,
            limit: app.limits().max_archive_bytes,
        }
    }

    async fn take(&mut self, chunk: Bytes) -> Result<()> {
        self.bytes += chunk.len() as u64;
        if self.bytes > self.limit {
            return Err(too_large(self.limit));
        }
        if let Some(head) = &mut self.head {
            head.extend_from_slice(&chunk[..chunk.len().min(ENOUGH)]);
            if head.len() >= ENOUGH {
                check_kind(head)?;
                self.head = None;
            }
        }
        self.writer.write(chunk).await
    }

    async fn finish(self) -> Result<Spooled> {
        if let Some(head) = &self.head {
            check_kind(head)?;
        }
        self.writer.finish().await
    }
}

fn check_kind(head: &[u8]) -> Result<()> {
    if ArchiveKind::of(head).is_some() {
        return Ok(());
    }
    let detail = format!(
        "this is no archive of a kind that is taken: {}",
        ArchiveKind::TAKEN
    );
    Err(Error::new(Kind::UnsupportedMedia, "archive-unsupported", detail))
}

/// Refuses before a byte is read what cannot end well.
fn check_announced_size(app: &App, headers: &HeaderMap) -> Result<()> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let announced = announced.unwrap_or(0);
    if announced > app.limits().max_archive_bytes {
        return Err(too_large(app.limits().max_archive_bytes));
    }
    app.check_disk(announced)
}

fn too_large(limit: u64) -> Error {
    Error::new(
        Kind::TooLarge,
        "too-large",
        format!("the archive is larger than {limit} bytes, which is the server's limit"),
    )
}

fn cut_short() -> Error {
    Error::new(
        Kind::Malformed,
        "body-incomplete",
        "the archive ended before it was complete; send it again",
    )
}

impl App {
    /// Whether the disk has room for this many bytes more and its reserve.
    pub(super) fn check_disk(&self, bytes: u64) -> Result<()> {
        let free = self.blobs().free_bytes()?;
        if free < bytes.saturating_add(self.limits().min_free_bytes) {
            let detail =
                "the server's disk has no room for this; delete datasets or models that are no longer needed";
            return Err(Error::new(Kind::DiskFull, "insufficient-storage", detail));
        }
        Ok(())
    }
}
