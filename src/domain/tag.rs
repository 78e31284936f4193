//! Entity tags (RFC 9110, 8.8.3): what a client has seen of something, so that it can say "only if it is still so".

use std::fmt;

use serde::Serialize;
use sha2::{Digest, Sha256};

/// Hexadecimal digits of a digest: 64 bits tell the states of one thing apart.
const DIGITS: usize = 16;

/// A strong tag: the digest of everything that is shown of a thing. It changes with any of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(String);

impl Tag {
    /// Of a thing as it is shown, or as it is stored.
    pub fn of<T: Serialize>(thing: &T) -> Self {
        // What is shown is JSON already, so it has no keys that JSON cannot have.
        Self::of_json(&serde_json::to_vec(thing).unwrap_or_default())
    }

    /// Of the JSON of a thing.
    pub fn of_json(text: &[u8]) -> Self {
        let digits: String = Sha256::digest(text)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self(digits[..DIGITS].to_owned())
    }

    /// Of a thing with versions, whose tag begins with that.
    pub fn of_version<T: Serialize>(version: u32, thing: &T) -> Self {
        Self::of(thing).with_version(version)
    }

    /// The same of a thing with versions.
    #[must_use]
    pub fn with_version(self, version: u32) -> Self {
        Self(format!("v{version}.{}", self.0))
    }
}

/// With its quotes, as in the header.
impl fmt::Display for Tag {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\"{}\"", self.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tag_is_quoted_and_changes_with_what_is_shown() {
        let tag = Tag::of(&json!({"name": "insects"}));
        assert_eq!(tag, Tag::of(&json!({"name": "insects"})));
        assert_ne!(tag, Tag::of(&json!({"name": "bugs"})));
        let text = tag.to_string();
        assert!(
            text.len() == DIGITS + 2 && text.starts_with('"') && text.ends_with('"'),
            "{text}"
        );
        assert!(Tag::of_version(3, &json!({})).to_string().starts_with("\"v3."));
    }
}
