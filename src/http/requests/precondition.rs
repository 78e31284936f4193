//! `ETag` and `If-Match` of datasets and aliases (RFC 9110, 13.1): a version's tag is its number, so that who changes something can say
//! which version they have seen.

use axum::http::{HeaderMap, HeaderName, header};

use crate::{
    domain::datasets::dataset::Dataset,
    error::{Error, Kind, Result},
    jobs::Target,
};

/// The tag of a version.
pub fn version_tag(version: u32) -> String {
    format!("\"v{version}\"")
}

/// The header that tells which version an answer is about.
pub fn etag(dataset: &Dataset) -> [(HeaderName, String); 1] {
    [(header::ETAG, version_tag(dataset.version))]
}

/// What a request wants to change. `reference` is how it names the dataset: with `@2` it means that version, as `If-Match: "v2"` does.
///
/// # Errors
/// `if-match-invalid` for a header that holds no tags.
pub fn target(dataset: &Dataset, reference: &str, headers: &HeaderMap) -> Result<Target> {
    let mut expected = if_match(headers)?;
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

/// Versions whose tags the header lists; none without the header, and for `*`. Tags that are not of a version match nothing.
pub fn if_match(headers: &HeaderMap) -> Result<Option<Vec<u32>>> {
    let mut versions = Vec::new();
    let mut values = headers.get_all(header::IF_MATCH).iter().peekable();
    if values.peek().is_none() {
        return Ok(None);
    }
    for value in values {
        for tag in value.to_str().unwrap_or("").split(',').map(str::trim) {
            if tag == "*" {
                return Ok(None);
            }
            let quoted = tag.strip_prefix("W/").unwrap_or(tag);
            if quoted.len() < 2 || !quoted.starts_with('"') || !quoted.ends_with('"') {
                let detail = "If-Match holds the ETag of what is to be changed, in quotes, such as \"v2\"";
                return Err(Error::new(Kind::Malformed, "if-match-invalid", detail));
            }
            // A weak tag never matches (RFC 9110, 13.1.1).
            versions.extend(
                tag.strip_prefix("\"v")
                    .and_then(|tag| tag.strip_suffix('"')?.parse::<u32>().ok()),
            );
        }
    }
    Ok(Some(versions))
}

/// Whether the caller has what this strong tag stands for already.
pub fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers.get_all(header::IF_NONE_MATCH).iter();
    let mut tags = known
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    tags.any(|known| {
        let known = known.trim();
        known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag
    })
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
        let of = |values: &[&'static str]| if_match(&headers(header::IF_MATCH, values));
        assert_eq!(of(&[]).unwrap(), None);
        assert_eq!(of(&["*"]).unwrap(), None);
        assert_eq!(of(&["\"v2\""]).unwrap(), Some(vec![2]));
        assert_eq!(of(&["\"v2\", \"v3\"", "\"v5\""]).unwrap(), Some(vec![2, 3, 5]));
        assert_eq!(of(&["W/\"v2\"", "\"other\""]).unwrap(), Some(Vec::new()));
        assert!(of(&["v2"]).is_err() && of(&["\""]).is_err());
    }

    #[test]
    fn what_the_caller_has_need_not_be_sent_again() {
        let known = |value| is_known(&headers(header::IF_NONE_MATCH, &[value]), "\"a\"");
        assert!(known("\"b\", \"a\"") && known("W/\"a\"") && known("*"));
        assert!(!known("\"b\"") && !known("a"));
        assert!(!is_known(&HeaderMap::new(), "\"a\""));
    }
}
