//! Compression methods of zip entries that the zip crate does not read within bounds, or only with a library in C: LZMA, zstd and xz. The
//! bytes are read here, and compared with their checksum at the end.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    os::unix::fs::FileExt,
};

use flate2::Crc;
use lzma_rust2::LzmaReader;

use super::{
    super::window::MAX_WINDOW_BYTES,
    decompress::{Frames, xz},
};

/// Numbers of the methods (APPNOTE 4.4.5); programs of 2020 wrote another one for zstd.
const LZMA: u16 = 14;
const ZSTD: u16 = 93;
const ZSTD_EARLIER: u16 = 20;
const XZ: u16 = 95;

pub fn is_ours(method: u16) -> bool {
    matches!(method, LZMA | ZSTD | ZSTD_EARLIER | XZ)
}

/// A packed file, as its headers describe it.
pub struct Body {
    pub method: u16,
    pub flags: u16,
    /// Offset of its first byte in the archive.
    pub begins: u64,
    pub packed: u64,
    pub declared: u64,
    pub crc32: u32,
}

impl Body {
    /// Its contents. None if they cannot be read with the memory that a decoder may use.
    pub fn open(self, archive: &File) -> io::Result<Option<Box<dyn Read + '_>>> {
        let bytes = At {
            file: archive,
            next: self.begins,
        };
        let packed = BufReader::with_capacity(1 << 14, bytes.take(self.packed));
        let inside: Box<dyn Read + '_> = match self.method {
            LZMA => match lzma(packed, self.flags, self.declared) {
                Ok(file) => Box::new(file),
                Err(fault) if fault.kind() == io::ErrorKind::OutOfMemory => return Ok(None),
                // Whoever reads it finds the damage.
                Err(_) => Box::new(Broken),
            },
            XZ => Box::new(xz(packed)),
            _ => Box::new(Frames::new(packed)),
        };
        Ok(Some(Box::new(Checked {
            inside,
            found: Crc::new(),
            crc32: self.crc32,
        })))
    }
}

/// APPNOTE 5.8.8: a version, the length of the properties, the properties, the stream.
fn lzma<R: Read>(mut packed: R, flags: u16, declared: u64) -> io::Result<LzmaReader<R>> {
    const ENDS_WITH_A_MARK: u16 = 1 << 1;
    let mut header = [0; 9];
    packed.read_exact(&mut header)?;
    let [_, _, 5, 0, properties, a, b, c, d] = header else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let window = u32::from_le_bytes([a, b, c, d]);
    if u64::from(window) > MAX_WINDOW_BYTES {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    let bytes = match flags & ENDS_WITH_A_MARK {
        0 => declared,
        _ => u64::MAX,
    };
    LzmaReader::new_with_props(packed, bytes, properties, window, None)
}

/// A file from an offset on. It has its own position, whatever else reads the file.
struct At<'a> {
    file: &'a File,
    next: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.next)?;
        self.next = self.next.saturating_add(count as u64);
        Ok(count)
    }
}

/// Compares the checksum at the end.
struct Checked<R> {
    inside: R,
    found: Crc,
    crc32: u32,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inside.read(buffer)?;
        self.found.update(&buffer[..count]);
        if count == 0 && !buffer.is_empty() && self.found.sum() != self.crc32 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(count)
    }
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::InvalidData.into())
    }
}
