//! Reads zip and tar archives, the latter compressed or not, entry by entry, in their order. Nothing is ever extracted to a path.
//!
//! The kind is detected by content ([`ArchiveKind`]). Both passes of ingest use [`visit`]; limits apply to the bytes that are really extracted.

mod decompress;
mod described;
mod gauge;
mod gzip;
mod method;
mod spans;
mod tar;
mod zip;

use std::{
    borrow::Cow,
    fs::File,
    io::{self, Read, Seek},
    path::Path,
};

use anyhow::Context;

pub use gauge::Gauge;

use super::rejection::Rejection;
use crate::domain::datasets::archive::{self, ArchiveKind, ENOUGH};

/// Enough of a file to detect its kind.
pub const HEAD_BYTES: u64 = ENOUGH as u64;

/// The kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Folder,
    /// Another name of an entry.
    HardLink,
    /// The path of another file, beginning at its own folder. Never followed out of the archive.
    SymbolicLink,
    /// A device, a pipe: never created.
    NotAFile,
    Encrypted,
    UnsupportedCompression,
    /// Its own header contradicts the archive's table of contents, or is outside the archive.
    Damaged,
}

/// An entry while it is visited.
pub struct Entry<'a> {
    /// Its path as the archive has it: unchecked, in whatever encoding.
    pub raw_name: &'a [u8],
    /// Whether that is UTF-8 because the archive says so.
    pub is_utf_8: bool,
    pub kind: Kind,
    /// Where a link leads to, in the encoding of the name; a symbolic link of a zip archive has it as its contents.
    pub target: Option<&'a [u8]>,
    body: &'a mut dyn Read,
    gauge: &'a Gauge<'a>,
    /// Whether the rest of the archive can be read if this entry cannot.
    stands_alone: bool,
}

/// The result of reading an entry.
#[derive(Debug, PartialEq, Eq)]
pub enum Contents {
    Whole(Vec<u8>),
    /// Larger than the limit for a single file.
    TooLarge,
    /// Its bytes cannot be decompressed, or are not those that were packed.
    Damaged,
}

impl Entry<'_> {
    /// Its path as far as it is UTF-8.
    pub fn name(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.raw_name)
    }

    /// The first [`HEAD_BYTES`], or fewer if there are fewer; nothing if they cannot be read.
    pub fn head(&mut self) -> anyhow::Result<Vec<u8>> {
        Ok(match self.read(HEAD_BYTES)? {
            Contents::Whole(bytes) => bytes,
            Contents::TooLarge | Contents::Damaged => Vec::new(),
        })
    }

    /// All of it.
    pub fn contents(&mut self) -> anyhow::Result<Contents> {
        let most = self.gauge.limits.max_file_bytes;
        Ok(match self.read(most.saturating_add(1))? {
            Contents::Whole(bytes) if bytes.len() as u64 > most => Contents::TooLarge,
            contents => contents,
        })
    }

    fn read(&mut self, most: u64) -> anyhow::Result<Contents> {
        let mut bytes = Vec::new();
        match (&mut self.body).take(most).read_to_end(&mut bytes) {
            Ok(_) => Ok(Contents::Whole(bytes)),
            Err(error) if self.gauge.rejection().is_some() || self.gauge.heartbeat.is_stopped() => {
                Err(error.into())
            }
            Err(_) if self.stands_alone => Ok(Contents::Damaged),
            Err(error) => Err(error.into()),
        }
    }
}

/// Calls `each` with every entry, in the order of the archive. Stops at the first error: a [`Rejection`] if the archive cannot be used as a
/// whole.
pub fn visit(
    path: &Path,
    gauge: &Gauge<'_>,
    each: &mut dyn FnMut(&mut Entry<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let visited = open(path).and_then(|(file, kind)| match kind {
        ArchiveKind::Zip => zip::visit(path, file, gauge, each),
        ArchiveKind::Tar => tar::visit(file, gauge, each),
        kind => tar::visit_compressed(kind, file, gauge, each),
    });
    visited.map_err(|error| match gauge.rejection() {
        Some(rejection) => rejection.into(),
        None => error,
    })
}

fn open(path: &Path) -> anyhow::Result<(File, ArchiveKind)> {
    let mut file = File::open(path).context("cannot open the archive")?;
    let mut head = Vec::new();
    (&mut file)
        .take(HEAD_BYTES)
        .read_to_end(&mut head)
        .context("cannot read the archive")?;
    file.rewind().context("cannot read the archive")?;
    let kind = ArchiveKind::of(&head).ok_or_else(|| {
        Rejection::unreadable(format!(
            "the file is {}. Then upload that; accepted are {}",
            archive::foreign(&head),
            ArchiveKind::TAKEN
        ))
    })?;
    Ok((file, kind))
}

/// Whether reading failed because the bytes are wrong, not because the disk failed.
fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    error.raw_os_error().is_none()
        && matches!(error.kind(), InvalidData | InvalidInput | Other | UnexpectedEof)
}
