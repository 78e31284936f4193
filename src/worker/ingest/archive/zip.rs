//! Zip archives: the table of contents at the end is walked one entry at a time, never held in memory as a whole.
//! The iterator that does so is an unstable part of the zip crate, which is why its version is pinned to the last digit.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    os::unix::fs::FileExt,
    path::Path,
};

use anyhow::Context;
use zip::{
    CompressionMethod, ZipReadOptions,
    read::{Config, ZipFileEntry},
    result::ZipError,
    unstable::read::ZipIterable,
};

use super::{
    Entry, Kind,
    gauge::{Gauge, GaugedEntry},
    is_damage,
    spans::Spans,
};
use crate::worker::ingest::{names::path, rejection::Rejection};

const NO_TABLE: &str = "the zip archive's table of contents is missing or damaged, as when a file is cut short; upload it again as a whole";

pub fn visit(
    path: &Path,
    file: File,
    gauge: &Gauge<'_>,
    each: &mut dyn FnMut(&mut Entry<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    // Two files, because a file has one position: the table is read through one, the entries through the other.
    let mut bodies = BufReader::with_capacity(1 << 12, File::open(path).context("cannot open the archive")?);
    let table = BufReader::with_capacity(1 << 12, file);
    let mut archive = ZipIterable::try_new(table, Config::default()).map_err(unreadable)?;
    if archive.len() as u64 > gauge.limits.max_entries {
        return Err(Rejection::too_many_entries(gauge.limits).into());
    }
    let mut spans = Spans::default();
    let mut table_begins = u64::MAX;
    for entry in archive.files().map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        gauge.heartbeat.beat()?;
        table_begins = table_begins.min(entry.central_header_start());
        visit_entry(entry, &mut bodies, &mut spans, gauge, each)?;
    }
    // The first pass only reads the start of files, so this comes before anything is extracted.
    if spans.overlap(table_begins) {
        return Err(Rejection::overlapping_entries().into());
    }
    Ok(())
}

fn visit_entry(
    entry: ZipFileEntry<'_>,
    bodies: &mut BufReader<File>,
    spans: &mut Spans,
    gauge: &Gauge<'_>,
    each: &mut dyn FnMut(&mut Entry<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let raw = entry.name_raw().to_vec();
    let name = path::text(&raw, || match entry.name() {
        Ok(name) => name.into_owned().into(),
        Err(_) => String::from_utf8_lossy(&raw),
    })
    .into_owned();
    let shown = path::shown(&name, gauge.limits.max_path_bytes);
    let (packed, declared, begins) = (entry.compressed_size(), entry.size(), entry.header_start());
    let mut kind = kind(&entry);
    if kind == Kind::File && !headers_agree(bodies.get_ref(), &entry)? {
        kind = Kind::Damaged;
    }
    let mut opened = None;
    if kind == Kind::File {
        match entry.with_reader(bodies, ZipReadOptions::new()) {
            Ok(file) => {
                let ends = file.data_start().unwrap_or(begins).saturating_add(packed);
                spans.add(begins..ends);
                opened = Some(file);
            }
            Err(ZipError::Io(error)) if !is_damage(&error) => return Err(error.into()),
            Err(ZipError::UnsupportedArchive(_) | ZipError::CompressionMethodNotSupported(_)) => {
                kind = Kind::UnsupportedCompression;
            }
            Err(_) => kind = Kind::Damaged,
        }
    }
    let body: &mut dyn Read = match &mut opened {
        Some(file) => file,
        None => &mut io::empty(),
    };
    each(&mut Entry {
        name: &name,
        kind,
        body: &mut GaugedEntry::new(body, gauge, [packed, declared], &shown),
        gauge,
        stands_alone: true,
    })
}

fn kind(entry: &ZipFileEntry<'_>) -> Kind {
    const TYPE: u32 = 0o170_000;
    const FOLDER: u32 = 0o040_000;
    const FILE: u32 = 0o100_000;
    match entry.unix_mode().map_or(0, |mode| mode & TYPE) {
        _ if entry.is_dir() => Kind::Folder,
        FOLDER => Kind::Folder,
        0 | FILE if entry.encrypted() => Kind::Encrypted,
        0 | FILE
            if !matches!(
                entry.compression(),
                CompressionMethod::Stored | CompressionMethod::Deflated
            ) =>
        {
            Kind::UnsupportedCompression
        }
        0 | FILE => Kind::File,
        _ => Kind::NotAFile,
    }
}

/// Whether a file's own header has the same name and compression as the table: some programs trust one and some the other, and an archive
/// can be crafted that shows them different files.
fn headers_agree(file: &File, entry: &ZipFileEntry<'_>) -> io::Result<bool> {
    let table = described(file, entry.central_header_start(), 46, 8, 28)?;
    let own = described(file, entry.header_start(), 30, 6, 26)?;
    Ok(own.is_some() && own == table)
}

/// Encryption, compression method and name, from a header of this length followed by its name. None if there is no such header.
fn described(
    file: &File,
    begins: u64,
    bytes: usize,
    flags_at: usize,
    length_at: usize,
) -> io::Result<Option<(bool, u16, Vec<u8>)>> {
    let mut header = [0; 46];
    let header = &mut header[..bytes];
    let number = |header: &[u8], at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let Some(name_begins) = begins.checked_add(bytes as u64) else {
        return Ok(None);
    };
    if !is_there(file.read_exact_at(header, begins))? {
        return Ok(None);
    }
    let mut name = vec![0; usize::from(number(header, length_at))];
    if !is_there(file.read_exact_at(&mut name, name_begins))? {
        return Ok(None);
    }
    let encrypted = number(header, flags_at) & 1 == 1;
    Ok(Some((encrypted, number(header, flags_at + 2), name)))
}

/// False if the archive has ended. An impossible offset counts as one after its end.
fn is_there(read: io::Result<()>) -> io::Result<bool> {
    match read {
        Ok(()) => Ok(true),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn unreadable(error: ZipError) -> anyhow::Error {
    match error {
        ZipError::Io(error) if !is_damage(&error) => error.into(),
        ZipError::UnsupportedArchive(_) => {
            Rejection::unreadable("the zip archive is in several parts; pack it as one file").into()
        }
        _ => Rejection::unreadable(NO_TABLE).into(),
    }
}
