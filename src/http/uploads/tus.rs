//! The headers of tus 1.0 (<https://tus.io/protocols/resumable-upload>): protocol version, server capabilities, and what the client says
//! about its upload. Nothing here knows the server or makes a response; the handlers are in [`super::upload`].

use std::collections::BTreeMap;

use axum::http::{HeaderMap, HeaderName, header};
use base64::{Engine, engine::general_purpose::STANDARD};

use crate::error::{Error, Kind, Result};

/// Path of the uploads.
pub const ADDRESS: &str = "/v1/uploads";
/// The only supported version.
pub const VERSION: &str = "1.0.0";
pub const EXTENSIONS: &str = "creation,creation-with-upload,checksum,expiration,termination";

pub const RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
pub const TUS_VERSION: HeaderName = HeaderName::from_static("tus-version");
pub const TUS_EXTENSION: HeaderName = HeaderName::from_static("tus-extension");
pub const TUS_MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");
pub const TUS_CHECKSUM_ALGORITHM: HeaderName = HeaderName::from_static("tus-checksum-algorithm");
pub const OFFSET: HeaderName = HeaderName::from_static("upload-offset");
pub const LENGTH: HeaderName = HeaderName::from_static("upload-length");
pub const DEFER_LENGTH: HeaderName = HeaderName::from_static("upload-defer-length");
pub const METADATA: HeaderName = HeaderName::from_static("upload-metadata");
pub const EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
pub const CHECKSUM: HeaderName = HeaderName::from_static("upload-checksum");
/// Our own header: the dataset that a complete upload has become.
pub const DATASET: HeaderName = HeaderName::from_static("upload-dataset");
pub const METHOD_OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");

/// Media type of the bytes of an upload.
pub const BYTES: &str = "application/offset+octet-stream";
/// Longest `Upload-Metadata`, in bytes.
const MAX_METADATA: usize = 4096;

/// Refuses requests in other versions.
///
/// # Errors
/// `tus-version`.
pub fn check_version(headers: &HeaderMap) -> Result<()> {
    if text(headers, &RESUMABLE)? == Some(VERSION) {
        return Ok(());
    }
    let detail = format!("the upload protocol is tus {VERSION}; send the header `Tus-Resumable: {VERSION}`");
    Err(Error::new(Kind::UnspokenVersion, "tus-version", detail))
}

/// A text header, if present.
pub fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    value
        .to_str()
        .map(|text| Some(text.trim()))
        .map_err(|_| wrong(name, "is not visible ASCII text"))
}

/// A header that is a number of bytes, if present.
pub fn number(headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>> {
    let Some(text) = text(headers, name)? else {
        return Ok(None);
    };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten();
    number
        .map(Some)
        .ok_or_else(|| wrong(name, "is not a number of bytes"))
}

/// The size of a new upload, which has to be known when it begins.
///
/// # Errors
/// `header-invalid`
pub fn announced_bytes(headers: &HeaderMap) -> Result<u64> {
    if headers.contains_key(DEFER_LENGTH) {
        return Err(wrong(
            &DEFER_LENGTH,
            "is not supported: send the size in `Upload-Length`",
        ));
    }
    needed(number(headers, &LENGTH)?, &LENGTH)
}

/// Whether the body is bytes of an upload.
pub fn brings_bytes(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().eq_ignore_ascii_case(BYTES.as_bytes()))
}

/// A required header.
pub fn needed<T>(value: Option<T>, name: &HeaderName) -> Result<T> {
    value.ok_or_else(|| wrong(name, "is missing"))
}

/// For an invalid header.
pub fn wrong(name: &HeaderName, what: &str) -> Error {
    Error::new(
        Kind::Malformed,
        "header-invalid",
        format!("the header `{name}` {what}"),
    )
}

/// What a client says about its upload.
#[derive(Debug, Default, PartialEq)]
pub struct Metadata {
    /// As it was received.
    pub raw: String,
    values: BTreeMap<String, String>,
}

impl Metadata {
    /// Parses `Upload-Metadata`: comma-separated pairs of a key and a base64 value; the value may be missing.
    pub fn of(headers: &HeaderMap) -> Result<Self> {
        let Some(raw) = text(headers, &METADATA)? else {
            return Ok(Self::default());
        };
        let malformed = || {
            wrong(
                &METADATA,
                "must be comma-separated pairs of a key and a base64 value, at most 4096 bytes in total",
            )
        };
        if raw.len() > MAX_METADATA {
            return Err(malformed());
        }
        let mut values = BTreeMap::new();
        for pair in raw.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
            let value = STANDARD.decode(value.trim()).map_err(|_| malformed())?;
            let value = String::from_utf8(value).map_err(|_| malformed())?;
            if values.insert(key.to_owned(), value).is_some() {
                return Err(wrong(&METADATA, "contains a key twice"));
            }
        }
        Ok(Self {
            raw: raw.to_owned(),
            values,
        })
    }

    /// The value of a key, if not empty.
    pub fn get(&self, key: &str) -> Option<&str> {
        let value = self.values.get(key)?;
        (!value.is_empty()).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn metadata_is_pairs_in_base64() {
        let metadata = Metadata::of(&headers(
            METADATA,
            "filename Zmxvd2Vycy56aXA=,is_private, name ZsO8cg==",
        ))
        .unwrap();
        assert_eq!(metadata.get("filename"), Some("flowers.zip"));
        assert_eq!(metadata.get("name"), Some("für"));
        assert_eq!((metadata.get("is_private"), metadata.get("other")), (None, None));
        assert_eq!(Metadata::of(&HeaderMap::new()).unwrap(), Metadata::default());
        for wrong in ["name !", "name /w==", "name YQ==,name YQ==", &"x,".repeat(2049)] {
            assert!(Metadata::of(&headers(METADATA, wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_number_of_bytes_is_digits_only() {
        assert_eq!(number(&headers(OFFSET, "70"), &OFFSET).unwrap(), Some(70));
        assert_eq!(number(&HeaderMap::new(), &OFFSET).unwrap(), None);
        for wrong in ["-1", "+1", "1.5", "", "0x1", "99999999999999999999999"] {
            assert!(number(&headers(OFFSET, wrong), &OFFSET).is_err(), "{wrong}");
        }
    }
}
