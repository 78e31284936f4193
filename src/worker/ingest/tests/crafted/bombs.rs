//! Small archives that would become large ones, or many.

use std::io::{Cursor, Write};

use ::zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use super::{build::*, *};

pub fn crafted() -> Vec<Crafted> {
    let bomb = File::new("ants/bomb.bmp", black_bmp(1000));
    let lying = File {
        declared_bytes: Some(100),
        ..bomb.clone()
    };
    // No image, so its beginning is all that anybody wants of it.
    let text = File::new("ants/zeros.txt", vec![0; 3 << 20]);
    let mut with_text = good();
    with_text.push(text.clone());
    vec![
        rejected("zip, a thousand to one", zip_with([bomb]), "expansion_ratio"),
        left_out(
            "zip, a thousand to one, and says 100 bytes",
            zip_with([lying]),
            "ants/bomb.bmp",
            "damaged",
        ),
        left_out(
            "zip, zeros that are no image",
            zip_with([text]),
            "ants/zeros.txt",
            "not_an_image",
        ),
        rejected(
            "tar.gz, a thousand to one",
            gzip(&tar(&with_text)),
            "expansion_ratio",
        ),
        rejected(
            "tar.bz2, a thousand to one",
            bzip2(&tar(&with_text)),
            "expansion_ratio",
        ),
        rejected(
            "tar.xz, a thousand to one",
            xz(&tar(&with_text)),
            "expansion_ratio",
        ),
        rejected(
            "tar.zst, a thousand to one",
            zstd(&tar(&with_text)),
            "expansion_ratio",
        ),
        rejected(
            "tar.zst, a hundred thousand frames to be skipped",
            b"\x50\x2a\x4d\x18\0\0\0\0".repeat(100_000),
            "archive_unreadable",
        ),
        rejected(
            "tar.gz, a hundred thousand empty members",
            empty_members(),
            "archive_unreadable",
        ),
        left_out(
            "an archive in the archive",
            nested("ants/inner.zip"),
            "ants/inner.zip",
            "archive_in_archive",
        ),
        left_out(
            "an archive that is called an image",
            nested("ants/inner.jpg"),
            "ants/inner.jpg",
            "not_an_image",
        ),
        rejected(
            "zip, one body of fifty entries",
            one_body(),
            "overlapping_entries",
        ),
        rejected(
            "zip, bodies in each other",
            in_each_other(),
            "overlapping_entries",
        ),
        rejected(
            "zip, a body over the table",
            over_the_table(),
            "overlapping_entries",
        ),
        rejected("zip, 200,001 entries", many_entries(), "too_many_entries"),
    ]
}

/// What begins with a member of nothing holds no tar, however much nothing it is.
fn empty_members() -> Vec<u8> {
    gzip(&[]).repeat(100_000)
}

fn nested(name: &str) -> Vec<u8> {
    let innermost = build::zip(&[File::new("a.bmp", black_bmp(1000))]);
    zip_with([File::new(name, build::zip(&[File::new("inner.zip", innermost)]))])
}

fn one_body() -> Vec<u8> {
    let again = File {
        at: Some(0),
        ..good().remove(0)
    };
    zip_with(vec![again; 50])
}

/// Stored, so that the first one's bytes are the second's header and body (Fifield's "quoting", without the quotes).
fn in_each_other() -> Vec<u8> {
    let inner = File::new("ants/inner.jpg", jpeg(9)).stored();
    let local = build::zip(std::slice::from_ref(&inner));
    let outer = File::new("ants/outer.jpg", local).stored();
    let begins: usize = 30 + outer.name.len();
    let mut files = vec![
        outer,
        File {
            at: Some(begins as u32),
            ..inner
        },
    ];
    files.extend(good());
    build::zip(&files)
}

fn over_the_table() -> Vec<u8> {
    let file = File::new("ants/long.jpg", jpeg(9)).stored();
    let longer = file.data.len() as u32 + 60;
    zip_with([File {
        declared_packed: Some(longer),
        declared_bytes: Some(longer),
        ..file
    }])
}

fn many_entries() -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for number in 0..200_001 {
        archive.start_file(format!("{number}"), stored).unwrap();
    }
    archive.write_all(b"").unwrap();
    archive.finish().unwrap().into_inner()
}
