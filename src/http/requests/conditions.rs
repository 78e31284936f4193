//! What `If-Match` and `If-None-Match` say (RFC 9110, 13.1): headers in, versions or tags out. Nothing here knows the server; what is made of
//! it is in [`super::precondition`].

use axum::http::{HeaderMap, header};
use headers::{ETag, HeaderMapExt, IfMatch, IfNoneMatch};
use serde::Serialize;

use crate::{
    domain::tag::Tag,
    error::{Error, Kind, Result},
};

/// What the headers look like, for the API's description.
pub const PATTERN: &str = r#"^(\*|(W/)?"[!#-+\--~]*"( *, *(W/)?"[!#-+\--~]*")*)$"#;

/// What a change holds to: the tag of what is stored, if the request has an `If-Match` and it lists the tag of what is shown now. The store
/// compares it again when it makes the change. None without the header, and for `*`: it is there.
///
/// # Errors
/// `if-match-invalid`; `changed` if it lists other tags only.
pub fn seen<T: Serialize>(headers: &HeaderMap, shown: &T, stored: &T) -> Result<Option<Tag>> {
    match listed(headers)? {
        None => Ok(None),
        Some(tags) if tags.contains(&Tag::of(shown).to_string()) => Ok(Some(Tag::of(stored))),
        Some(_) => Err(Error::changed()),
    }
}

/// The versions in the header; `None` without it.
///
/// # Errors
/// `if-match-invalid` if it contains no entity tags: an unquoted value would never match, and the client would not learn why.
fn if_match(headers: &HeaderMap) -> Result<Option<IfMatch>> {
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

/// The versions from 1 to `newest` whose tags the header lists; `None`, which means any, without the header and for `*`.
pub fn expected_versions(headers: &HeaderMap, newest: u32) -> Result<Option<Vec<u32>>> {
    Ok(listed(headers)?.map(|tags| {
        let mut versions: Vec<u32> = tags.iter().filter_map(|tag| version_of(tag)).collect();
        versions.retain(|version| (1..=newest).contains(version));
        versions.sort_unstable();
        versions
    }))
}

/// The strong tags in the header, with their quotes: a weak one never matches (RFC 9110, 13.1.1). `None` without the header and for `*`.
fn listed(headers: &HeaderMap) -> Result<Option<Vec<String>>> {
    let Some(tags) = if_match(headers)?.filter(|tags| !tags.is_any()) else {
        return Ok(None);
    };
    drop(tags);
    let values = headers.get_all(header::IF_MATCH).iter();
    let tags = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let strong = tags.map(str::trim).filter(|tag| tag.starts_with('"'));
    Ok(Some(strong.map(str::to_owned).collect()))
}

/// The version that a tag begins with.
fn version_of(tag: &str) -> Option<u32> {
    let tag = tag.strip_prefix("\"v")?.strip_suffix('"')?;
    tag.split_once('.')
        .map_or(tag, |(version, _)| version)
        .parse()
        .ok()
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
    use axum::http::HeaderName;

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
        assert_eq!(of(&["\"v3.0123456789abcdef\""]).unwrap(), Some(vec![3]));
        assert_eq!(
            of(&["W/\"v2\"", "\"other\"", "\"v6\""]).unwrap(),
            Some(Vec::new())
        );
        for malformed in ["v2", "\"", "\"v2\", v3", ""] {
            assert!(of(&[malformed]).is_err(), "{malformed:?}");
        }
    }

    #[test]
    fn a_change_holds_to_what_the_caller_has_seen() {
        let (shown, stored) = ("shown", "stored");
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::IF_MATCH, value.parse().unwrap());
            }
            seen(&headers, &shown, &stored)
        };
        let tag = Tag::of(&shown).to_string();
        assert_eq!((of(&[]).unwrap(), of(&["*"]).unwrap()), (None, None));
        assert_eq!(of(&["\"other\"", &tag]).unwrap(), Some(Tag::of(&stored)));
        for other in ["\"other\"", &format!("W/{tag}")] {
            assert_eq!(of(&[other]).unwrap_err().slug(), "changed", "{other}");
        }
        assert_eq!(of(&["other"]).unwrap_err().slug(), "if-match-invalid");
    }

    #[test]
    fn what_the_caller_has_need_not_be_sent_again() {
        let known = |value| is_known(&headers(header::IF_NONE_MATCH, &[value]), "\"a\"");
        assert!(known("\"b\", \"a\"") && known("W/\"a\"") && known("*"));
        assert!(!known("\"b\"") && !known("a"));
        assert!(!is_known(&HeaderMap::new(), "\"a\""));
    }
}
