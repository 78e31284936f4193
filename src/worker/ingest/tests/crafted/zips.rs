//! Zip files that lie about what is in them, and entries that are no files.

use super::{build::*, *};

pub fn crafted() -> Vec<Crafted> {
    [special_files(), headers(), tables()]
        .into_iter()
        .flatten()
        .collect()
}

fn special_files() -> Vec<Crafted> {
    let mut all = Vec::new();
    for (what, mode) in [
        ("symlink", 0o120_777),
        ("device of characters", 0o020_666),
        ("device of blocks", 0o060_666),
        ("pipe", 0o010_644),
        ("socket", 0o140_755),
    ] {
        let file = File::new("ants/special.jpg", "/etc/passwd").mode(mode);
        all.push(left_out(
            format!("zip, {what}"),
            zip_with([file]),
            "ants/special.jpg",
            "not_a_file",
        ));
    }
    // Through the link it would lie outside.
    let chain = [
        File::new("ants/up", "../..").mode(0o120_777),
        File::new("ants/up/evil.jpg", jpeg(9)),
    ];
    all.push(Crafted {
        what: "zip, a file through a link".to_owned(),
        archive: zip_with(chain),
        expected: Expected::Inert(5, vec![("ants/up".to_owned(), "not_a_file")]),
    });
    let setuid = File::new("ants/setuid.jpg", jpeg(9)).mode(0o104_755);
    all.push(used("zip, setuid", zip_with([setuid])));
    all
}

fn headers() -> Vec<Crafted> {
    [false_contents(), false_places(), unknown_compressions()]
        .into_iter()
        .flatten()
        .collect()
}

fn file(name: &str) -> File {
    File::new(format!("ants/{name}.jpg"), jpeg(9))
}

/// This file is left out, with this code.
fn bad(file: File, code: &'static str) -> Crafted {
    let path = String::from_utf8_lossy(&file.name).into_owned();
    left_out(format!("zip, {path}"), zip_with([file]), &path, code)
}

/// Headers that do not say what is in the file.
fn false_contents() -> Vec<Crafted> {
    vec![
        bad(
            File {
                encrypted: true,
                ..file("encrypted")
            },
            "encrypted",
        ),
        bad(
            File {
                checksum: Some(0),
                ..file("bad-checksum")
            },
            "damaged",
        ),
        bad(
            File {
                declared_bytes: Some(1),
                ..file("says-short")
            },
            "damaged",
        ),
        bad(
            File {
                declared_bytes: Some(u32::MAX - 1),
                ..file("says-long")
            },
            "damaged",
        ),
        bad(
            File {
                declared_packed: Some(3),
                ..file("packed-says-short")
            },
            "damaged",
        ),
    ]
}

/// Headers that the table of contents does not agree with, or that are not where it says.
fn false_places() -> Vec<Crafted> {
    let named = |local_name: &[u8], name: &str| File {
        local_name: Some(local_name.to_vec()),
        ..file(name)
    };
    let at = |at: u32, name: &str| File {
        at: Some(at),
        ..file(name)
    };
    vec![
        bad(named(b"ants/another.jpg", "two-names"), "damaged"),
        bad(named(b"../../up.jpg", "another-escapes"), "damaged"),
        bad(at(7, "no-header-there"), "damaged"),
        bad(at(u32::MAX - 1, "behind-the-end"), "damaged"),
    ]
}

fn unknown_compressions() -> Vec<Crafted> {
    let named = |(method, name): (u16, &str), code| {
        let file = File { method, ..file(name) };
        bad(file, code)
    };
    // What is there is none of these.
    let garbage = [
        (12, "bzip2"),
        (14, "lzma"),
        (93, "zstd"),
        (20, "earlier-zstd"),
        (95, "xz"),
        (9, "deflate64"),
    ];
    let unknown = [(1, "shrunk"), (6, "imploded"), (98, "ppmd"), (777, "unknown")];
    let mut all: Vec<Crafted> = garbage.into_iter().map(|it| named(it, "damaged")).collect();
    all.extend(unknown.into_iter().map(|it| named(it, "unsupported_compression")));
    // LZMA with a window of 4 GiB.
    let wide = File {
        method: 14,
        packed: Some(b"\x10\0\x05\0\x5d\xff\xff\xff\xff\0\0\0\0\0\0".to_vec()),
        ..file("wide-window")
    };
    all.push(bad(wide, "unsupported_compression"));
    let wrong = |method, packed, name| File {
        method,
        packed: Some(packed),
        checksum: Some(7),
        ..file(name)
    };
    all.push(bad(wrong(93, zstd(&jpeg(9)), "zstd-wrong-checksum"), "damaged"));
    all.push(bad(wrong(95, xz(&jpeg(9)), "xz-wrong-checksum"), "damaged"));
    let bomb = File {
        method: 95,
        packed: Some(xz(&black_bmp(1000))),
        ..File::new("ants/bomb.bmp", black_bmp(1000))
    };
    all.push(rejected(
        "zip, a thousand to one in xz",
        zip_with([bomb]),
        "expansion_ratio",
    ));
    all
}

fn tables() -> Vec<Crafted> {
    let whole = build::zip(&good());
    let end = whole.len() - 22;
    let mut promises = whole.clone();
    promises[end + 8..end + 12].copy_from_slice(&[0xf0, 0xff, 0xf0, 0xff]);
    let mut parts = whole.clone();
    parts[end + 4] = 1;
    let mut flipped = zip_with([File::new("ants/flipped.jpg", jpeg(9))]);
    // Before the table lie the last file's packed bytes.
    let table = flipped
        .windows(4)
        .position(|bytes| bytes == b"PK\x01\x02")
        .unwrap();
    flipped[table - 60] ^= 0x10;
    // A leftover of another archive in front, with a table of its own: the last table counts, as everywhere.
    let other = build::zip(&[File::new("../hidden.jpg", jpeg(9))]);
    vec![
        rejected(
            "zip, cut at the end",
            whole[..whole.len() - 30].to_vec(),
            "archive_unreadable",
        ),
        rejected(
            "zip, first half",
            whole[..whole.len() / 2].to_vec(),
            "archive_unreadable",
        ),
        rejected(
            "zip, more entries promised than there are",
            promises,
            "archive_unreadable",
        ),
        rejected("zip, in several parts", parts, "archive_unreadable"),
        left_out("zip, a bit flipped", flipped, "ants/flipped.jpg", "damaged"),
        Crafted {
            what: "zip, behind another".to_owned(),
            archive: [other, whole].concat(),
            expected: Expected::Inert(4, Vec::new()),
        },
    ]
}
