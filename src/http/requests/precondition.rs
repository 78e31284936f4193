//! `ETag` and `If-Match` of datasets and aliases (RFC 9110, 13.1): the tag is the version number, so a client can require that the object
//! is still at the version it has seen.

use axum::http::{HeaderMap, HeaderName, header};
use headers::{ETag, HeaderMapExt, IfMatch, IfNoneMatch};

use crate::{
    domain::datasets::dataset::Dataset,
    error::{Error, Kind, Result},
    jobs::Target,
};

/// The ETag of a version.
pub fn version_tag(version: u32) -> String {
    format!("\"v{version}\"")
}

/// The ETag header of a version.
pub fn etag(dataset: &Dataset) -> [(HeaderName, String); 1] {
    [(header::ETAG, version_tag(dataset.version))]
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

/// The versions in the header; `None` without it.
///
/// # Errors
/// `if-match-invalid` if it contains no entity tags: an unquoted value would never match, and the client would not learn why.
pub fn if_match(headers: &HeaderMap) -> Result<Option<IfMatch>> {
    let invalid = || {
        let detail = "If-Match must contain the quoted ETag of the version to change, such as \"v2\"";
        Error::new(Kind::Malformed, "if-match-invalid", detail)
    };
    let is_tag = |tag: &str| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).parse::<ETag>().is_ok();
    let mut values = headers.get_all(header::IF_MATCH).iter();
    if !values.all(|value| {
        value
            .to_str()
            .is_ok_and(|tags| tags.split(',').map(str::trim).all(is_tag))
    }) {
        return Err(invalid());
    }
    headers.typed_try_get().map_err(|_| invalid())
}

/// The versions from 1 to `newest` whose tags the header lists; `None`, which means any, without the header and for `*`. A weak tag never
/// matches (RFC 9110, 13.1.1).
pub fn expected_versions(headers: &HeaderMap, newest: u32) -> Result<Option<Vec<u32>>> {
    let listed = if_match(headers)?.filter(|tags| !tags.is_any());
    Ok(listed.map(|tags| {
        let is_listed = |version: &u32| tags.precondition_passes(&strong(&version_tag(*version)));
        (1..=newest).filter(is_listed).collect()
    }))
}

/// Whether the client already has the representation with this strong tag.
pub fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers.typed_get::<IfNoneMatch>();
    known.is_some_and(|known| !known.precondition_passes(&strong(tag)))
}

/// One of our tags, including its quotes.
fn strong(tag: &str) -> ETag {
    tag.parse().unwrap_or_else(|_| unreachable!("{tag} is a tag"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_list_of_tags_is_a_list_of_versions() {
        let of = |values: &[&'static str]| expected_versions(&headers(header::IF_MATCH, values), 5);
        assert_eq!(of(&[]).unwrap(), None);
        assert_eq!(of(&["*"]).unwrap(), None);
        assert_eq!(of(&["\"v2\""]).unwrap(), Some(vec![2]));
        assert_eq!(of(&["\"v2\", \"v3\"", "\"v5\""]).unwrap(), Some(vec![2, 3, 5]));
        assert_eq!(
            of(&["W/\"v2\"", "\"other\"", "\"v6\""]).unwrap(),
            Some(Vec::new())
        );
        for malformed in ["v2", "\"", "\"v2\", v3", ""] {
            assert!(of(&[malformed]).is_err(), "{malformed:?}");
        }
    }

    #[test]
    fn what_the_caller_has_need_not_be_sent_again() {
        let known = |value| is_known(&headers(header::IF_NONE_MATCH, &[value]), "\"a\"");
        assert!(known("\"b\", \"a\"") && known("W/\"a\"") && known("*"));
        assert!(!known("\"b\"") && !known("a"));
        assert!(!is_known(&HeaderMap::new(), "\"a\""));
    }
}
