//! Pass one: every entry of the archive by name and kind, and what follows from the names alone.
//!
//! The layout can be determined only once all paths are known, and a tar.gz cannot be rewound; so names come first, pixels second
//! (`pipeline`). Files whose name does not say "image" are identified by their first bytes.

use std::{collections::HashMap, path::Path};

use super::arrange::Listing;
use super::entry::{Disposition, ListedEntry, Verdict, parts_of};
use super::{
    arrange::arrange,
    path::{self, PathFault},
    tables::Tables,
};
use crate::{
    limits::IngestLimits,
    worker::{
        ingest::{
            archive::{self, Contents, Entry, Gauge, Kind},
            pulse::Heartbeat,
            rejection::Rejection,
        },
        pixels::{self, Content, DecodeFault},
    },
};

/// Reads the names. Errors: a [`Rejection`], or a failing disk.
pub fn list(archive: &Path, limits: &IngestLimits, heartbeat: &Heartbeat<'_>) -> anyhow::Result<Listing> {
    let mut entries = Vec::new();
    let mut tables = Tables::new(limits);
    let gauge = Gauge::new(limits, heartbeat);
    archive::visit(archive, &gauge, &mut |entry| {
        let listed = ListedEntry {
            path: path::shown(entry.name, limits.max_path_bytes),
            class: None,
            split: None,
            verdict: verdict(entry, limits, &mut |bytes| tables.add(entries.len(), bytes))?,
        };
        entries.push(listed);
        Ok(())
    })?;
    settle_replaced(&mut entries);
    let tables = tables.candidates(&entries);
    arrange(entries, &tables, limits)
}

/// `table` receives the whole content of possible tables.
fn verdict(
    entry: &mut Entry<'_>,
    limits: &IngestLimits,
    table: &mut dyn FnMut(&[u8]),
) -> anyhow::Result<Verdict> {
    let skipped = |code, message: &'static str| Ok(Verdict::Disposition(Disposition::skipped(code, message)));
    let parts = match path::parts(entry.name, limits.max_path_bytes) {
        Ok(parts) => parts,
        Err(PathFault::Escape) => {
            return Err(Rejection::path_escape(&path::shown(entry.name, limits.max_path_bytes)).into());
        }
        Err(PathFault::Unusable { .. }) if entry.kind == Kind::Folder => return Ok(Verdict::Folder),
        Err(PathFault::Unusable { code, message }) => return skipped(code, message),
    };
    match entry.kind {
        Kind::Folder => return Ok(Verdict::Folder),
        _ if path::is_hidden(&parts) => {
            let message = "a hidden file, or one that an operating system left behind";
            return Ok(Verdict::Disposition(Disposition::ignored("hidden", message)));
        }
        Kind::NotAFile => return skipped("not_a_file", "a link or a special file; pack the file itself"),
        Kind::Encrypted => return skipped("encrypted", "encrypted; pack it without a password"),
        Kind::UnsupportedCompression => {
            return skipped(
                "unsupported_compression",
                "packed with an unsupported method; pack it with deflate",
            );
        }
        Kind::Damaged => return skipped("damaged", DAMAGED),
        Kind::File => {}
    }
    let extension = parts.last().map(|name| path::extension(name)).unwrap_or_default();
    if pixels::EXTENSIONS.contains(&extension.as_str()) {
        return Ok(Verdict::Candidate);
    }
    let may_be_table = Tables::EXTENSIONS.contains(&extension.as_str());
    let bytes = match may_be_table {
        false => entry.head()?,
        true => match entry.contents()? {
            Contents::Whole(bytes) => bytes,
            Contents::TooLarge => {
                return skipped("too_large", "the table is too large to be read; split it");
            }
            Contents::Damaged => return skipped("damaged", DAMAGED),
        },
    };
    match pixels::content(&bytes) {
        Content::Image(_) | Content::OtherImage(_) => return Ok(Verdict::Candidate),
        // No image, and it says nothing about the layout; but whoever put it there may have meant it to count.
        Content::Other(name) => {
            let fault = DecodeFault::UnsupportedFormat(name);
            return Ok(Verdict::Disposition(Disposition::undecoded(&fault)));
        }
        Content::NotAnImage => {}
    }
    if may_be_table {
        table(&bytes);
    }
    Ok(Verdict::Disposition(Disposition::ignored(
        "not_an_image",
        "not an image",
    )))
}

pub const DAMAGED: &str = "damaged inside the archive; pack it again";

/// Of several entries with the same path the last one counts, as when an archive is extracted.
fn settle_replaced(entries: &mut [ListedEntry]) {
    let mut last: HashMap<String, usize> = HashMap::new();
    for index in 0..entries.len() {
        if entries[index].verdict != Verdict::Candidate {
            continue;
        }
        if let Some(earlier) = last.insert(parts_of(&entries[index].path).join("/"), index) {
            let message = "the archive contains a later file with the same path, which is used instead";
            entries[earlier].verdict = Verdict::Disposition(Disposition::ignored("replaced", message));
        }
    }
}
