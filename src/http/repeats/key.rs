//! The `Idempotency-Key` of a request, with whose it is.

use axum::http::HeaderMap;

use super::told;
pub use super::told::{NAME, PATTERN};
use crate::{domain::access::Holder, error::Result, store::IdempotencyKey};

/// The key of a request, quoted or unquoted; none without the header. It is its sender's: others may use the same text.
///
/// # Errors
/// `idempotency-key-invalid`
pub fn idempotency_key(headers: &HeaderMap, owner: Option<&Holder>) -> Result<Option<IdempotencyKey>> {
    Ok(told::key(headers)?.map(|key| IdempotencyKey::new(owner, key)))
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
