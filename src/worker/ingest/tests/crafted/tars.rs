//! Tar archives that describe one file in two ways, and entries that are no files.

use tar::EntryType;

use super::{build::*, *};

pub fn crafted() -> Vec<Crafted> {
    [special_files(), described_twice(), damaged()]
        .into_iter()
        .flatten()
        .collect()
}

/// A tar of the good ones and these.
fn tar_with(more: impl IntoIterator<Item = (EntryType, File)>) -> Vec<u8> {
    let mut files: Vec<_> = good()
        .into_iter()
        .map(|file| (EntryType::Regular, file))
        .collect();
    files.extend(more);
    tar_of(&files)
}

/// A header of POSIX for the entry after it.
fn pax(records: &[(&str, &str)]) -> (EntryType, File) {
    let mut text = String::new();
    for (key, value) in records {
        let rest = format!(" {key}={value}\n");
        let length = (rest.len()..).find(|length| *length == rest.len() + length.to_string().len());
        text += &format!("{}{rest}", length.unwrap());
    }
    (EntryType::XHeader, File::new("PaxHeaders/x", text))
}

fn regular(name: &str, data: impl Into<Vec<u8>>) -> (EntryType, File) {
    (EntryType::Regular, File::new(name, data))
}

fn special_files() -> Vec<Crafted> {
    let mut all = Vec::new();
    for (what, kind) in [
        ("symlink", EntryType::Symlink),
        ("hardlink", EntryType::Link),
        ("device of characters", EntryType::Char),
        ("device of blocks", EntryType::Block),
        ("pipe", EntryType::Fifo),
        ("an unknown kind", EntryType::new(b'Q')),
    ] {
        let archive = tar_with([(kind, File::new("ants/special.jpg", ""))]);
        all.push(left_out(
            format!("tar, {what}"),
            archive,
            "ants/special.jpg",
            "not_a_file",
        ));
    }
    let sparse = tar_with([(EntryType::GNUSparse, File::new("ants/sparse.jpg", jpeg(9)))]);
    all.push(left_out("tar, sparse", sparse, "ants/sparse.jpg", "not_a_file"));
    let holes = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.name", "ants/holes.jpg"),
        ("GNU.sparse.realsize", "9999999999999"),
    ];
    let archive = tar_with([pax(&holes), regular("GNUSparseFile.0/holes.jpg", jpeg(9))]);
    all.push(left_out(
        "tar, sparse as POSIX describes it",
        archive,
        "ants/holes.jpg",
        "not_a_file",
    ));
    let chain = [
        (EntryType::Symlink, File::new("ants/up", "")),
        regular("ants/up/evil.jpg", jpeg(9)),
    ];
    // Links that lead out of the archive, to nothing, to themselves, in a circle, to a folder.
    for (kind, target) in [
        (EntryType::Symlink, "/etc/passwd"),
        (EntryType::Symlink, "../../../../etc/passwd"),
        (EntryType::Symlink, "../up"),
        (EntryType::Symlink, "special.jpg"),
        (EntryType::Symlink, "../ants"),
        (EntryType::Link, "/etc/passwd"),
        (EntryType::Link, "../a.jpg"),
        (EntryType::Link, "ants/special.jpg"),
        (EntryType::Link, "ants"),
    ] {
        let link = File {
            target: target.into(),
            ..File::new("ants/special.jpg", "")
        };
        let back = File {
            target: b"ants/special.jpg".to_vec(),
            ..File::new("up", "")
        };
        all.push(left_out(
            format!("tar, {kind:?} to {target}"),
            tar_with([(kind, link), (EntryType::Symlink, back)]),
            "ants/special.jpg",
            "not_a_file",
        ));
    }
    all.push(Crafted {
        what: "tar, a file through a link".to_owned(),
        archive: tar_with(chain),
        expected: Expected::Inert(5, vec![("ants/up".to_owned(), "not_a_file")]),
    });
    all
}

