//! A file of packed images with an index: created by a run and reused by later runs over the dataset.
//!
//! The pixels come first, image after image; then 24 bytes per image: id, width, height (32 bits each), offset (64 bits), CRC-32 of its
//! pixels; finally the number of images (64 bits), the CRC-32 of everything between the pixels and here, and a magic number (96 bits).
//! Little-endian throughout.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use anyhow::{Context, ensure};
use memmap2::Mmap;

use crate::{
    files::digest::Hasher,
    protocol::Artifact,
    worker::{
        pixels::{self, Image},
        process::{disk::OutputFile, stored::crc32},
    },
};

/// The last byte is the format's version: files of earlier versions are not recognised and are created again.
const MARK: [u8; 12] = *b"FTPACK\x00\x00\x00\x00\x00\x02";
const ENTRY: usize = 24;
const COUNT: usize = 8;
const SUM: usize = 4;

/// The position of an image in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub offset: u64,
    pub width: u32,
    pub height: u32,
    /// CRC-32 of its pixels; none where the whole file's digest was verified instead.
    pub crc32: Option<u32>,
}

impl Place {
    /// The image's bytes within the file, if they are undamaged.
    pub fn sound(self, pixels: &[u8]) -> Option<&[u8]> {
        let bytes = self.of(pixels)?;
        self.crc32.is_none_or(|sum| crc32(bytes) == sum).then_some(bytes)
    }

    /// The image's bytes within the file.
    pub fn of(self, pixels: &[u8]) -> Option<&[u8]> {
        let start = usize::try_from(self.offset).ok()?;
        let length = usize::try_from(pixels::byte_count(self.width, self.height)).ok()?;
        pixels.get(start..start.checked_add(length)?)
    }
}

/// A file being written.
pub struct PackWriter {
    out: BufWriter<OutputFile>,
    hasher: Hasher,
    index: Vec<u8>,
    count: u64,
}

impl PackWriter {
    pub fn new(file: OutputFile) -> Self {
        Self {
            out: BufWriter::with_capacity(1 << 20, file),
            hasher: Hasher::new(),
            index: Vec::new(),
            count: 0,
        }
    }

    /// Appends an image; `id` is its id in the manifest.
    pub fn push(&mut self, id: u32, image: &Image) -> io::Result<()> {
        let offset = self.hasher.bytes();
        for number in [id, image.width, image.height] {
            self.index.extend(number.to_le_bytes());
        }
        self.index.extend(offset.to_le_bytes());
        self.index.extend(crc32(&image.rgb).to_le_bytes());
        self.count += 1;
        self.write(&image.rgb)
    }

    /// Completes the file; returns it as an artifact of this name.
    pub fn finish(mut self, name: &str) -> io::Result<Artifact> {
        let mut end = std::mem::take(&mut self.index);
        end.extend(self.count.to_le_bytes());
        end.extend(crc32(&end).to_le_bytes());
        end.extend(MARK);
        self.write(&end)?;
        self.out.flush()?;
        let bytes = self.hasher.bytes();
        Ok(Artifact {
            file: name.to_owned(),
            bytes,
            sha256: self.hasher.finish(),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.out.write_all(bytes)
    }
}

/// An existing file.
pub struct PackFile {
    pub pixels: Mmap,
    /// By the ids of the images.
    pub places: HashMap<u32, Place>,
}

impl PackFile {
    /// # Errors
    /// It is not such a file, is truncated, or its index is damaged. Its pixels are checked image by image.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let pixels = mapped(path)?;
        let places = read_index(&pixels).context("it is not a pack of images, or is truncated")?;
        for place in places.values() {
            ensure!(place.of(&pixels).is_some(), "an image is outside the file");
        }
        Ok(Self { pixels, places })
    }
}

fn read_index(file: &[u8]) -> Option<HashMap<u32, Place>> {
    let rest = file.strip_suffix(&MARK)?;
    let (rest, sum) = rest.split_at_checked(rest.len().checked_sub(SUM)?)?;
    let entries = rest.len().checked_sub(COUNT)?;
    let count = usize::try_from(u64::from_le_bytes(rest[entries..].try_into().ok()?)).ok()?;
    let begin = entries.checked_sub(count.checked_mul(ENTRY)?)?;
    if crc32(&rest[begin..]).to_le_bytes() != sum {
        return None;
    }
    let number = |entry: &[u8], at: usize| Some(u32::from_le_bytes(entry.get(at..at + 4)?.try_into().ok()?));
    rest[begin..entries]
        .chunks_exact(ENTRY)
        .map(|entry| {
            let place = Place {
                offset: u64::from_le_bytes(entry.get(12..20)?.try_into().ok()?),
                width: number(entry, 4)?,
                height: number(entry, 8)?,
                crc32: Some(number(entry, 20)?),
            };
            Some((number(entry, 0)?, place))
        })
        .collect()
}

/// A memory-mapped file.
pub fn mapped(path: &Path) -> anyhow::Result<Mmap> {
    of_file(&File::open(path)?)
}

/// The same, or none if the file does not exist.
pub fn mapped_if_there(path: &Path) -> anyhow::Result<Option<Mmap>> {
    match File::open(path) {
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(None),
        file => of_file(&file?).map(Some),
    }
}

fn of_file(file: &File) -> anyhow::Result<Mmap> {
    // SAFETY: the file belongs to this run or is an immutable blob of the server; nobody truncates or modifies it.
    Ok(unsafe { Mmap::map(file)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{files::digest, worker::process::stored::tests::flipping};

    #[test]
    fn images_are_found_by_their_ids_and_a_cut_file_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pack");
        let image = |value: u8, width: u32| Image {
            width,
            height: 2,
            rgb: vec![value; 6 * width as usize],
        };
        let mut writer = PackWriter::new(OutputFile::new(File::create(&path).unwrap(), None));
        writer.push(7, &image(1, 3)).unwrap();
        writer.push(2, &image(9, 5)).unwrap();
        let artifact = writer.finish("pack").unwrap();
        assert_eq!(digest::of_file(&path).unwrap(), (artifact.sha256, artifact.bytes));

        let pack = PackFile::open(&path).unwrap();
        assert_eq!(pack.places.len(), 2);
        assert_eq!(pack.places[&2].of(&pack.pixels).unwrap(), image(9, 5).rgb);
        assert_eq!((pack.places[&7].width, pack.places[&7].height), (3, 2));
        let bytes = std::fs::read(&path).unwrap();
        for length in 1..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(PackFile::open(&path).is_err(), "{length} bytes");
        }
        // As many images as the whole file has room for, and one more.
        let mut lying = bytes.clone();
        let at = bytes.len() - COUNT - SUM - MARK.len();
        lying[at] = (bytes.len() / ENTRY) as u8 + 1;
        std::fs::write(&path, &lying).unwrap();
        assert!(PackFile::open(&path).is_err());
        std::fs::write(&path, &bytes).unwrap();
        flipping(&path, 4 * bytes.len(), || {
            let Ok(pack) = PackFile::open(&path) else { return };
            let [seven, two] = [7, 2].map(|id| pack.places[&id].sound(&pack.pixels));
            assert!(seven.is_none() != two.is_none(), "it is one bit of one image");
        });
    }
}
