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
    ZipReadOptions,
    read::{Config, ZipFileEntry},
    result::ZipError,
    unstable::read::ZipIterable,
};

use super::{
    Entry, Kind,
    gauge::{Gauge, GaugedEntry},
    is_damage, method,
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
    let raw_name = entry.name_raw().to_vec();
    let shown = path::shown(&String::from_utf8_lossy(&raw_name), gauge.limits.max_path_bytes);
    let (packed, declared, begins) = (entry.compressed_size(), entry.size(), entry.header_start());
    let table = Header::of_table(bodies.get_ref(), entry.central_header_start())?;
    let own = Header::of_entry(bodies.get_ref(), begins)?;
    let mut kind = kind(&entry, table.as_ref().map_or(0, |table| table.method));
    // Set by the flag, or by a second name that Info-ZIP adds (APPNOTE 4.6.9), which has taken the place of the first.
    let says_utf_8 = table
        .as_ref()
        .is_some_and(|table| table.says_utf_8() || table.name != raw_name);
    let is_utf_8 = says_utf_8 && str::from_utf8(&raw_name).is_ok();
    let is_file = matches!(kind, Kind::File | Kind::SymbolicLink);
    let own = own.filter(|own| table.as_ref().is_some_and(|table| own.agrees(table)));
    if is_file && own.is_none() {
        kind = Kind::Damaged;
    }
    let mut opened: Option<Box<dyn Read + '_>> = None;
    if let Some(own) = own.filter(|_| is_file) {
        spans.add(begins..own.data_begins.saturating_add(packed));
        if method::is_ours(own.method) {
            let body = method::Body {
                method: own.method,
                flags: own.flags,
                begins: own.data_begins,
                packed,
                declared,
                crc32: entry.crc32(),
            };
            match body.open(bodies.get_ref())? {
                Some(file) => opened = Some(file),
                None => kind = Kind::UnsupportedCompression,
            }
        } else {
            match entry.with_reader(bodies, ZipReadOptions::new()) {
                Ok(file) => opened = Some(Box::new(file)),
                Err(ZipError::Io(error)) if !is_damage(&error) => return Err(error.into()),
                Err(ZipError::UnsupportedArchive(_) | ZipError::CompressionMethodNotSupported(_)) => {
                    kind = Kind::UnsupportedCompression;
                }
                Err(_) => kind = Kind::Damaged,
            }
        }
    }
    let body: &mut dyn Read = match &mut opened {
        Some(file) => file,
        None => &mut io::empty(),
    };
    each(&mut Entry {
        raw_name: &raw_name,
        is_utf_8,
        kind,
        target: None,
        body: &mut GaugedEntry::new(body, gauge, [packed, declared], &shown),
        gauge,
        stands_alone: true,
    })
}

/// A folder may also be one by the slash or backslash at the end of its name, which whoever decodes the name looks at: in some encodings a
/// backslash is half of a character.
fn kind(entry: &ZipFileEntry<'_>, method: u16) -> Kind {
    const TYPE: u32 = 0o170_000;
    const FOLDER: u32 = 0o040_000;
    const FILE: u32 = 0o100_000;
    const LINK: u32 = 0o120_000;
    match entry.unix_mode().map_or(0, |mode| mode & TYPE) {
        _ if entry.name_raw().ends_with(b"/") => Kind::Folder,
        FOLDER => Kind::Folder,
        0 | FILE | LINK if entry.encrypted() => Kind::Encrypted,
        0 | FILE | LINK if !is_known(method) => Kind::UnsupportedCompression,
        0 | FILE => Kind::File,
        LINK => Kind::SymbolicLink,
        _ => Kind::NotAFile,
    }
}

fn is_known(method: u16) -> bool {
    const STORED: u16 = 0;
    const DEFLATED: u16 = 8;
    const DEFLATE64: u16 = 9;
    const BZIP2: u16 = 12;
    matches!(method, STORED | DEFLATED | DEFLATE64 | BZIP2) || method::is_ours(method)
}

/// What the archive says of an entry in two places. Some programs trust one and some the other, and an archive can be crafted that shows
/// them different files: so they must agree.
struct Header {
    flags: u16,
    method: u16,
    name: Vec<u8>,
    /// Only meaningful in the entry's own header.
    data_begins: u64,
}

impl Header {
    const ENCRYPTED: u16 = 1;
    const UTF_8: u16 = 1 << 11;

    /// From the table of contents. None if there is no such header.
    fn of_table(file: &File, begins: u64) -> io::Result<Option<Self>> {
        Self::read(file, begins, 46, [8, 28, 30])
    }

    /// From before the entry itself.
    fn of_entry(file: &File, begins: u64) -> io::Result<Option<Self>> {
        Self::read(file, begins, 30, [6, 26, 28])
    }

    /// From a header of this length followed by its name; the offsets are those of the flags and of the lengths of the name and of what
    /// comes after it.
    fn read(
        file: &File,
        begins: u64,
        bytes: usize,
        [flags_at, name_at, extra_at]: [usize; 3],
    ) -> io::Result<Option<Self>> {
        let mut header = [0; 46];
        let header = &mut header[..bytes];
        let Some(name_begins) = begins.checked_add(bytes as u64) else {
            return Ok(None);
        };
        if !is_there(file.read_exact_at(header, begins))? {
            return Ok(None);
        }
        let number = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let mut name = vec![0; usize::from(number(name_at))];
        if !is_there(file.read_exact_at(&mut name, name_begins))? {
            return Ok(None);
        }
        let after = u64::from(number(name_at)) + u64::from(number(extra_at));
        Ok(Some(Self {
            flags: number(flags_at),
            method: number(flags_at + 2),
            name,
            data_begins: name_begins.saturating_add(after),
        }))
    }

    fn says_utf_8(&self) -> bool {
        self.flags & Self::UTF_8 != 0
    }

    fn agrees(&self, other: &Self) -> bool {
        let encrypted = |header: &Self| header.flags & Self::ENCRYPTED;
        encrypted(self) == encrypted(other) && self.method == other.method && self.name == other.name
    }
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
