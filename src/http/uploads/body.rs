//! Taking an archive in: raw or as a form, told by its first bytes, counted, hashed, never in memory as a whole.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Multipart, Request, multipart::Field},
    http::{HeaderMap, header},
};
use futures_util::{Stream, TryStreamExt};

use super::spooling::Intake;
use crate::{
    blobs::Spooled,
    error::{Error, Kind, Result},
    http::{
        App,
        connections::{Caller, Place},
    },
    store::Ballast,
    uploads::{ArchiveHead, too_large},
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
/// `body-too-slow` (408), `body-incomplete` (400), `too-many-uploads` (429).
pub async fn receive(app: &App, request: Request) -> Result<Upload> {
    let _place = app.begin_receiving(Caller::of(app, request.headers(), request.extensions()))?;
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

async fn receive_chunks(app: &App, chunks: impl Stream<Item = Result<Bytes>>) -> Result<Spooled> {
    let intake = Intake {
        blobs: app.blobs(),
        idle: Duration::from_secs(app.limits().upload_idle_seconds),
        limit: app.limits().max_archive_bytes,
        too_large,
    };
    let mut head = ArchiveHead::default();
    let file = intake.take(chunks, |chunk| head.take(chunk)).await?;
    head.finish()?;
    Ok(file)
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

/// For a body whose connection ended too early.
pub fn cut_short() -> Error {
    Error::new(
        Kind::Malformed,
        "body-incomplete",
        "the archive ended before it was complete; send it again",
    )
}

impl App {
    /// A place among the uploads that are received at once; each keeps a thread busy.
    pub(in crate::http) fn begin_receiving(&self, caller: Caller) -> Result<Place> {
        self.receiving().take(caller.0).map_err(|_| {
            let detail =
                "too many uploads are being received, in all or from one address; try again in a moment";
            Error::new(Kind::TooMany, "too-many-uploads", detail).retry_after(Duration::from_secs(5))
        })
    }

    /// Whether the disk has room for this many bytes more and its reserve. Space that was held back and is used is not free.
    pub(in crate::http) fn check_disk(&self, bytes: u64) -> Result<()> {
        let given_away = self.store().ballast().map_or(0, Ballast::missing);
        let reserve = self.limits().min_free_bytes.saturating_add(given_away);
        self.blobs().check_room(bytes, reserve)
    }
}
