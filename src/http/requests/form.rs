//! Bodies that are forms with files (RFC 7578), read field by field and never as a whole. A client that falls silent is not waited for.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{FromRequest, Multipart, Request, multipart},
    http::{HeaderMap, header},
};
use futures_util::{Stream, TryStreamExt};
use tokio::time::timeout;

use crate::{
    error::{Error, Kind, Result},
    http::App,
    uploads::too_slow,
};

/// What the fields of a form may take besides its files: their names and separators, in bytes.
pub const FRAMING_BYTES: u64 = 1 << 16;

/// A form that is being read.
pub struct Form {
    fields: Multipart,
    idle: Duration,
}

/// The next field of a form. The rest of a field that was not read is skipped.
pub struct Field<'a> {
    field: multipart::Field<'a>,
    idle: Duration,
}

/// Whether the request says that its body is a form.
pub fn is_announced(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("multipart/form-data"))
}

/// The length of the body in bytes as its header says it; 0 where it does not.
pub fn announced_bytes(headers: &HeaderMap) -> u64 {
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    length.and_then(|length| length.parse().ok()).unwrap_or(0)
}

impl Form {
    /// # Errors
    /// `form-invalid` (400)
    pub async fn of(app: &App, request: Request) -> Result<Self> {
        let fields = Multipart::from_request(request, &()).await;
        Ok(Self {
            fields: fields.map_err(|_| unreadable())?,
            idle: Duration::from_secs(app.limits().upload_idle_seconds),
        })
    }

    /// The next field; none after the last.
    ///
    /// # Errors
    /// `form-invalid` (400), `body-too-slow` (408).
    pub async fn next(&mut self) -> Result<Option<Field<'_>>> {
        let next = timeout(self.idle, self.fields.next_field());
        let next = next.await.map_err(|_| too_slow(self.idle))?;
        let idle = self.idle;
        Ok(next.map_err(|_| unreadable())?.map(|field| Field { field, idle }))
    }
}

impl<'a> Field<'a> {
    pub fn name(&self) -> Option<&str> {
        self.field.name()
    }

    /// The name of the file, as the client wrote it; none where the field is a text.
    pub fn file_name(&self) -> Option<&str> {
        self.field.file_name()
    }

    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// `form-invalid` (400), `body-too-slow` (408).
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        let chunk = timeout(self.idle, self.field.chunk());
        let chunk = chunk.await.map_err(|_| too_slow(self.idle))?;
        chunk.map_err(|_| unreadable())
    }

    /// The field as a text in UTF-8; `room` is what all texts of the form together may still take, in bytes.
    ///
    /// # Errors
    /// `too-large` (413), `form-invalid` (400), `body-too-slow` (408).
    pub async fn text(mut self, room: &mut usize) -> Result<String> {
        let mut text = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            *room = room.checked_sub(chunk.len()).ok_or_else(|| {
                let detail = "the fields of the form besides `file` are too large";
                Error::new(Kind::TooLarge, "too-large", detail)
            })?;
            text.extend_from_slice(&chunk);
        }
        String::from_utf8(text).map_err(|_| invalid("a field of the form is not UTF-8 text"))
    }

    /// The bytes of the file; `cut_short` is the error where they end too early. Whoever reads them bounds the waiting.
    pub fn into_chunks(self, cut_short: fn() -> Error) -> impl Stream<Item = Result<Bytes>> + 'a {
        self.field.map_err(move |_| cut_short())
    }
}

/// For a form that lacks something, or has too much of it.
pub fn invalid(detail: &str) -> Error {
    Error::new(Kind::Malformed, "form-invalid", detail)
}

fn unreadable() -> Error {
    invalid("the form cannot be read")
}
