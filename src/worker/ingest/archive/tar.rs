//! Tar archives, plain or compressed: a stream, read from start to end. The tar crate finds the headers, `described` reads what headers say
//! about the following entry: what can be trusted there is a matter of security.

use std::{
    borrow::Cow,
    cell::Cell,
    fs::File,
    io::{self, BufReader, Cursor, Read},
};

use tar::{EntryType, Header};

use super::{
    Entry, Kind,
    decompress::decompress,
    described::{Described, Fault},
    gauge::{Counted, Gauge, GaugedStream},
    is_damage,
};
use crate::{
    domain::datasets::archive::{self, ArchiveKind},
    worker::ingest::rejection::Rejection,
};

const BLOCK: usize = 512;
const CUT_SHORT: &str = "the archive is damaged or cut short; upload it again as a whole";
/// Most bytes that may describe one entry: long names and such are read into memory.
const MAX_DESCRIPTION: u64 = 1 << 20;

pub fn visit(
    file: File,
    gauge: &Gauge<'_>,
    each: &mut dyn FnMut(&mut Entry<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    visit_stream(BufReader::with_capacity(1 << 16, file), None, gauge, each)
}

pub fn visit_compressed(
    kind: ArchiveKind,
    file: File,
    gauge: &Gauge<'_>,
    each: &mut dyn FnMut(&mut Entry<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let packed = Cell::new(0);
    let counted = Counted {
        inner: file,
        bytes: &packed,
        heartbeat: gauge.heartbeat,
    };
    let file = BufReader::with_capacity(1 << 16, counted);
    let mut inside = decompress(kind, file, gauge.heartbeat);
    let mut head = Vec::new();
    (&mut inside)
        .take(BLOCK as u64)
        .read_to_end(&mut head)
        .map_err(unreadable)?;
    if ArchiveKind::of(&head) != Some(ArchiveKind::Tar) {
        return Err(no_tar(kind, &head).into());
    }
    let buffered = BufReader::with_capacity(1 << 16, Cursor::new(head).chain(inside));
    visit_stream(buffered, Some(&packed), gauge, each)
}

fn no_tar(kind: ArchiveKind, head: &[u8]) -> Rejection {
    let inside = match ArchiveKind::of(head) {
        Some(ArchiveKind::Zip) => "a zip archive, which needs no further compression; upload that".to_owned(),
        Some(_) => "another compressed file; compress the tar archive once and upload that".to_owned(),
        None => format!("{}. Then upload that", archive::foreign(head)),
    };
    Rejection::unreadable(format!(
        "the file is compressed with {} but contains no tar archive: inside is {inside}",
        kind.compression().unwrap_or("something")
    ))
}

fn visit_stream(
    stream: impl Read,
    packed: Option<&Cell<u64>>,
    gauge: &Gauge<'_>,
    each: &mut dyn FnMut(&mut Entry<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let allowance = Cell::new(MAX_DESCRIPTION);
    let mut archive = tar::Archive::new(GaugedStream {
        inner: stream,
        gauge,
        packed,
        allowance: &allowance,
    });
    let mut entries = 0;
    let mut described = Described::default();
    for entry in archive.entries().map_err(unreadable)?.raw(true) {
        let mut entry = entry.map_err(unreadable)?;
        if described.take_in(&mut entry).map_err(refused)? {
            continue;
        }
        let described = std::mem::take(&mut described);
        described.check(entry.header()).map_err(refused)?;
        let end = end_of(&entry);
        let name = match described.name {
            Some(name) => name,
            None => entry.header().path_bytes().into_owned(),
        };
        let target = match described.target {
            Some(target) => Some(target),
            None => entry.header().link_name_bytes().map(Cow::into_owned),
        };
        let kind = kind(entry.header(), described.sparse);
        entries += 1;
        if entries > gauge.limits.max_entries {
            return Err(Rejection::too_many_entries(gauge.limits).into());
        }
        allowance.set(u64::MAX);
        each(&mut Entry {
            raw_name: &name,
            is_utf_8: described.is_utf_8 && str::from_utf8(&name).is_ok(),
            kind,
            target: target.as_deref(),
            body: &mut entry,
            gauge,
            stands_alone: false,
        })
        .map_err(|error| match error.downcast::<io::Error>() {
            Ok(error) => unreadable(error),
            Err(error) => error,
        })?;
        allow(&allowance, end, gauge);
    }
    if described != Described::default() {
        return Err(Rejection::unreadable(CUT_SHORT).into());
    }
    // Only the very end of a compressed stream shows whether it was complete.
    allowance.set(u64::MAX);
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(unreadable)?;
    Ok(())
}

/// Where the entry's bytes end in the archive, including padding.
fn end_of<R: Read>(entry: &tar::Entry<'_, R>) -> u64 {
    let padded = entry.size().saturating_add(BLOCK as u64);
    entry.raw_file_position().saturating_add(padded)
}

/// Allows reading the rest of an entry and the description of the next one.
fn allow(allowance: &Cell<u64>, end: u64, gauge: &Gauge<'_>) {
    let rest = end.saturating_sub(gauge.expanded());
    allowance.set(rest.saturating_add(MAX_DESCRIPTION));
}

/// Old programs mark folders only by the slash at the end of their names, which whoever decodes the name looks at.
fn kind(header: &Header, sparse: bool) -> Kind {
    match header.entry_type() {
        _ if sparse => Kind::NotAFile,
        EntryType::Link => Kind::HardLink,
        EntryType::Symlink => Kind::SymbolicLink,
        EntryType::Regular | EntryType::Continuous => Kind::File,
        EntryType::Directory => Kind::Folder,
        _ => Kind::NotAFile,
    }
}

fn refused(fault: Fault) -> anyhow::Error {
    match fault {
        Fault::Unreadable(error) => unreadable(error),
        Fault::Contradictory(what) => {
            Rejection::unreadable(format!("the tar archive {what}; pack it again and upload that")).into()
        }
    }
}

/// Invalid bytes reject the archive; a failing disk does not.
fn unreadable(error: io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::OutOfMemory {
        return Rejection::window().into();
    }
    if !is_damage(&error) {
        return error.into();
    }
    Rejection::unreadable(CUT_SHORT).into()
}
