//! Decompressors of whole files: gzip, bzip2, xz and zstd, each as its own program reads it, which is one stream after another. None of them
//! may use more memory than [`MAX_WINDOW_BYTES`] for what it has to remember, whatever the file asks for.

use std::io::{self, BufRead, Cursor, Read};

use bzip2::bufread::MultiBzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder, errors::FrameDecoderError};

use super::gzip::Members;
use crate::{
    domain::datasets::archive::ArchiveKind,
    worker::ingest::{pulse::Heartbeat, window::MAX_WINDOW_BYTES},
};

/// The decoder's own tables, in addition.
const XZ_OVERHEAD_KIB: u32 = 1 << 10;

/// What is in a compressed file; as it is, if it is not compressed. An error of the kind `OutOfMemory` says that it needs too much memory.
pub fn decompress<'a, R: BufRead + 'a>(
    kind: ArchiveKind,
    file: R,
    heartbeat: &'a Heartbeat<'a>,
) -> Box<dyn Read + 'a> {
    match kind {
        ArchiveKind::Zip | ArchiveKind::Tar => Box::new(file),
        ArchiveKind::TarGz => Box::new(Members::new(file, heartbeat)),
        ArchiveKind::TarBz2 => Box::new(MultiBzDecoder::new(file)),
        ArchiveKind::TarXz => Box::new(xz(file)),
        ArchiveKind::TarZst => Box::new(Frames::new(file)),
    }
}

/// Xz, of one or more streams.
pub fn xz<R: Read>(file: R) -> XzReader<R> {
    XzReader::new_mem_limit(file, true, (MAX_WINDOW_BYTES >> 10) as u32 + XZ_OVERHEAD_KIB)
}

/// Zstd: frames, some of them to be skipped (RFC 8878, 3.1).
pub struct Frames<R> {
    file: R,
    decoder: FrameDecoder,
    within: bool,
}

impl<R: BufRead> Frames<R> {
    pub fn new(file: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW_BYTES);
        Self {
            file,
            decoder,
            within: false,
        }
    }

    /// Whether there is another one, now begun.
    fn next_frame(&mut self) -> io::Result<bool> {
        loop {
            if self.file.fill_buf()?.is_empty() {
                return Ok(false);
            }
            let mut magic = [0; 4];
            self.file.read_exact(&mut magic)?;
            if !matches!(magic, [0x50..=0x5f, 0x2a, 0x4d, 0x18]) {
                let frame = Cursor::new(magic).chain(&mut self.file);
                self.decoder.init(frame).map_err(fault)?;
                return Ok(true);
            }
            let mut length = [0; 4];
            self.file.read_exact(&mut length)?;
            let length = u64::from(u32::from_le_bytes(length));
            if io::copy(&mut (&mut self.file).take(length), &mut io::sink())? < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn end_frame(&self) -> io::Result<()> {
        let told = self.decoder.get_checksum_from_data();
        match told.is_none() || told == self.decoder.get_calculated_checksum() {
            true => Ok(()),
            false => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.within {
                if !self.next_frame()? {
                    return Ok(0);
                }
                self.within = true;
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.file, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(fault)?;
            }
            let count = self.decoder.read(buffer)?;
            if count > 0 {
                return Ok(count);
            }
            self.end_frame()?;
            self.within = false;
        }
    }
}

fn fault(fault: FrameDecoderError) -> io::Error {
    match fault {
        FrameDecoderError::WindowSizeTooBig { .. } => io::ErrorKind::OutOfMemory.into(),
        fault => io::Error::other(fault),
    }
}
