//! The header `Idempotency-Key`.

use axum::http::{HeaderMap, HeaderName};

use crate::{
    domain::access::Holder,
    error::{Error, Kind, Result},
    store::IdempotencyKey,
};

pub const NAME: HeaderName = HeaderName::from_static("idempotency-key");
/// What it looks like, for the API's description.
pub const PATTERN: &str = r#"^("[!#-~]{1,255}"|[!#-~]{1,255})$"#;

/// The key of a request, quoted or unquoted; none without the header. It is its sender's: others may use the same text.
///
/// # Errors
/// `idempotency-key-invalid`
pub fn idempotency_key(headers: &HeaderMap, owner: Option<&Holder>) -> Result<Option<IdempotencyKey>> {
    let mut values = headers.get_all(NAME).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or("");
    let unquoted = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text);
    let is_visible = |byte: u8| byte.is_ascii_graphic() && byte != b'"';
    if values.next().is_some() || !(1..=255).contains(&unquoted.len()) || !unquoted.bytes().all(is_visible) {
        let detail = "send one Idempotency-Key, of 1 to 255 visible characters without quotes and spaces";
        return Err(Error::new(Kind::Malformed, "idempotency-key-invalid", detail));
    }
    Ok(Some(IdempotencyKey::new(owner, unquoted)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&'static str]) -> Result<Option<IdempotencyKey>> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(NAME, value.parse().unwrap());
        }
        idempotency_key(&headers, None)
    }

    #[test]
    fn a_key_is_read_with_and_without_quotes() {
        assert_eq!(read(&[]).unwrap(), None);
        let plain = read(&["nightly-17"]).unwrap();
        assert!(plain.is_some() && plain == read(&["\"nightly-17\""]).unwrap());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for wrong in ["", "\"\"", "a b", "a\"b", "\"a", "\u{e9}"] {
            assert_eq!(
                read(&[wrong]).unwrap_err().slug(),
                "idempotency-key-invalid",
                "{wrong:?}"
            );
        }
        assert!(read(&["a", "b"]).is_err());
    }
}
