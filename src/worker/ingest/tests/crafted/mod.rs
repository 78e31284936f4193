//! Archives that mean harm or were made by accident, each with what must become of it. The tests of the server upload the very same ones.
//!
//! Every archive but those that are none holds the four good images of [`good`] as well: what can be saved of it is known.

mod bombs;
mod images;
mod names;
mod tars;
mod zips;

use super::build::{self, File};

pub struct Crafted {
    pub what: String,
    pub archive: Vec<u8>,
    pub expected: Expected,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Expected {
    /// No kind of archive that is taken, by its first bytes.
    NotTaken,
    /// The dataset fails, with this code.
    Rejected(&'static str),
    /// So many images are used, and these paths, as they may be shown, are in the report with these codes.
    Inert(u64, Vec<(String, &'static str)>),
}

/// All of them.
pub fn crafted() -> Vec<Crafted> {
    [
        not_taken(),
        names::crafted(),
        zips::crafted(),
        tars::crafted(),
        bombs::crafted(),
        images::crafted(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn not_taken() -> Vec<Crafted> {
    let begins: [(&str, &[u8]); 11] = [
        ("nothing", b""),
        ("a text", b"hello"),
        ("a page", b"<!doctype html><script>alert(1)</script>"),
        ("RAR", b"Rar!\x1a\x07\x01\0"),
        ("lzip", b"LZIP\x01\x0c"),
        ("lz4", b"\x04\x22\x4d\x18\x64"),
        ("an image", b"\xff\xd8\xff\xe0\0\x10JFIF"),
        ("7z", b"7z\xbc\xaf\x27\x1c\0\x04"),
        ("compress", b"\x1f\x9d\x90"),
        ("part of a zip in several parts", b"PK\x07\x08PK\x03\x04"),
        ("a program", b"\x7fELF\x02\x01\x01"),
    ];
    let whole = begins.map(|(what, head)| {
        let mut archive = head.to_vec();
        if !head.is_empty() {
            archive.resize(2000, b'x');
        }
        Crafted {
            what: what.to_owned(),
            archive,
            expected: Expected::NotTaken,
        }
    });
    whole.into()
}

/// Two images of each of two classes, all different.
fn good() -> Vec<File> {
    vec![
        File::new("ants/1.jpg", build::jpeg(1)),
        File::new("ants/2.png", build::png(2)),
        File::new("bees/3.jpg", build::jpeg(3)),
        File::new("bees/4.png", build::png(4)),
    ]
}

fn rejected(what: impl Into<String>, archive: Vec<u8>, code: &'static str) -> Crafted {
    Crafted {
        what: what.into(),
        archive,
        expected: Expected::Rejected(code),
    }
}

/// The good ones are used and one path is not.
fn left_out(what: impl Into<String>, archive: Vec<u8>, path: &str, code: &'static str) -> Crafted {
    Crafted {
        what: what.into(),
        archive,
        expected: Expected::Inert(4, vec![(path.to_owned(), code)]),
    }
}

/// One more than the good ones is used.
fn used(what: impl Into<String>, archive: Vec<u8>) -> Crafted {
    Crafted {
        what: what.into(),
        archive,
        expected: Expected::Inert(5, Vec::new()),
    }
}

/// A zip of the good ones and these.
fn zip_with(more: impl IntoIterator<Item = File>) -> Vec<u8> {
    let mut files = good();
    files.extend(more);
    build::zip(&files)
}
