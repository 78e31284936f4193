//! Pass one: every entry of the archive by name and kind, and what follows from the names alone.
//!
//! The layout can be determined only once all paths are known, and a compressed archive cannot be rewound; so names come first, pixels
//! second (`pipeline`). Files whose name does not say "image" are identified by their first bytes (`seen`).

use std::collections::HashMap;

use super::{
    arrange::{Listing, arrange},
    decoded::{Encoding, Normalised},
    entry::{Disposition, ListedEntry, Verdict, parts_of},
    links,
    path::{self, PathFault},
    seen::Seen,
    tables::Tables,
};
use crate::{
    limits::IngestLimits,
    protocol::IngestRun,
    worker::ingest::{
        archive::{self, Gauge, Kind},
        pulse::Heartbeat,
        rejection::Rejection,
    },
};

pub use super::seen::DAMAGED;

/// Reads the names. Errors: a [`Rejection`], or a failing disk.
pub fn list(spec: &IngestRun, heartbeat: &Heartbeat<'_>) -> anyhow::Result<Listing> {
    let limits = &spec.limits;
    let mut seen = Vec::new();
    let mut tables = Tables::new(limits, &spec.options);
    let gauge = Gauge::new(limits, heartbeat);
    archive::visit(&spec.archive, &gauge, &mut |entry| {
        let entry = Seen::of(entry, limits, &mut |name, bytes| {
            tables.add(seen.len(), name, bytes)
        })?;
        seen.push(entry);
        Ok(())
    })?;
    let encoding = Encoding::of(&seen, spec.options.name_encoding.as_deref())?;
    let mut normalised = Normalised::default();
    let mut entries = Vec::new();
    for entry in &seen {
        let name = encoding.decode(&entry.raw_name, entry.is_utf_8);
        entries.push(listed(entry, &name, &mut normalised, limits)?);
    }
    links::resolve(&mut entries, &seen, &encoding);
    let notes = [encoding.warning(&seen, limits), normalised.warning()];
    drop(seen);
    settle_replaced(&mut entries);
    let notes = notes.into_iter().chain([links::settle_stores(&mut entries)]);
    let notes: Vec<_> = notes.flatten().collect();
    let (tables, doubts) = tables.candidates(&entries);
    let mut listing = arrange(entries, &tables, &spec.options, limits)?;
    listing.doubts.splice(0..0, notes);
    listing.doubts.extend(doubts);
    Ok(listing)
}

fn listed(
    seen: &Seen,
    name: &str,
    normalised: &mut Normalised,
    limits: &IngestLimits,
) -> Result<ListedEntry, Rejection> {
    let is_folder = seen.kind == Kind::Folder || (seen.kind == Kind::File && name.ends_with(['/', '\\']));
    let parts = path::parts(name, limits.max_path_bytes);
    let verdict = match &parts {
        Err(PathFault::Escape) => {
            return Err(Rejection::path_escape(&path::shown(name, limits.max_path_bytes)));
        }
        // Such as the `/` that some drives of the cloud pack.
        _ if is_folder => Verdict::Folder,
        Err(PathFault::Unusable { code, message }) => Verdict::settled(Disposition::skipped(code, *message)),
        Ok(parts) if path::is_hidden(parts) => {
            let message = "a hidden file, or one that an operating system left behind";
            Verdict::settled(Disposition::ignored("hidden", message))
        }
        Ok(_) => seen.verdict.clone(),
    };
    let path = match &parts {
        Ok(parts) => normalised.take(name, parts, limits),
        Err(_) => path::shown(name, limits.max_path_bytes),
    };
    Ok(ListedEntry {
        path,
        class: None,
        labels: None,
        split: None,
        verdict,
        same_as: None,
        is_linked: false,
    })
}

/// Of several entries with the same path the last one counts, as when an archive is extracted.
fn settle_replaced(entries: &mut [ListedEntry]) {
    let mut last: HashMap<String, usize> = HashMap::new();
    for index in 0..entries.len() {
        if entries[index].verdict != Verdict::Candidate {
            continue;
        }
        if let Some(earlier) = last.insert(parts_of(&entries[index].path).join("/"), index) {
            let message = "the archive contains a later file with the same path, which is used instead";
            entries[earlier].verdict = Verdict::settled(Disposition::ignored("replaced", message));
        }
    }
}
