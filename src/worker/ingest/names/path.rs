//! Validation of paths inside an archive. Nothing is ever written to such a path, so this is about meaning, and about refusing archives
//! that were made to do harm wherever they are extracted.

/// Why a path is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFault {
    /// It climbs out of a folder: nobody packs this by accident, so the whole archive is refused.
    Escape,
    /// It cannot name an image; the entry is skipped.
    Unusable {
        code: &'static str,
        message: &'static str,
    },
}

/// The folders and the file of a path. `/` and `\` both separate (old Windows programs use the latter); empty parts and `.` mean nothing
/// and are dropped, and so are roots and drives, which some programs write before every path.
pub fn parts(raw: &str, max_bytes: usize) -> Result<Vec<String>, PathFault> {
    let mut parts: Vec<&str> = raw.split(SEPARATORS).filter(|part| !says_nothing(part)).collect();
    // `\\?\C:\a.jpg` names a device of Windows.
    if raw.starts_with(SEPARATORS) && parts.first() == Some(&"?") {
        parts.remove(0);
    }
    while let Some(rest) = parts.first().and_then(|first| behind_drive(first)) {
        match says_nothing(rest) {
            true => drop(parts.remove(0)),
            false => parts[0] = rest,
        }
    }
    if parts.iter().any(|part| climbs(part)) {
        return Err(PathFault::Escape);
    }
    if raw.chars().any(char::is_control) {
        return Err(PathFault::Unusable {
            code: "bad_path",
            message: "the path contains control characters; rename the file",
        });
    }
    if raw.len() > max_bytes {
        return Err(PathFault::Unusable {
            code: "path_too_long",
            message: "the path is too long; shorten the names of its folders",
        });
    }
    if parts.is_empty() {
        return Err(PathFault::Unusable {
            code: "bad_path",
            message: "the entry has no name",
        });
    }
    Ok(parts.into_iter().map(str::to_owned).collect())
}

const SEPARATORS: [char; 2] = ['/', '\\'];

/// Whether a path begins at a root, a drive or a server, which [`parts`] drops.
pub fn is_rooted(raw: &str) -> bool {
    let first = raw.split(SEPARATORS).find(|part| !says_nothing(part));
    raw.starts_with(SEPARATORS) || first.is_some_and(|first| behind_drive(first).is_some())
}

/// Whether [`parts`] drops anything else: empty parts and `.`, but for the `./` that tar begins with and the slash that ends a folder.
pub fn is_untidy(raw: &str) -> bool {
    let raw = raw.strip_prefix("./").unwrap_or(raw);
    let raw = raw.strip_suffix(SEPARATORS).unwrap_or(raw);
    !raw.is_empty() && raw.split(SEPARATORS).any(says_nothing)
}

fn says_nothing(part: &str) -> bool {
    part.is_empty() || part == "."
}

/// What follows `C:`.
fn behind_drive(part: &str) -> Option<&str> {
    match part.as_bytes() {
        [letter, b':', ..] if letter.is_ascii_alphabetic() => part.get(2..),
        _ => None,
    }
}

/// `..`, also as Windows interprets it: spaces and dots at the end of a name are ignored there.
fn climbs(part: &str) -> bool {
    let dots = part.chars().filter(|&character| character == '.').count();
    let spaces = part.chars().filter(|&character| character == ' ').count();
    dots >= 2 && dots + spaces == part.chars().count()
}

/// Files and folders that operating systems leave behind, which nobody means as data.
pub fn is_hidden(parts: &[String]) -> bool {
    const LEFT_BEHIND: &[&str] = &[
        "__macosx",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "@eadir",
        "$recycle.bin",
    ];
    parts
        .iter()
        .any(|part| part.starts_with('.') || LEFT_BEHIND.contains(&part.to_ascii_lowercase().as_str()))
}

