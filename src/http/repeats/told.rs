//! What the header `Idempotency-Key` says.

use axum::http::{HeaderMap, HeaderName};

use crate::error::{Error, Kind, Result};

pub const NAME: HeaderName = HeaderName::from_static("idempotency-key");
/// What it looks like, for the API's description.
pub const PATTERN: &str = r#"^("[!#-~]{1,255}"|[!#-~]{1,255})$"#;

/// Its text, which stands in quotes or not; none without the header.
///
/// # Errors
/// `idempotency-key-invalid`
pub fn key(headers: &HeaderMap) -> Result<Option<&str>> {
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
    Ok(Some(unquoted))
}
