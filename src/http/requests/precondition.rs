//! `ETag`, `If-Match` and `If-None-Match` (RFC 9110, 13.1). A tag is the digest of what is shown, so a client can require that a thing is
//! still as it has seen it. Those of datasets and aliases begin with the version, and that alone counts for a change: `"v2"` is enough.
//! What the two headers say is read in [`super::conditions`].

use axum::{
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

pub use super::conditions::{PATTERN, expected_versions, is_known, seen};
use crate::{
    domain::{datasets::dataset::Dataset, tag::Tag},
    error::{Error, Result},
    jobs::Target,
};

/// The `ETag` of something with versions, as it is shown.
pub fn version_etag<T: Serialize>(version: u32, shown: &T) -> [(HeaderName, String); 1] {
    [(header::ETAG, Tag::of_version(version, shown).to_string())]
}

/// The `ETag` of a dataset.
pub fn etag(dataset: &Dataset) -> [(HeaderName, String); 1] {
    version_etag(dataset.version, dataset)
}

/// Answers a GET: with the thing and its tag, or with 304 if the client has it as it is. `version`: of a thing that has some.
///
/// # Errors
/// The thing has no JSON form.
pub fn shown<T: Serialize>(headers: &HeaderMap, version: Option<u32>, thing: &T) -> Result<Response> {
    // Once, for the tag and for the answer.
    let text = serde_json::to_vec(thing).map_err(Error::internal)?;
    let tag = Tag::of_json(&text);
    let tag = match version {
        Some(version) => tag.with_version(version),
        None => tag,
    }
    .to_string();
    if is_known(headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let kind = [(header::CONTENT_TYPE, "application/json")];
    Ok(([(header::ETAG, tag)], kind, text).into_response())
}

/// The version that a request wants to change. A `reference` to a dataset with `@2` means that version, like `If-Match: "v2"`.
///
/// # Errors
/// `if-match-invalid` if the header contains no entity tags.
pub fn target(dataset: &Dataset, reference: &str, headers: &HeaderMap) -> Result<Target> {
    let mut expected = expected_versions(headers, dataset.version)?;
    if reference.contains('@') {
        let named = dataset.version;
        expected = Some(match expected {
            Some(tags) if !tags.contains(&named) => Vec::new(),
            _ => vec![named],
        });
    }
    Ok(Target {
        dataset: dataset.id,
        expected,
    })
}
