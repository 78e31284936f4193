//! Images and archives for tests. The zip writer is our own, because the tests need archives that a decent one refuses to write.

use std::io::{Cursor, Write};

use flate2::{Compression, Crc, write::DeflateEncoder, write::GzEncoder};
use image::{ImageBuffer, ImageFormat, Rgb};
use tar::{EntryType, Header};

use crate::domain::random::{Draws, Stream};

/// A file of an archive, with what its header says of it.
#[derive(Clone)]
pub struct File {
    pub name: Vec<u8>,
    pub data: Vec<u8>,
    /// Unix mode with type bits; 0 says nothing.
    pub mode: u32,
    pub encrypted: bool,
    /// None for what is true.
    pub declared_bytes: Option<u32>,
    /// 0 stored, 8 deflated; anything else is written as if stored.
    pub method: u16,
    /// What the file's own header calls it; None for the same as the table.
    pub local_name: Option<Vec<u8>>,
    /// None for the right one.
    pub checksum: Option<u32>,
    /// None for the true size of the packed bytes; only the table says anything else.
    pub declared_packed: Option<u32>,
    /// The packed bytes, of whatever method; None to pack them here.
    pub packed: Option<Vec<u8>>,
    /// Whether the archive does not say that a name outside of ASCII is UTF-8.
    pub unmarked: bool,
    /// Extra fields of the table.
    pub extra: Vec<u8>,
    /// Where a link of a tar archive leads to.
    pub target: Vec<u8>,
    /// Bytes that are there already: the table leads to them and nothing is written.
    pub at: Option<u32>,
}

impl File {
    pub fn new(name: impl AsRef<[u8]>, data: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.as_ref().to_vec(),
            data: data.into(),
            mode: 0,
            encrypted: false,
            declared_bytes: None,
            method: 8,
            local_name: None,
            checksum: None,
            declared_packed: None,
            packed: None,
            unmarked: false,
            extra: Vec::new(),
            target: Vec::new(),
            at: None,
        }
    }

    /// A name of bytes in some encoding, as programs write it that do not know UTF-8.
    pub fn unmarked(name: impl AsRef<[u8]>, data: impl Into<Vec<u8>>) -> Self {
        Self {
            unmarked: true,
            ..Self::new(name, data)
        }
    }

    pub fn stored(mut self) -> Self {
        self.method = 0;
        self
    }

    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }
}

/// An image that looks like that of no other number: blocks of colours, as large as JPEG's own.
pub fn image(number: u8) -> ImageBuffer<Rgb<u8>, Vec<u8>> {
    let width = 40 + u32::from(number % 7);
    ImageBuffer::from_fn(width, 36, |x, y| {
        let mut draws = Draws::at(
            number.into(),
            Stream::SampleDataset,
            u64::from(x / 8),
            u64::from(y / 8),
        );
        Rgb(std::array::from_fn(|_| draws.below(256) as u8))
    })
}

fn encoded(number: u8, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image(number).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

pub fn jpeg(number: u8) -> Vec<u8> {
    encoded(number, ImageFormat::Jpeg)
}

pub fn png(number: u8) -> Vec<u8> {
    encoded(number, ImageFormat::Png)
}

/// An uncompressed image of `side · side · 3` bytes of zeros.
pub fn black_bmp(side: u32) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    ImageBuffer::from_pixel(side, side, Rgb([0u8; 3]))
        .write_to(&mut bytes, ImageFormat::Bmp)
        .unwrap();
    bytes.into_inner()
}

pub fn zip(files: &[File]) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut table = Vec::new();
    for file in files {
        let offset = file.at.unwrap_or(archive.len() as u32);
        let packed = match (&file.packed, file.method) {
            (Some(packed), _) => packed.clone(),
            (None, 8) => deflate(&file.data),
            (None, _) => file.data.clone(),
        };
        let mut checksum = Crc::new();
        checksum.update(&file.data);
        let checksum = file.checksum.unwrap_or(checksum.sum());
        let fields = |name: &[u8], packed: u32, extra: usize| {
            let mut fields = header_fields(file, name, checksum, packed);
            fields.extend((extra as u16).to_le_bytes());
            fields
        };
        if file.at.is_none() {
            let name = file.local_name.as_ref().unwrap_or(&file.name);
            archive.extend(b"PK\x03\x04");
            archive.extend(fields(name, packed.len() as u32, 0));
            archive.extend(name);
            archive.extend(&packed);
        }

        table.extend(b"PK\x01\x02\x14\x03");
        table.extend(fields(
            &file.name,
            file.declared_packed.unwrap_or(packed.len() as u32),
            file.extra.len(),
        ));
        // Comment length, disk and internal attributes.
        table.extend([0; 6]);
        table.extend((file.mode << 16).to_le_bytes());
        table.extend(offset.to_le_bytes());
        table.extend(&file.name);
        table.extend(&file.extra);
    }
    let (begins, length) = (archive.len() as u32, table.len() as u32);
    archive.extend(table);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend((files.len() as u16).to_le_bytes());
    archive.extend((files.len() as u16).to_le_bytes());
    archive.extend(length.to_le_bytes());
    archive.extend(begins.to_le_bytes());
    archive.extend([0; 2]);
    archive
}

/// The fields that the local header and the table share, "version needed" to the length of the name.
fn header_fields(file: &File, name: &[u8], checksum: u32, packed: u32) -> Vec<u8> {
    let marked = !file.name.is_ascii() && !file.unmarked;
    let flags = u16::from(file.encrypted) | if marked { 0x800 } else { 0 };
    let bytes = file.declared_bytes.unwrap_or(file.data.len() as u32);
    let mut fields = vec![20, 0];
    fields.extend(flags.to_le_bytes());
    fields.extend(file.method.to_le_bytes());
    fields.extend([0, 0, 0x21, 0]);
    fields.extend(checksum.to_le_bytes());
    fields.extend(packed.to_le_bytes());
    fields.extend(bytes.to_le_bytes());
    fields.extend((name.len() as u16).to_le_bytes());
    fields
}

fn deflate(data: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

pub fn bzip2(data: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

pub fn xz(data: &[u8]) -> Vec<u8> {
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(data: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(data, ruzstd::encoding::CompressionLevel::Fastest)
}

pub fn tar(files: &[File]) -> Vec<u8> {
    let typed: Vec<_> = files
        .iter()
        .map(|file| (EntryType::Regular, file.clone()))
        .collect();
    tar_of(&typed)
}

/// Names go into the header as they are.
pub fn tar_of(files: &[(EntryType, File)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (kind, file) in files {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_size(file.data.len() as u64);
        header.set_mode(0o644);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..file.name.len()].copy_from_slice(&file.name);
        gnu.linkname[..file.target.len()].copy_from_slice(&file.target);
        header.set_cksum();
        builder.append(&header, file.data.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}
