//! Digests that clients send: of an archive `?sha256=` in hexadecimal, or `Repr-Digest` (RFC 9530); of the bytes of one request
//! `Upload-Checksum` (tus), or `Content-Digest`.

use axum::http::{HeaderMap, HeaderName};

use super::tus;
use crate::{
    error::{Error, Kind, Result},
    files::{
        checksum::{Checksum, InvalidChecksum, parse_digest_field},
        digest,
    },
};

pub const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
pub const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// The SHA-256 that the whole archive must have, in hexadecimal, if the client sent one; `named` is the one outside the headers.
///
/// # Errors
/// A value that is not a SHA-256, or two different values.
pub fn announced_digest(headers: &HeaderMap, named: Option<&str>) -> Result<Option<String>> {
    let named = named.map(str::to_ascii_lowercase);
    if let Some(named) = &named
        && !digest::is_digest(named)
    {
        return Err(invalid("`sha256` must be 64 hexadecimal digits"));
    }
    let Some(text) = tus::text(headers, &REPR_DIGEST)? else {
        return Ok(named);
    };
    let bytes = parse_digest_field(text)
        .map_err(|fault| tus::wrong(&REPR_DIGEST, &format!("is invalid: {fault}")))?;
    let told: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    match named {
        Some(named) if named != told => Err(invalid(
            "`sha256` and the header `repr-digest` have different digests",
        )),
        _ => Ok(Some(told)),
    }
}

/// The digest of this request's bytes, from either header.
///
/// # Errors
/// `header-invalid`
pub fn checksum(headers: &HeaderMap) -> Result<Option<Checksum>> {
    let refused = |name| move |fault: InvalidChecksum| tus::wrong(name, &format!("is invalid: {fault}"));
    if let Some(text) = tus::text(headers, &tus::CHECKSUM)? {
        return Checksum::parse_tus(text)
            .map(Some)
            .map_err(refused(&tus::CHECKSUM));
    }
    let Some(text) = tus::text(headers, &CONTENT_DIGEST)? else {
        return Ok(None);
    };
    let digest = parse_digest_field(text).map_err(refused(&CONTENT_DIGEST))?;
    Ok(Some(Checksum::sha256(digest)))
}

fn invalid(detail: &str) -> Error {
    Error::new(Kind::Malformed, "digest-invalid", detail)
}
