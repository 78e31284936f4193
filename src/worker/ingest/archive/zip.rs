//! Zip archives: the table of contents at the end is walked one entry at a time, never held in memory as a whole.
//! The iterator that does so is an unstable part of the zip crate, which is why its version is pinned to the last digit.

use std::{
    fs::File,
    io::{self, BufReader, Read},
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
};
use crate::worker::ingest::{path, rejection::Rejection};

const NO_TABLE: &str = "the zip archive's table of contents is missing or damaged, as when a file is cut short; upload it again as a whole";

pub fn visit(
    path: &Path,
    file: File,
    gauge: &Gauge<'_>,
    each: &mut dyn FnMut(&mut Entry<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    // Two files, because a file has one position: the table is walked in one, the entries are read in the other.
    let mut bodies = BufReader::with_capacity(1 << 12, File::open(path).context("cannot open the archive")?);
    let table = BufReader::with_capacity(1 << 12, file);
    let mut archive = ZipIterable::try_new(table, Config::default()).map_err(unreadable)?;
    if archive.len() as u64 > gauge.limits.max_entries {
        return Err(Rejection::too_many_entries(gauge.limits).into());
    }
    for entry in archive.files().map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        gauge.pulse.beat()?;
        visit_entry(entry, &mut bodies, gauge, each)?;
    }
    Ok(())
}

fn visit_entry(
    entry: ZipFileEntry<'_>,
    bodies: &mut BufReader<File>,
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
    let packed = entry.compressed_size();
    let mut kind = kind(&entry);
    let mut opened = None;
    if kind == Kind::File {
        match entry.with_reader(bodies, ZipReadOptions::new()) {
            Ok(file) => opened = Some(file),
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
        body: &mut GaugedEntry::new(body, gauge, packed, &shown),
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

fn unreadable(error: ZipError) -> anyhow::Error {
    match error {
        ZipError::Io(error) if !is_damage(&error) => error.into(),
        ZipError::UnsupportedArchive(_) => {
            Rejection::unreadable("the zip archive is in several parts; pack it as one file").into()
        }
        _ => Rejection::unreadable(NO_TABLE).into(),
    }
}
