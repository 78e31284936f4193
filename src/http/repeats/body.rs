//! What makes the bodies of two requests the same: the bytes that the first one was answered from. They are hashed while they are received, so
//! that a body of any size takes no room. The boundary of a form does not count: clients draw another one each time.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::{HeaderMap, header},
};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use memchr::memmem;

use crate::{
    error::{Error, Kind, Result},
    files::digest::Hasher,
    store::BodyRead,
};

/// Bytes of a body, as they are read.
pub struct Reading {
    hasher: Hasher,
    most: u64,
    ended: bool,
    /// Of a form, with its dashes.
    boundary: Option<Vec<u8>>,
    /// The last bytes, where a boundary may have begun.
    held: Vec<u8>,
}

impl Reading {
    /// Of at most so many bytes, boundaries not counted.
    fn up_to(most: u64, headers: &HeaderMap) -> Self {
        Self {
            hasher: Hasher::new(),
            most,
            ended: false,
            boundary: boundary(headers),
            held: Vec::new(),
        }
    }

    fn take(&mut self, chunk: &[u8]) {
        let Some(boundary) = self.boundary.take() else {
            self.count(chunk);
            return;
        };
        let mut bytes = std::mem::take(&mut self.held);
        bytes.extend_from_slice(chunk);
        let mut rest = &bytes[..];
        while let Some(at) = memmem::find(rest, &boundary) {
            self.count(&rest[..at]);
            rest = &rest[at + boundary.len()..];
        }
        let (sure, held) = rest.split_at(rest.len().saturating_sub(boundary.len() - 1));
        self.count(sure);
        self.held = held.to_vec();
        self.boundary = Some(boundary);
    }

    fn count(&mut self, bytes: &[u8]) {
        let room = self.most.saturating_sub(self.hasher.bytes());
        let taken = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        self.hasher.update(&bytes[..taken]);
    }

    fn is_full(&self) -> bool {
        self.hasher.bytes() >= self.most
    }

    fn result(&mut self) -> BodyRead {
        let held = std::mem::take(&mut self.held);
        self.count(&held);
        let bytes = self.hasher.bytes();
        BodyRead {
            bytes,
            sha256: std::mem::take(&mut self.hasher).finish(),
            ended: self.ended,
        }
    }
}

/// The boundary of a form, with the dashes before it; none for other bodies.
fn boundary(headers: &HeaderMap) -> Option<Vec<u8>> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let boundary = multer::parse_boundary(kind).ok()?;
    Some(format!("--{boundary}").into_bytes())
}

/// The request with a body that notes what is read of it.
pub fn watched(request: Request) -> (Request, Arc<Mutex<Reading>>) {
    let reading = Arc::new(Mutex::new(Reading::up_to(u64::MAX, request.headers())));
    let body = |body| {
        Body::new(Watched {
            body,
            reading: reading.clone(),
        })
    };
    let request = request.map(body);
    (request, reading)
}

/// What a handler has read.
pub fn what_was_read(reading: &Mutex<Reading>) -> BodyRead {
    reading.lock().unwrap_or_else(PoisonError::into_inner).result()
}

/// Reads as much of a body as was read of `first`: where that was all, one byte more shows that this is another one.
///
/// # Errors
/// `body-incomplete`
pub async fn read_like(first: &BodyRead, mut body: Body, headers: &HeaderMap) -> Result<BodyRead> {
    let mut reading = Reading::up_to(first.bytes.saturating_add(u64::from(first.ended)), headers);
    while !reading.is_full() {
        match body.frame().await {
            None => {
                // Where the first one was not read to its end, it does not matter where this one ends.
                reading.ended = first.ended;
                break;
            }
            Some(Ok(frame)) => reading.take(frame.data_ref().map_or(&[][..], |chunk| &chunk[..])),
            Some(Err(_)) => {
                let detail = "the request body ended before it was complete";
                return Err(Error::new(Kind::Malformed, "body-incomplete", detail));
            }
        }
    }
    Ok(reading.result())
}

struct Watched {
    body: Body,
    reading: Arc<Mutex<Reading>>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        match &frame {
            Some(Ok(frame)) => {
                reading.take(frame.data_ref().map_or(&[][..], |chunk| &chunk[..]));
                // Whoever knows from `Content-Length` that this was the last one asks for no other.
                reading.ended = self.body.is_end_stream();
            }
            None => reading.ended = true,
            Some(Err(_)) => {}
        }
        drop(reading);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(boundary: &str) -> HeaderMap {
        let value = format!("multipart/form-data; boundary={boundary}");
        HeaderMap::from_iter([(header::CONTENT_TYPE, value.parse().unwrap())])
    }

    fn read_of(headers: &HeaderMap, body: &str, chunk: usize) -> BodyRead {
        let mut reading = Reading::up_to(u64::MAX, headers);
        for chunk in body.as_bytes().chunks(chunk) {
            reading.take(chunk);
        }
        reading.result()
    }

    #[test]
    fn the_boundary_of_a_form_makes_no_difference_and_its_parts_do() {
        let body = |boundary: &str, file: &str| {
            format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n{file}\r\n--{boundary}--\r\n"
            )
        };
        let first = read_of(&form("abc123"), &body("abc123", "petals --abc"), 1000);
        for chunk in [1, 2, 7, 8, 9, 64] {
            let again = read_of(
                &form("zz-9999999999"),
                &body("zz-9999999999", "petals --abc"),
                chunk,
            );
            assert_eq!(again, first, "{chunk}");
        }
        assert_ne!(read_of(&form("abc123"), &body("abc123", "petal"), 3), first);
    }

    #[tokio::test]
    async fn a_body_is_compared_as_far_as_the_first_one_was_read() {
        let headers = HeaderMap::new();
        let first = |bytes: &str, ended| BodyRead {
            ended,
            ..read_of(&headers, bytes, 3)
        };
        let repeated = async |like: &BodyRead, body: &'static str| {
            read_like(like, Body::from(body), &headers).await.unwrap()
        };
        let whole = first("{\"a\": 1}", true);
        assert_eq!(repeated(&whole, "{\"a\": 1}").await, whole);
        for other in ["{\"a\": 2}", "{\"a\": 1} ", "{\"a\": 1", ""] {
            assert_ne!(repeated(&whole, other).await, whole, "{other}");
        }
        let nothing = first("", false);
        assert_eq!(repeated(&nothing, "whatever").await, nothing);
        let beginning = first("PK", false);
        assert_eq!(repeated(&beginning, "PK and more").await, beginning);
        assert_ne!(repeated(&beginning, "P").await, beginning);
    }
}