fn described_twice() -> Vec<Crafted> {
    let hidden = tar_of(&[regular("../hidden.jpg", jpeg(8))]);
    let long_name = |name: &str| {
        (
            EntryType::GNULongName,
            File::new("././@LongLink", format!("{name}\0")),
        )
    };
    let refused = |what: &str, entries: Vec<(EntryType, File)>| {
        rejected(format!("tar, {what}"), tar_with(entries), "archive_unreadable")
    };
    let global = File::new("g", pax(&[("path", "../../etc/passwd")]).1.data);
    vec![
        refused(
            "a size of 0 and another",
            vec![pax(&[("size", "0")]), regular("ants/a.jpg", hidden.clone())],
        ),
        refused(
            "a size beyond the archive",
            vec![
                pax(&[("size", "9223372036854775807")]),
                regular("ants/a.jpg", jpeg(9)),
            ],
        ),
        refused(
            "a size that is none",
            vec![pax(&[("size", "-1")]), regular("ants/a.jpg", jpeg(9))],
        ),
        refused(
            "two names",
            vec![
                pax(&[("path", "ants/a.jpg")]),
                long_name("ants/b.jpg"),
                regular("c", jpeg(9)),
            ],
        ),
        refused(
            "a link with two targets",
            vec![
                pax(&[("linkpath", "ants/1.jpg")]),
                (EntryType::GNULongLink, File::new("././@LongLink", "bees/3.jpg\0")),
                (EntryType::Link, File::new("ants/a.jpg", "")),
            ],
        ),
        refused("one name for all", vec![(EntryType::XGlobalHeader, global)]),
        refused(
            "a link with a body",
            vec![(EntryType::Link, File::new("ants/a.jpg", hidden.clone()))],
        ),
        refused(
            "a folder with a body",
            vec![(EntryType::Directory, File::new("ants/", hidden))],
        ),
        refused("a description of nothing", vec![long_name("ants/a.jpg")]),
        refused(
            "an endless name",
            vec![long_name(&"a".repeat(2 << 20)), regular("a", jpeg(9))],
        ),
        rejected(
            "tar, an escape in a long name",
            tar_with([long_name("../../a.jpg"), regular("ants/a.jpg", jpeg(9))]),
            "path_escape",
        ),
        rejected(
            "tar, an escape in a record",
            tar_with([pax(&[("path", "/../a.jpg")]), regular("ants/a.jpg", jpeg(9))]),
            "path_escape",
        ),
        left_out(
            "tar, a line end in a record",
            tar_with([
                pax(&[("path", "ants/a\n20 path=../evil.jpg")]),
                regular("ants/a.jpg", jpeg(9)),
            ]),
            "ants/a\u{fffd}20 path=../evil.jpg",
            "bad_path",
        ),
    ]
}

fn damaged() -> Vec<Crafted> {
    let whole = tar_with([]);
    let packed = gzip(&whole);
    let mut sum = whole.clone();
    // Somewhere in the second header, behind the first and the image after it.
    let second = 512 + good()[0].data.len().next_multiple_of(512);
    sum[second + 1] ^= 1;
    // 2^63 and more in base 256, and less than nothing.
    let sized = |size: [u8; 12]| {
        let mut archive = whole.clone();
        archive[second + 124..second + 136].copy_from_slice(&size);
        archive[second + 148..second + 156].fill(b' ');
        let sum: u32 = archive[second..second + 512]
            .iter()
            .map(|&byte| u32::from(byte))
            .sum();
        archive[second + 148..second + 155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        archive
    };
    let unreadable = |what: &str, archive| rejected(what, archive, "archive_unreadable");
    vec![
        unreadable("tar, cut", whole[..1500].to_vec()),
        unreadable("tar, a wrong sum", sum),
        unreadable(
            "tar, a size of 2^63",
            sized([0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        ),
        unreadable("tar, a size below nothing", sized([0xff; 12])),
        unreadable("tar, a size that is no number", sized(*b"zzzzzzzzzzz\0")),
        unreadable("tar.gz, cut", packed[..packed.len() - 10].to_vec()),
        unreadable("tar.gz, damaged", middle_flipped(&packed)),
        unreadable(
            "tar.gz, garbage behind it",
            [packed.as_slice(), b"garbage"].concat(),
        ),
        unreadable("gzip without a tar", gzip(&[b'x'; 2000])),
        unreadable("gzip in gzip", gzip(&packed)),
        unreadable("xz without a tar", xz(&[b'x'; 2000])),
        unreadable("tar.xz, cut", cut(&xz(&whole))),
        unreadable("tar.xz, damaged", middle_flipped(&xz(&whole))),
        unreadable("tar.bz2, cut", cut(&bzip2(&whole))),
        unreadable("tar.bz2, damaged", middle_flipped(&bzip2(&whole))),
        unreadable("tar.zst, cut", cut(&zstd(&whole))),
        // A window of 2 TiB, and of 4 GiB.
        unreadable(
            "tar.zst, a window of 2 TiB",
            b"\x28\xb5\x2f\xfd\x00\xf8\x01\0\0".repeat(100),
        ),
        unreadable("tar.xz, a window of 4 GiB", wide_window(&whole)),
    ]
}

fn cut(archive: &[u8]) -> Vec<u8> {
    archive[..archive.len() - 10].to_vec()
}

fn middle_flipped(archive: &[u8]) -> Vec<u8> {
    let mut flipped = archive.to_vec();
    flipped[archive.len() / 2] ^= 0xff;
    flipped
}

/// The size of the window is a byte of the first block's header, which has a checksum.
fn wide_window(archive: &[u8]) -> Vec<u8> {
    let mut wide = xz(archive);
    let header = 12..12 + (usize::from(wide[12]) + 1) * 4;
    let size = header.clone().find(|at| wide[*at..*at + 2] == [0x21, 1]).unwrap() + 2;
    wide[size] = 40;
    let mut checksum = flate2::Crc::new();
    checksum.update(&wide[header.start..header.end - 4]);
    wide[header.end - 4..header.end].copy_from_slice(&checksum.sum().to_le_bytes());
    wide
}
