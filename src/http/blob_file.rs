//! A blob as a download: with its digest as a strong `ETag`, conditional requests and ranges (RFC 9110, 13 and 14), so that one that broke
//! off goes on where it was.

use std::{io::SeekFrom, ops::RangeInclusive};

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
};
use tokio_util::io::ReaderStream;

use super::{App, precondition::is_known};
use crate::error::{Error, Kind, Result};

/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// What a download is called and what it is.
pub struct About {
    /// SHA-256 of the blob.
    pub digest: String,
    pub media_type: &'static str,
    /// Needs no escaping.
    pub file_name: String,
}

/// Answers a GET (or, without its body, a HEAD) of the blob.
pub async fn answer(app: &App, about: &About, headers: &HeaderMap) -> Result<Response> {
    let tag = format!("\"{}\"", about.digest);
    if is_known(headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let mut file = File::open(app.blobs().path(&about.digest)).await?;
    let size = file.metadata().await?.len();
    let common = [
        (header::ETAG, tag.clone()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        // What a name stands for may be another file next time.
        (header::CACHE_CONTROL, "private, no-cache".to_owned()),
    ];
    let range = match asked_range(headers, &tag, size) {
        Asked::Whole => None,
        Asked::Part(range) => Some(range),
        Asked::Nothing => {
            let detail = format!("the file has {size} bytes, and the range begins after them");
            let refusal = Error::new(Kind::BeyondEnd, "range-not-satisfiable", detail);
            return Ok(([(header::CONTENT_RANGE, format!("bytes */{size}"))], refusal).into_response());
        }
    };
    let (status, length) = match &range {
        None => (StatusCode::OK, size),
        Some(range) => {
            file.seek(SeekFrom::Start(*range.start())).await?;
            (StatusCode::PARTIAL_CONTENT, range.end() - range.start() + 1)
        }
    };
    let about = [
        (header::CONTENT_TYPE, about.media_type.to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{}\"", about.file_name),
        ),
    ];
    let body = Body::from_stream(ReaderStream::with_capacity(file.take(length), CHUNK));
    let mut response = (status, common, about, body).into_response();
    if let Some(range) = range {
        let value = format!("bytes {}-{}/{size}", range.start(), range.end());
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(header::CONTENT_RANGE, value);
        }
    }
    Ok(response)
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    Part(RangeInclusive<u64>),
    /// A range that lies behind the end.
    Nothing,
}

/// What is asked for of a file of `size` bytes. Several ranges, other units and what cannot be understood mean the whole, as RFC 9110
/// allows; so does an `If-Range` that is not about this very file.
fn asked_range(headers: &HeaderMap, tag: &str, size: u64) -> Asked {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if headers.contains_key(header::IF_RANGE) && text(header::IF_RANGE) != Some(tag) {
        return Asked::Whole;
    }
    let Some((first, last)) = text(header::RANGE)
        .and_then(|range| range.strip_prefix("bytes="))
        .and_then(|range| range.split_once('-'))
    else {
        return Asked::Whole;
    };
    let number = |text: &str| text.parse::<u64>().ok().filter(|_| !text.starts_with('+'));
    match (number(first), number(last)) {
        // The last so many bytes.
        (None, Some(count)) if first.is_empty() => match count.min(size) {
            0 => Asked::Nothing,
            count => Asked::Part(size - count..=size - 1),
        },
        (Some(first), Some(last)) if first > last => Asked::Whole,
        (Some(first), Some(last)) if first < size => Asked::Part(first..=last.min(size - 1)),
        (Some(first), None) if last.is_empty() && first < size => Asked::Part(first..=size - 1),
        (Some(_), last_byte) if last_byte.is_some() || last.is_empty() => Asked::Nothing,
        _ => Asked::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(range: &str, if_range: Option<&str>) -> Asked {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, range.parse().unwrap());
        if let Some(tag) = if_range {
            headers.insert(header::IF_RANGE, tag.parse().unwrap());
        }
        asked_range(&headers, "\"a\"", 100)
    }

    #[test]
    fn a_range_is_what_the_rfc_says() {
        assert_eq!(asked_range(&HeaderMap::new(), "\"a\"", 100), Asked::Whole);
        for (range, expected) in [
            ("bytes=0-9", Asked::Part(0..=9)),
            ("bytes=90-", Asked::Part(90..=99)),
            ("bytes=90-1000", Asked::Part(90..=99)),
            ("bytes=-5", Asked::Part(95..=99)),
            ("bytes=-500", Asked::Part(0..=99)),
            ("bytes=-0", Asked::Nothing),
            ("bytes=100-", Asked::Nothing),
            ("bytes=9-0", Asked::Whole),
            ("bytes=9-x", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=0-1,5-6", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("lines=0-9", Asked::Whole),
        ] {
            assert_eq!(asked(range, None), expected, "{range}");
        }
        assert_eq!(asked("bytes=0-9", Some("\"a\"")), Asked::Part(0..=9));
        for other in ["\"b\"", "W/\"a\"", "Tue, 24 Nov 2026 12:00:00 GMT"] {
            assert_eq!(asked("bytes=0-9", Some(other)), Asked::Whole, "{other}");
        }
        assert_eq!(asked_range(&HeaderMap::new(), "\"a\"", 0), Asked::Whole);
    }
}
