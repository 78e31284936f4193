//! What pass one reads of an entry while it goes by: its name as the archive has it, and its first bytes if its name does not say "image".
//!
//! Names can be decoded only when all of them are known (`decoded`), and a compressed archive cannot be rewound.

use std::borrow::Cow;

use super::{
    entry::{Disposition, Verdict},
    path,
    tables::Tables,
};
use crate::{
    domain::datasets::archive::{self, ArchiveKind},
    limits::IngestLimits,
    worker::{
        ingest::archive::{Contents, Entry, Kind},
        pixels::{self, Content, DecodeFault},
    },
};

/// Longest path that a symbolic link may lead along, in bytes.
const MAX_TARGET: usize = 4096;

/// An entry that went by.
pub struct Seen {
    /// Cut if it is far too long.
    pub raw_name: Vec<u8>,
    /// Whether the archive says that it is UTF-8.
    pub is_utf_8: bool,
    pub kind: Kind,
    /// Where a link leads to, in the encoding of the name.
    pub target: Option<Vec<u8>>,
    /// What follows from the contents of a file, if the name allows it.
    pub verdict: Verdict,
}

impl Seen {
    /// `table` receives the whole content of possible tables.
    pub fn of(
        entry: &mut Entry<'_>,
        limits: &IngestLimits,
        table: &mut dyn FnMut(&str, &[u8]),
    ) -> anyhow::Result<Self> {
        let target = match (entry.kind, entry.target) {
            (Kind::HardLink | Kind::SymbolicLink, Some(target)) => Some(target.to_vec()),
            (Kind::SymbolicLink, None) => match entry.contents()? {
                Contents::Whole(target) if target.len() <= MAX_TARGET => Some(target),
                _ => None,
            },
            _ => None,
        };
        let verdict = match entry.kind {
            Kind::Folder => Verdict::Folder,
            Kind::File => file(entry, limits, table)?,
            kind => Verdict::settled(no_file(kind)),
        };
        // A character has at most four bytes, and of a name that is cut nothing but its beginning is shown.
        let most = limits.max_path_bytes.saturating_mul(4).saturating_add(1);
        let raw_name = entry.raw_name;
        Ok(Self {
            raw_name: raw_name[..raw_name.len().min(most)].to_vec(),
            is_utf_8: entry.is_utf_8 || raw_name.is_ascii(),
            kind: entry.kind,
            target,
            verdict,
        })
    }
}

/// Why something that is no file is left out, unless it is a link that leads to one.
fn no_file(kind: Kind) -> Disposition {
    match kind {
        Kind::Encrypted => Disposition::skipped("encrypted", "encrypted; pack it without a password"),
        Kind::UnsupportedCompression => Disposition::skipped(
            "unsupported_compression",
            "packed with an unsupported method, or one that needs too much memory; pack it with deflate",
        ),
        Kind::Damaged => Disposition::skipped("damaged", DAMAGED),
        _ => Disposition::skipped("not_a_file", "a link or a special file; pack the file itself"),
    }
}

fn file(
    entry: &mut Entry<'_>,
    limits: &IngestLimits,
    table: &mut dyn FnMut(&str, &[u8]),
) -> anyhow::Result<Verdict> {
    let skipped = |code, message: &'static str| Ok(Verdict::settled(Disposition::skipped(code, message)));
    let name = likely_name(entry);
    let parts = path::parts(&name, limits.max_path_bytes).unwrap_or_default();
    // Of files with such names nothing is used, so nothing need be read. `decoded` has the last word about them.
    if parts.is_empty() || path::is_hidden(&parts) {
        return Ok(Verdict::settled(not_an_image()));
    }
    let extension = parts.last().map(|name| path::extension(name)).unwrap_or_default();
    if pixels::EXTENSIONS.contains(&extension.as_str()) {
        return Ok(Verdict::Candidate);
    }
    let mut may_be_table = Tables::EXTENSIONS.contains(&extension.as_str());
    let mut bytes = entry.head()?;
    // Whatever else is in a file of this name: no text has so many zeros.
    may_be_table &= bytes.iter().filter(|byte| **byte == 0).count() * 4 <= bytes.len() * 3;
    if may_be_table {
        match entry.contents()? {
            Contents::Whole(rest) => bytes.extend(rest),
            Contents::TooLarge => {
                return skipped("too_large", "the table is too large to be read; split it");
            }
            Contents::Damaged => return skipped("damaged", DAMAGED),
        }
    }
    match pixels::content(&bytes) {
        Content::Image(_) | Content::OtherImage(_) => return Ok(Verdict::Candidate),
        // No image, and it says nothing about the layout; but whoever put it there may have meant it to count.
        Content::Other(name) => {
            let fault = DecodeFault::UnsupportedFormat(name);
            return Ok(Verdict::settled(Disposition::undecoded(&fault)));
        }
        Content::NotAnImage => {}
    }
    if may_be_table {
        table(&name, &bytes);
    }
    if is_archive(&extension, &bytes) {
        let message = "an archive inside the archive, which is not opened; unpack it and pack the folders that are in it";
        return skipped("archive_in_archive", message);
    }
    Ok(Verdict::settled(not_an_image()))
}

/// The name for as long as its encoding is not known. What it ends with is the same in all of them; a backslash may be half of a character.
fn likely_name<'a>(entry: &Entry<'a>) -> Cow<'a, str> {
    match str::from_utf8(entry.raw_name) {
        Ok(name) => Cow::Borrowed(name),
        Err(_) => String::from_utf8_lossy(entry.raw_name).replace('\\', "_").into(),
    }
}

/// Many documents are zip archives as well, so the name counts.
fn is_archive(extension: &str, head: &[u8]) -> bool {
    const EXTENSIONS: &[&str] = &[
        "zip", "tar", "tgz", "gz", "tbz", "tbz2", "bz2", "txz", "xz", "zst", "7z", "rar",
    ];
    let foreign = || archive::foreign(head).contains("archive;");
    EXTENSIONS.contains(&extension)
        && head.iter().any(|byte| *byte != 0)
        && (ArchiveKind::of(head).is_some() || foreign())
}

fn not_an_image() -> Disposition {
    Disposition::ignored("not_an_image", "not an image")
}

pub const DAMAGED: &str = "damaged inside the archive; pack it again";
