//! Names that point elsewhere, and names that only look as if they did.

use super::{build::*, *};

const ESCAPES: &[&str] = &[
    "../a.jpg",
    "..",
    "ants/../../a.jpg",
    "ants/../a.jpg",
    "./../a.jpg",
    "/../a.jpg",
    "C:\\..\\a.jpg",
    "c:../a.jpg",
    "\\\\?\\C:\\..\\a.jpg",
    "..\\a.jpg",
    "ants\\..\\..\\a.jpg",
    "ants/.. /a.jpg",
    "ants/...\\a.jpg",
];

/// Paths that begin at a root, a drive or a server. Nothing is ever written there: what follows is a path like any other.
const ROOTED: &[&str] = &[
    "/ants/a.jpg",
    "//ants/a.jpg",
    "C:\\ants\\a.jpg",
    "c:/ants/a.jpg",
    "c:ants/a.jpg",
    "./c:/ants/a.jpg",
    "\\ants\\a.jpg",
    "\\\\?\\C:\\ants\\a.jpg",
    "\\\\.\\ants\\a.jpg",
];

/// Ordinary names, whatever they remind of: nothing decodes or expands them.
const PLAIN: &[&str] = &[
    "%2e%2e/a.jpg",
    "ants/x%2f..%2f..%2fa.jpg",
    "ants/x%5c..%5ca.jpg",
    "\u{ff0e}\u{ff0e}/a.jpg",
    "\u{2025}/a.jpg",
    "ants/\u{2215}etc\u{2215}a.jpg",
    "ants/~root.jpg",
    "ants/$HOME.jpg",
    "ants/`reboot`;|.jpg",
    "ants/CON.jpg",
    "ants/<img src=x onerror=alert(1)>.jpg",
    "ants/'; drop table datasets; --.jpg",
];

pub fn crafted() -> Vec<Crafted> {
    let mut all = Vec::new();
    for name in ESCAPES {
        let mut files = good();
        files.push(File::new(name, jpeg(9)));
        all.push(rejected(format!("zip, {name}"), zip(&files), "path_escape"));
    }
    for name in ["../a.jpg", "/../a.jpg", "ants\\..\\..\\a.jpg"] {
        let mut files = good();
        files.push(File::new(name, jpeg(9)));
        all.push(rejected(format!("tar, {name}"), tar(&files), "path_escape"));
        all.push(rejected(
            format!("tar.gz, {name}"),
            gzip(&tar(&files)),
            "path_escape",
        ));
    }
    // A folder that escapes tells as much.
    let folder = File::new("../up/", "").mode(0o040_755);
    all.push(rejected("a folder outside", zip_with([folder]), "path_escape"));
    for name in ROOTED {
        let rooted = File::new(name, jpeg(9));
        all.push(Crafted {
            what: format!("rooted, {name}"),
            archive: zip_with([rooted]),
            expected: Expected::Inert(5, vec![("ants/a.jpg".to_owned(), "")]),
        });
    }
    for name in PLAIN {
        all.push(used(
            format!("plain, {name}"),
            zip_with([File::new(name, jpeg(9))]),
        ));
    }
    for (name, shown, code) in [
        (&b"ants/a\0.jpg"[..], "ants/a\u{fffd}.jpg", "bad_path"),
        (b"ants/a\n.jpg", "ants/a\u{fffd}.jpg", "bad_path"),
        (b"ants/a\r.jpg", "ants/a\u{fffd}.jpg", "bad_path"),
        (
            b"ants/\x1b[2J\x1b]0;owned\x07.jpg",
            "ants/\u{fffd}[2J\u{fffd}]0;owned\u{fffd}.jpg",
            "bad_path",
        ),
        ("ants/\u{9b}2J.jpg".as_bytes(), "ants/\u{fffd}2J.jpg", "bad_path"),
        (b"", "", "bad_path"),
        (b".", ".", "bad_path"),
    ] {
        let what = format!("a name of {}", name.escape_ascii());
        all.push(left_out(what, zip_with([File::new(name, jpeg(9))]), shown, code));
    }
    // One character for another, in a name and in the name of a class.
    let turned = File::new("ants/\u{202e}gpj.exe.jpg", jpeg(9));
    all.push(Crafted {
        what: "a name that is written backwards".to_owned(),
        archive: zip_with([turned]),
        expected: Expected::Inert(5, vec![("ants/\u{fffd}gpj.exe.jpg".to_owned(), "")]),
    });
    let long = format!("ants/{}.jpg", "x".repeat(30_000));
    let archive = zip_with([File::new(&long, jpeg(9))]);
    all.push(left_out(
        "a name of 30,000 characters",
        archive,
        &long[..512],
        "path_too_long",
    ));
    let deep = format!("{}a.jpg", "d/".repeat(10_000));
    let archive = zip_with([File::new(&deep, jpeg(9))]);
    all.push(left_out(
        "10,000 folders in each other",
        archive,
        &deep[..512],
        "path_too_long",
    ));
    all
}
