//! Receives an archive, as the body or in a form: detected by its first bytes, counted, hashed, and never in memory as a whole.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::HeaderMap,
};
use futures_util::{Stream, TryStreamExt};

use super::spooling::Intake;
use crate::{
    blobs::Spooled,
    error::{Error, Kind, Result},
    http::{
        App,
        connections::{Caller, Permit},
        requests::form::{self, Form},
    },
    store::{Ballast, Room},
    uploads::{ArchiveHead, too_large},
};

/// A complete archive on disk.
pub struct Upload {
    pub file: Spooled,
    /// File name in the form, if it was a form.
    pub file_name: Option<String>,
    /// Fields `name` and `sha256` of the form.
    pub name: Option<String>,
    pub sha256: Option<String>,
}

/// Receives the archive of a request.
///
/// # Errors
/// `archive-unsupported` (415) if the first bytes show that it is not an archive, `too-large` (413), `insufficient-storage` (507),
/// `body-too-slow` (408), `body-incomplete` (400), `too-many-uploads` and `quota-bytes` (429).
pub async fn receive(app: &App, request: Request, room: Room) -> Result<Upload> {
    let _permit = app.begin_receiving(Caller::of(request.extensions()))?;
    check_announced_size(app, request.headers(), &room)?;
    if form::is_announced(request.headers()) {
        return receive_form(app, request, room).await;
    }
    receive_raw(app, request.into_body(), room).await
}

async fn receive_raw(app: &App, body: Body, room: Room) -> Result<Upload> {
    let chunks = body.into_data_stream().map_err(|_| cut_short());
    let file = receive_chunks(app, chunks, room).await?;
    Ok(Upload {
        file,
        file_name: None,
        name: None,
        sha256: None,
    })
}

/// The one file of the form, whatever its field is called.
async fn receive_form(app: &App, request: Request, room: Room) -> Result<Upload> {
    let mut form = Form::of(request, app.limits().upload_idle()).await?;
    let mut found: Option<(String, Spooled, Option<String>)> = None;
    let (mut name, mut sha256) = (None, None);
    let mut texts = Vec::new();
    let mut text_room = app.limits().max_json_bytes;
    while let Some(field) = form.next().await? {
        if field.is_file() {
            if let Some((first, ..)) = &found {
                return Err(form::second_file(first, &field.shown()));
            }
            let (shown, file_name) = (field.shown(), field.file_name().map(str::to_owned));
            let file = receive_chunks(app, field.into_chunks(cut_short), room.clone()).await?;
            found = Some((shown, file, file_name));
            continue;
        }
        texts.push(field.shown());
        match field.name() {
            Some("name") => name = Some(field.text(&mut text_room).await?),
            Some("sha256") => sha256 = Some(field.text(&mut text_room).await?),
            _ => {}
        }
    }
    let (_, file, file_name) =
        found.ok_or_else(|| form::without_file(&texts, "`curl -F file=@flowers.zip`"))?;
    Ok(Upload {
        file,
        file_name,
        name,
        sha256,
    })
}

async fn receive_chunks(app: &App, chunks: impl Stream<Item = Result<Bytes>>, room: Room) -> Result<Spooled> {
    let intake = Intake {
        blobs: app.blobs(),
        idle: app.limits().upload_idle(),
        limit: app.limits().max_archive_bytes,
        too_large,
        room,
    };
    let mut head = ArchiveHead::default();
    let file = intake.take(chunks, |chunk| head.take(chunk)).await?;
    head.finish()?;
    Ok(file)
}

/// Refuses, before a byte is read, what cannot succeed.
fn check_announced_size(app: &App, headers: &HeaderMap, room: &Room) -> Result<()> {
    let announced = form::announced_bytes(headers);
    if announced > app.limits().max_archive_bytes {
        return Err(too_large(app.limits().max_archive_bytes));
    }
    room.check(form::announced_file_bytes(headers))?;
    app.check_disk(announced)
}

/// For a body that ended too early.
pub fn cut_short() -> Error {
    Error::new(
        Kind::Malformed,
        "body-incomplete",
        "the request body ended before the archive was complete; send it again",
    )
}

impl App {
    /// A permit to receive an upload; each one occupies a thread.
    pub(in crate::http) fn begin_receiving(&self, caller: Caller) -> Result<Permit> {
        self.receiving().take(caller.0).map_err(|_| {
            let detail =
                "too many uploads are being received, in total or from this address; try again in a moment";
            Error::new(Kind::TooMany, "too-many-uploads", detail).retry_after(Duration::from_secs(5))
        })
    }

    /// Whether the disk has room for this many more bytes and its reserve. Released ballast does not count as free space.
    pub(in crate::http) fn check_disk(&self, bytes: u64) -> Result<()> {
        let given_away = self.store().ballast().map_or(0, Ballast::missing);
        let reserve = self.limits().min_free_bytes.saturating_add(given_away);
        self.blobs().check_room(bytes, reserve)
    }
}
