//! Forms with files (RFC 7578), read field by field and never as a whole, with a time limit for silent clients.

use std::{error::Error as StdError, time::Duration};

use axum::{
    body::Bytes,
    extract::{FromRequest, Multipart, Request, multipart},
    http::{HeaderMap, header},
};
use futures_util::{Stream, TryStreamExt};
use tokio::time::timeout;

use crate::{
    error::{Error, Kind, Result},
    uploads::too_slow,
};

/// Bytes that a form's fields may take in addition to its files: names, separators and text.
pub const FRAMING_BYTES: u64 = 1 << 16;

/// A form being read.
pub struct Form {
    fields: Multipart,
    idle: Duration,
}

/// A field of a form. Unread data of a field is skipped.
pub struct Field<'a> {
    field: multipart::Field<'a>,
    idle: Duration,
}

/// Whether the request's body is a form.
pub fn is_announced(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("multipart/form-data"))
}

/// The `Content-Length` in bytes; 0 if there is none.
pub fn announced_bytes(headers: &HeaderMap) -> u64 {
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    length.and_then(|length| length.parse().ok()).unwrap_or(0)
}

/// The least that the body's file has, by its `Content-Length`; 0 if there is none.
pub fn announced_file_bytes(headers: &HeaderMap) -> u64 {
    let framing = if is_announced(headers) { FRAMING_BYTES } else { 0 };
    announced_bytes(headers).saturating_sub(framing)
}

impl Form {
    /// The form in a request whose client may be silent for as long as `idle`.
    ///
    /// # Errors
    /// `form-invalid` (400)
    pub async fn of(request: Request, idle: Duration) -> Result<Self> {
        let fields = Multipart::from_request(request, &()).await;
        Ok(Self {
            fields: fields.map_err(|_| invalid(NO_BOUNDARY))?,
            idle,
        })
    }

    /// The next field; `None` after the last.
    ///
    /// # Errors
    /// `form-invalid` (400), `body-too-slow` (408).
    pub async fn next(&mut self) -> Result<Option<Field<'_>>> {
        let next = timeout(self.idle, self.fields.next_field());
        let next = next.await.map_err(|_| too_slow(self.idle))?;
        let idle = self.idle;
        Ok(next
            .map_err(|fault| unreadable(&fault))?
            .map(|field| Field { field, idle }))
    }
}

impl<'a> Field<'a> {
    pub fn name(&self) -> Option<&str> {
        self.field.name()
    }

    /// The file name that the client sent; `None` for a text field.
    pub fn file_name(&self) -> Option<&str> {
        self.field.file_name()
    }

    /// Whether it is a file: the client sent a file name. Programs that send one without a name still call the field `file` or `data`.
    pub fn is_file(&self) -> bool {
        self.file_name().is_some() || matches!(self.name(), Some("file" | "data"))
    }

    /// The field in messages: `image`, or `image` with its file name.
    pub fn shown(&self) -> String {
        let name = shown(self.name().unwrap_or(""));
        match self.file_name() {
            Some(file) => format!("`{name}` (file `{}`)", shown(file)),
            None => format!("`{name}`"),
        }
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// `form-invalid` (400), `body-too-slow` (408).
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        let chunk = timeout(self.idle, self.field.chunk());
        let chunk = chunk.await.map_err(|_| too_slow(self.idle))?;
        chunk.map_err(|fault| unreadable(&fault))
    }

    /// The field as UTF-8 text; `room` is the number of bytes that all text fields together may still have.
    ///
    /// # Errors
    /// `too-large` (413), `form-invalid` (400), `body-too-slow` (408).
    pub async fn text(mut self, room: &mut usize) -> Result<String> {
        let mut text = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            *room = room.checked_sub(chunk.len()).ok_or_else(|| {
                let detail = "the form fields other than the file are too large";
                Error::new(Kind::TooLarge, "too-large", detail)
            })?;
            text.extend_from_slice(&chunk);
        }
        let name = shown(self.name().unwrap_or(""));
        decoded(text).ok_or_else(|| {
            invalid(format!(
                "the field `{name}` of the form is not UTF-8 text; if it is a file, save it as UTF-8"
            ))
        })
    }

    /// The bytes of the file; `cut_short` is the error if they end too early. The reader applies the time limit.
    pub fn into_chunks(self, cut_short: fn() -> Error) -> impl Stream<Item = Result<Bytes>> + 'a {
        self.field.map_err(move |_| cut_short())
    }
}

/// UTF-8, or the "Unicode" of Windows' editor, which has a byte order mark.
fn decoded(text: Vec<u8>) -> Option<String> {
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (pairs, rest) = bytes.as_chunks::<2>();
        let units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
        String::from_utf16(&units).ok().filter(|_| rest.is_empty())
    };
    match text.as_slice() {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        _ => String::from_utf8(text).ok(),
    }
}

/// For a form with a missing or superfluous field.
pub fn invalid(detail: impl Into<String>) -> Error {
    Error::new(Kind::Malformed, "form-invalid", detail)
}

/// For a form without a file: names what it has instead. `advice` is how to send one with curl.
pub fn without_file(fields: &[String], advice: &str) -> Error {
    let found = match fields {
        [] => "the form has no fields".to_owned(),
        fields => {
            let shown: Vec<_> = fields.iter().take(10).map(String::as_str).collect();
            format!("the form has no file, only the text fields {}", shown.join(", "))
        }
    };
    invalid(format!(
        "{found}; send the file as one, with a file name: {advice}"
    ))
}

/// For a form with more files than one.
pub fn second_file(first: &str, second: &str) -> Error {
    invalid(format!(
        "the form has two files, {first} and {second}; send one file in each request"
    ))
}

/// A name in a message: short, and without characters that could harm a terminal.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(80).collect()
}

const NO_BOUNDARY: &str = "the form cannot be read: its header `content-type: multipart/form-data` has no `boundary`; do not set that \
    header yourself, the HTTP library writes it with the boundary";

fn unreadable(fault: &multipart::MultipartError) -> Error {
    use multer::Error as Fault;
    let why = match fault.source().and_then(|source| source.downcast_ref()) {
        Some(Fault::IncompleteStream | Fault::IncompleteHeaders | Fault::IncompleteFieldData { .. }) => {
            "it ends before its last separator: either the body was cut short, or its separators are not the `boundary` of its \
             `content-type` header, which the HTTP library should write"
        }
        Some(
            Fault::ReadHeaderFailed(_) | Fault::DecodeHeaderName { .. } | Fault::DecodeHeaderValue { .. },
        ) => {
            "the lines before the contents of a field are not headers such as `Content-Disposition: form-data; name=\"file\"; \
             filename=\"rose.jpg\"`"
        }
        Some(Fault::StreamReadFailed(_)) => "the connection or the encoding of the body broke off within it",
        _ => "it is not as RFC 7578 describes forms",
    };
    invalid(format!("the form cannot be read: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_utf_8_or_say_that_they_are_utf_16() {
        let wide =
            |unit: fn(u16) -> [u8; 2]| "\u{feff}café".encode_utf16().flat_map(unit).collect::<Vec<u8>>();
        assert_eq!(decoded("café".into()).as_deref(), Some("café"));
        assert_eq!(decoded(wide(u16::to_le_bytes)).as_deref(), Some("café"));
        assert_eq!(decoded(wide(u16::to_be_bytes)).as_deref(), Some("café"));
        assert_eq!(decoded(b"caf\xe9".to_vec()), None);
        assert_eq!(decoded(b"\xff\xfea".to_vec()), None);
    }
}
