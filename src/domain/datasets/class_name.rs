//! Class names given by callers, as opposed to those of an archive's folders.
//!
//! A class becomes a folder again when a dataset is downloaded, so a name must be valid as a folder name on every system.

use icu_normalizer::ComposingNormalizerBorrowed;

/// Longest name, in bytes.
pub const MAX: usize = 255;

/// The name as it is stored: composed (NFC), trimmed, without the byte order mark that some editors begin a text with. Spaces within, capitals and every script are allowed.
///
/// # Errors
/// Which rule the name violates.
pub fn parse(text: &str) -> Result<String, &'static str> {
    let name = ComposingNormalizerBorrowed::new_nfc()
        .normalize(text.trim_start_matches('\u{feff}').trim())
        .into_owned();
    if name.is_empty() || name.len() > MAX {
        return Err("a class name must have 1 to 255 bytes");
    }
    if name.contains(['/', '\\']) || name.chars().any(char::is_control) {
        return Err("a class name must not contain slashes, line breaks or other control characters");
    }
    if name.starts_with('.') || name == "__MACOSX" {
        return Err(
            "a class name must not begin with a dot: such folders are hidden and are ignored in datasets",
        );
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_composed_and_trimmed() {
        for name in ["roses", "yes", "no", "two words", "Ünï", "<b>", "日本", "-1"] {
            assert_eq!(parse(name).unwrap(), name);
        }
        assert_eq!(parse("\u{feff}ants").unwrap(), "ants");
        assert_eq!(parse(" cafe\u{301} ").unwrap(), "caf\u{e9}");
    }

    #[test]
    fn what_is_no_folder_is_refused() {
        for name in [
            "",
            "  ",
            "a/b",
            "a\\b",
            "..",
            ".hidden",
            "a\nb",
            "a\0",
            "\u{1b}[31m",
            &"x".repeat(256),
        ] {
            assert!(parse(name).is_err(), "{name:?}");
        }
    }
}