/// A path in displayable form: control characters, line and paragraph separators, and direction overrides become `U+FFFD`; very long ones
/// are cut to `max_characters`.
pub fn shown(raw: &str, max_characters: usize) -> String {
    let harmful = |character: char| {
        character.is_control() || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    raw.chars()
        .take(max_characters)
        .map(|character| if harmful(character) { '\u{fffd}' } else { character })
        .collect()
}

/// The extension of a file name in lower case, or nothing.
pub fn extension(name: &str) -> String {
    name.rsplit_once('.')
        .map(|(_, extension)| extension.to_ascii_lowercase())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_that_point_out_of_the_archive_are_known_in_every_spelling() {
        for raw in [
            "../a.jpg",
            "ants/../../a.jpg",
            "ants/../a.jpg",
            "..",
            "ants/..",
            "./../a.jpg",
            "/../a.jpg",
            "C:\\..\\a.jpg",
            "C:..\\a.jpg",
            "..\\a.jpg",
            "ants\\..\\..\\a.jpg",
            "ants/.. /a.jpg",
            "ants/.../a.jpg",
            "ants/. ./a.jpg",
            "../\u{1}.jpg",
        ] {
            assert_eq!(parts(raw, 512), Err(PathFault::Escape), "{raw}");
        }
    }

    #[test]
    fn ordinary_paths_become_their_parts() {
        let of = |raw| parts(raw, 512).unwrap().join("|");
        assert_eq!(of("./train//ants/a b.jpg"), "train|ants|a b.jpg");
        assert_eq!(of("train\\ants\\a.jpg"), "train|ants|a.jpg");
        assert_eq!(of("ants/a..b.jpg"), "ants|a..b.jpg");
        assert_eq!(of("%2e%2e/a.jpg"), "%2e%2e|a.jpg");
        assert_eq!(of("ants/…jpg"), "ants|…jpg");
    }

    #[test]
    fn roots_drives_and_servers_are_dropped_and_told() {
        for (raw, expected) in [
            ("/a/1.png", "a|1.png"),
            ("//server/share/a.jpg", "server|share|a.jpg"),
            ("C:\\data\\a\\1.png", "data|a|1.png"),
            ("c:/a/1.png", "a|1.png"),
            ("C:a.jpg", "a.jpg"),
            ("./C:/a.jpg", "a.jpg"),
            (".\\.\\c:a.jpg", "a.jpg"),
            ("\\a\\1.png", "a|1.png"),
            ("\\\\server\\share\\a.jpg", "server|share|a.jpg"),
            ("\\\\?\\C:\\a\\1.png", "a|1.png"),
            ("/C:/D:/a.jpg", "a.jpg"),
        ] {
            assert_eq!(parts(raw, 512).unwrap().join("|"), expected, "{raw}");
            assert!(is_rooted(raw), "{raw}");
        }
        for raw in ["a/1.png", "./a/1.png", "ab:c/1.png", "a/C:/1.png", "?/1.png", ""] {
            assert!(!is_rooted(raw), "{raw}");
        }
    }

    #[test]
    fn what_means_nothing_in_a_path_is_told_unless_every_program_writes_it() {
        for raw in ["a//1.png", "a/./1.png", "././a/1.png", "a/1.png//", "a\\\\1.png"] {
            assert!(is_untidy(raw), "{raw}");
        }
        for raw in ["a/1.png", "./a/1.png", "./", "a/", "a\\b\\"] {
            assert!(!is_untidy(raw), "{raw}");
        }
    }

    #[test]
    fn paths_that_name_no_file_are_unusable() {
        let code = |raw: &str| match parts(raw, 20) {
            Err(PathFault::Unusable { code, .. }) => code,
            other => panic!("{raw:?}: {other:?}"),
        };
        assert_eq!(code("ants/a\0.jpg"), "bad_path");
        assert_eq!(code("ants/\n.jpg"), "bad_path");
        assert_eq!(code("./"), "bad_path");
        assert_eq!(code("ants/a-very-long-name.jpg"), "path_too_long");
    }

    #[test]
    fn what_systems_leave_behind_is_hidden() {
        let hidden = |raw| is_hidden(&parts(raw, 512).unwrap());
        for raw in [
            "__MACOSX/ants/._a.jpg",
            "ants/.DS_Store",
            "ants/Thumbs.db",
            ".git/a.png",
            "ants/desktop.ini",
        ] {
            assert!(hidden(raw), "{raw}");
        }
        assert!(!hidden("ants/a.jpg"));
    }

    #[test]
    fn shown_paths_cannot_play_tricks() {
        assert_eq!(
            shown("a\u{1b}[31m\u{202e}gpj.exe\n", 512),
            "a\u{fffd}[31m\u{fffd}gpj.exe\u{fffd}"
        );
        assert_eq!(shown("abcdef", 3), "abc");
    }

    /// Pieces that paths which mean harm are made of, and harmless ones between them.
    fn piece() -> impl Strategy<Value = String> {
        let known = [
            "..",
            ".",
            "",
            " ",
            "ants",
            "C:",
            "%2e%2e",
            "\u{ff0e}\u{ff0e}",
            "...",
            ".. ",
            "a.jpg",
            "\0",
            "\n",
            "\u{202e}",
            "?",
            "~",
        ];
        prop_oneof![
            proptest::sample::select(known.to_vec()).prop_map(str::to_owned),
            "\\PC{0,12}",
            any::<String>(),
        ]
    }

    fn path() -> impl Strategy<Value = String> {
        proptest::collection::vec(
            (piece(), proptest::sample::select(vec!["/", "\\", "//", ""])),
            0..8,
        )
        .prop_map(|pieces| {
            pieces
                .into_iter()
                .map(|(piece, between)| piece + between)
                .collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        /// Nobody does so; but if somebody did, the file would lie below the folder that he chose, on any system.
        #[test]
        fn what_is_taken_lies_inside_wherever_it_were_unpacked(raw in path()) {
            let Ok(parts) = parts(&raw, 512) else {
                return Ok(());
            };
            prop_assert!(!parts.is_empty() && raw.len() <= 512);
            for part in &parts {
                prop_assert!(!part.is_empty() && part != "." && !climbs(part), "{part:?}");
                prop_assert!(!part.contains(['/', '\\']) && !part.chars().any(char::is_control), "{part:?}");
            }
            let joined = parts.join("/");
            let inside = Path::new(&joined).components().all(|part| matches!(part, Component::Normal(_)));
            prop_assert!(inside, "{joined:?}");
            prop_assert_eq!(super::parts(&joined, 512), Ok(parts));
        }

        #[test]
        fn a_part_that_climbs_is_found_wherever_it_is(
            before in path(), dots in "[.][ ]{0,2}[.][. ]{0,3}", slash in "[/\\\\]", after in path(),
        ) {
            let separated = before.is_empty() || before.ends_with(['/', '\\']);
            let before = if separated { before } else { before + "/" };
            let raw = format!("{before}{dots}{slash}{after}");
            prop_assert_eq!(parts(&raw, 512), Err(PathFault::Escape));
        }

        #[test]
        fn a_root_or_a_drive_changes_nothing_of_what_follows(root in "[/\\\\]|[A-Za-z]:[/\\\\]", rest in path()) {
            let rooted = root + &rest;
            prop_assert!(is_rooted(&rooted));
            if !rest.starts_with(['?', '/', '\\', '.']) && rooted.len() <= 512 {
                prop_assert_eq!(parts(&rooted, 512), parts(&rest, 512));
            }
        }

        #[test]
        fn whatever_is_shown_is_one_short_line(raw in any::<String>(), most in 0_usize..40) {
            let shown = shown(&raw, most);
            prop_assert!(shown.chars().count() <= most);
            prop_assert!(!shown.chars().any(char::is_control) && shown.lines().count() <= 1);
            prop_assert_eq!(super::shown(&shown, most), shown);
        }
    }
}
