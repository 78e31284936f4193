//! Names that people give to datasets and models.
//!
//! A name appears in URLs, file names of downloads and shells, so it is limited to characters that need no escaping in any of them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::id;

/// 1 to 128 letters, digits, `.`, `_`, `-`, beginning with a letter or digit, and not looking like an id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

crate::text_schema!(Name, "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", "flowers");

/// Why a text is not a valid name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    #[error("a name has 1 to 128 letters, digits, `.`, `_` or `-` and begins with a letter or a digit")]
    Characters,
    #[error("a name may not begin with `ds_`, `job_`, `mdl_` or `upl_`: ids do")]
    LooksLikeId,
    #[error("`none`, `imagenet` and names that end in `.safetensors` have a meaning of their own as weights")]
    Reserved,
}

impl Name {
    /// Longest name, in bytes.
    pub const MAX: usize = 128;

    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let starts_well = text
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric());
        if !starts_well || text.len() > Self::MAX || !text.bytes().all(allowed) {
            return Err(InvalidName::Characters);
        }
        if id::looks_like_id(text) {
            return Err(InvalidName::LooksLikeId);
        }
        if matches!(text, "none" | "imagenet") || text.ends_with(".safetensors") {
            return Err(InvalidName::Reserved);
        }
        Ok(Self(text.to_owned()))
    }

    /// A name derived from any text: characters that are not allowed become `-`. What is no name even so, because nothing is left of it or
    /// because it has a meaning of its own, begins with `fallback`.
    pub fn from_any(text: &str, fallback: &str) -> Self {
        let kept: String = text
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || "._-".contains(c) {
                    c
                } else {
                    '-'
                }
            })
            .collect();
        let trimmed = kept.trim_matches(['-', '.', '_']);
        let short: String = trimmed.chars().take(Self::MAX).collect();
        if short.is_empty() {
            return Self(fallback.to_owned());
        }
        Self::parse(&short)
            .or_else(|_| Self::parse(&format!("{fallback}-{short}")))
            .unwrap_or_else(|_| Self(fallback.to_owned()))
    }

    /// The name with a number at its end: `flowers-2`.
    pub fn numbered(&self, number: u32) -> Self {
        let end = format!("-{number}");
        let kept = self.0.len().min(Self::MAX - end.len());
        Self(format!("{}{end}", &self.0[..kept]))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name, and whether somebody chose it. One that was derived, say from a file name, gives way where it is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GivenName {
    Chosen(Name),
    Derived(Name),
}

impl GivenName {
    pub fn name(&self) -> &Name {
        match self {
            Self::Chosen(name) | Self::Derived(name) => name,
        }
    }

    pub fn is_derived(&self) -> bool {
        matches!(self, Self::Derived(_))
    }
}

impl From<Name> for GivenName {
    fn from(name: Name) -> Self {
        Self::Chosen(name)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::parse(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_need_no_escaping_are_taken() {
        for text in ["flowers", "a", "Cats-vs_dogs.v2", "9lives"] {
            assert_eq!(Name::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn everything_else_says_why() {
        for text in [
            "",
            ".hidden",
            "-x",
            "a b",
            "../up",
            "a/b",
            "naïve",
            "a\n",
            "x@2",
            &"a".repeat(129),
        ] {
            assert_eq!(Name::parse(text), Err(InvalidName::Characters), "{text:?}");
        }
        assert_eq!(Name::parse("job_1"), Err(InvalidName::LooksLikeId));
        assert_eq!(Name::parse("imagenet"), Err(InvalidName::Reserved));
        assert_eq!(Name::parse("x.safetensors"), Err(InvalidName::Reserved));
    }

    #[test]
    fn any_text_gives_a_name() {
        for (text, name) in [
            ("cats & dogs", "cats---dogs"),
            ("Bäume", "B-ume"),
            ("Мои фото", "dataset"),
            ("花", "dataset"),
            ("", "dataset"),
            ("...", "dataset"),
            ("фото 2024", "2024"),
            ("imagenet", "dataset-imagenet"),
            ("none", "dataset-none"),
            ("ds_1", "dataset-ds_1"),
            ("x.safetensors", "dataset"),
            (&"a".repeat(300), &"a".repeat(128)),
        ] {
            let derived = Name::from_any(text, "dataset");
            assert_eq!(derived.as_str(), name, "{text}");
            assert_eq!(Name::parse(name), Ok(derived), "{text}");
        }
    }

    #[test]
    fn a_numbered_name_is_a_name() {
        let numbered = |text: &str, number| Name::parse(text).unwrap().numbered(number);
        assert_eq!(numbered("flowers", 2).as_str(), "flowers-2");
        let long = numbered(&"a".repeat(128), 17);
        assert!(long.as_str().len() == 128 && long.as_str().ends_with("a-17"));
    }
}
