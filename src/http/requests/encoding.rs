//! Bodies in a `Content-Encoding`: `gzip` and `deflate` are decoded where a request is read into memory, within the limits of whoever reads
//! it. Files are taken as they are and never decoded: their digests, lengths and offsets are those of the bytes that were sent.

use std::{error::Error as StdError, fmt, io, pin::Pin};

use async_compression::tokio::bufread::{GzipDecoder, ZlibDecoder};
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::TryStreamExt;
use tokio::io::AsyncRead;
use tokio_util::io::{ReaderStream, StreamReader};

use crate::error::{Error, Kind};

/// The refusal of a body in an encoding that is not decoded there.
pub fn refusal(request: &Request) -> Option<Response> {
    let coding = coding(request.headers())?;
    let takes_files = takes_files(request.method(), request.uri().path());
    if !takes_files && known(&coding).is_some() {
        return None;
    }
    let (accepted, detail) = match takes_files {
        true => (
            "identity",
            "a file is taken as it is: send it without the header `content-encoding`, which a `.tar.gz` file does not need either".to_owned(),
        ),
        false => (
            "gzip, deflate",
            format!("the body's `content-encoding` is `{coding}`; send it in `gzip` or `deflate`, or without that header"),
        ),
    };
    let error = Error::new(Kind::UnsupportedMedia, "encoding-unsupported", detail);
    let mut response = error.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accepted));
    Some(response)
}

/// Decodes the bodies that were not refused. All of a body counts: gzip may have several members (RFC 1952), and whatever follows the encoded
/// data is an error.
pub async fn decode(request: Request, next: Next) -> Response {
    let Some(coding) = coding(request.headers()).as_deref().and_then(known) else {
        return next.run(request).await;
    };
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(header::CONTENT_ENCODING);
    parts.headers.remove(header::CONTENT_LENGTH);
    let encoded = StreamReader::new(body.into_data_stream().map_err(io::Error::other));
    let decoded: Pin<Box<dyn AsyncRead + Send>> = match coding {
        "deflate" => {
            let mut decoder = ZlibDecoder::new(encoded);
            decoder.multiple_members(true);
            Box::pin(decoder)
        }
        _ => {
            let mut decoder = GzipDecoder::new(encoded);
            decoder.multiple_members(true);
            Box::pin(decoder)
        }
    };
    let decoded = ReaderStream::new(decoded).map_err(move |fault| told(coding, fault));
    next.run(Request::from_parts(parts, Body::from_stream(decoded)))
        .await
}

/// The error in `fault` if the body is not in its encoding.
pub fn fault_of(fault: &(dyn StdError + 'static)) -> Option<Error> {
    let mut next = Some(fault);
    while let Some(fault) = next {
        if let Some(undecodable) = fault.downcast_ref::<Undecodable>() {
            return Some(Error::new(
                Kind::Malformed,
                "encoding-invalid",
                undecodable.to_string(),
            ));
        }
        next = fault.source();
    }
    None
}

/// Requests whose bodies are files.
fn takes_files(method: &Method, path: &str) -> bool {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    match segments.as_slice() {
        ["v1", "uploads", ..] | ["v1", "datasets" | "models"] => true,
        ["v1", "datasets" | "models", _] => method == Method::PUT,
        ["v1", "datasets", _, "images"] => method == Method::POST,
        _ => false,
    }
}

/// The codings of a body, as its headers name them; `None` without any.
fn coding(headers: &HeaderMap) -> Option<String> {
    let named = headers.get_all(header::CONTENT_ENCODING).iter();
    let named: Vec<String> = named
        .map(|value| {
            String::from_utf8_lossy(value.as_bytes())
                .trim()
                .to_ascii_lowercase()
        })
        .filter(|coding| !coding.is_empty() && coding != "identity")
        .collect();
    (!named.is_empty()).then(|| named.join(", "))
}

fn known(coding: &str) -> Option<&'static str> {
    match coding {
        // RFC 9110, section 8.4.1.3.
        "gzip" | "x-gzip" => Some("gzip"),
        "deflate" => Some("deflate"),
        _ => None,
    }
}

type BoxError = Box<dyn StdError + Send + Sync>;

/// What the connection says stays as it is; everything else is the decoder's.
fn told(coding: &'static str, fault: io::Error) -> BoxError {
    match fault.get_ref().is_some_and(|inner| inner.is::<axum::Error>()) {
        true => fault.into(),
        false => Box::new(Undecodable(coding)),
    }
}

#[derive(Debug)]
struct Undecodable(&'static str);

impl fmt::Display for Undecodable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let coding = self.0;
        write!(
            out,
            "the body is not {coding}, or not all of it, as its header `content-encoding: {coding}` says"
        )
    }
}

impl StdError for Undecodable {}
