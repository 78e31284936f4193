//! Serves a blob as a download, with its digest as a strong `ETag`, conditional requests and ranges (RFC 9110, 13 and 14), so that an
//! interrupted download can be resumed.

use std::io::SeekFrom;

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
};
use tokio_util::io::ReaderStream;

use super::range::Asked;
use crate::{
    error::Result,
    http::{App, connections::Caller, requests::precondition::is_known},
};

/// Bytes per read.
const CHUNK: usize = 64 << 10;

/// File name and type of a download.
pub struct About {
    /// SHA-256 of the blob.
    pub digest: String,
    pub media_type: &'static str,
    /// Needs no escaping.
    pub file_name: String,
}

/// Responds to a GET (or, without the body, a HEAD) of the blob.
///
/// # Errors
/// `downloads-busy`
pub async fn answer(app: &App, about: &About, caller: Caller, headers: &HeaderMap) -> Result<Response> {
    let tag = format!("\"{}\"", about.digest);
    if is_known(headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let permit = app.download_permit(caller)?;
    // Verified for a range too: the parts together must have this digest.
    let path = app
        .blobs()
        .sound(&about.digest, || format!("the file `{}`", about.file_name));
    let mut file = File::open(path.await?).await?;
    let size = file.metadata().await?.len();
    let common = [
        (header::ETAG, tag.clone()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        // A name may refer to another file next time.
        (header::CACHE_CONTROL, "private, no-cache".to_owned()),
    ];
    let (status, part) = match Asked::of(headers, &tag, size) {
        Asked::Whole => (StatusCode::OK, 0..size),
        Asked::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
        Asked::Beyond => return Ok(Asked::refusal(size)),
    };
    file.seek(SeekFrom::Start(part.start)).await?;
    let length = part.end - part.start;
    let about = [
        (header::CONTENT_TYPE, about.media_type.to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{}\"", about.file_name),
        ),
    ];
    let bytes = ReaderStream::with_capacity(file.take(length), CHUNK);
    let body = Body::from_stream(bytes.inspect(move |_| {
        let _while_it_lasts = &permit;
    }));
    let mut response = (status, common, about, body).into_response();
    if status == StatusCode::PARTIAL_CONTENT
        && let Ok(value) = format!("bytes {}-{}/{size}", part.start, part.end - 1).parse()
    {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    Ok(response)
}
