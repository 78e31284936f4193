//! Reads zip, tar and tar.gz archives entry by entry, in their order. Nothing is ever extracted to a path.
//!
//! The kind is detected by content. Both passes of ingest use [`visit`]; limits apply to the bytes that are really extracted.

mod described;
mod gauge;
mod gzip;
mod spans;
mod tar;
mod zip;

use std::{
    fs::File,
    io::{self, Read, Seek},
    path::Path,
};

use anyhow::Context;

pub use gauge::Gauge;

use super::rejection::Rejection;

/// Enough of a file to detect its kind.
pub const HEAD_BYTES: u64 = 512;

/// The kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Folder,
    /// A link, a device, a pipe: never followed, never created.
    NotAFile,
    Encrypted,
    UnsupportedCompression,
    /// Its own header contradicts the archive's table of contents, or is outside the archive.
    Damaged,
}

/// An entry while it is visited.
pub struct Entry<'a> {
    /// Its path as spelled in the archive: unchecked, not to be shown as it is.
    pub name: &'a str,
    pub kind: Kind,
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

/// The accepted kinds of archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Zip,
    Tar,
    TarGz,
}

/// Calls `each` with every entry, in the order of the archive. Stops at the first error: a [`Rejection`] if the archive cannot be used as a
/// whole.
pub fn visit(
    path: &Path,
    gauge: &Gauge<'_>,
    each: &mut dyn FnMut(&mut Entry<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let visited = open(path).and_then(|(file, format)| match format {
        Format::Zip => zip::visit(path, file, gauge, each),
        Format::Tar => tar::visit(file, gauge, each),
        Format::TarGz => tar::visit_compressed(file, gauge, each),
    });
    visited.map_err(|error| match gauge.rejection() {
        Some(rejection) => rejection.into(),
        None => error,
    })
}

fn open(path: &Path) -> anyhow::Result<(File, Format)> {
    let mut file = File::open(path).context("cannot open the archive")?;
    let mut head = Vec::new();
    (&mut file)
        .take(HEAD_BYTES)
        .read_to_end(&mut head)
        .context("cannot read the archive")?;
    file.rewind().context("cannot read the archive")?;
    Ok((file, format(&head)?))
}

fn format(head: &[u8]) -> Result<Format, Rejection> {
    let foreign = match head {
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => return Ok(Format::Zip),
        [0x1f, 0x8b, ..] => return Ok(Format::TarGz),
        _ if tar::begins_a_tar(head) => return Ok(Format::Tar),
        [b'R', b'a', b'r', b'!', ..] => "a RAR archive",
        [b'7', b'z', 0xbc, 0xaf, ..] => "a 7z archive",
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "compressed with xz",
        [b'B', b'Z', b'h', ..] => "compressed with bzip2",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "compressed with zstd",
        [b'P', b'K', 7, 8, ..] => "one part of a zip archive in several parts",
        [] => "empty",
        _ => "not an archive",
    };
    Err(Rejection::unreadable(format!(
        "the file is {foreign}; upload a zip, tar or tar.gz archive"
    )))
}

/// Whether reading failed because the bytes are wrong, not because the disk failed.
fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    error.raw_os_error().is_none()
        && matches!(error.kind(), InvalidData | InvalidInput | Other | UnexpectedEof)
}
