//! A file of packed pictures that says where in it each of them lies: what a run makes, and what later runs over the dataset go on with.
//!
//! The pixels come first, picture after picture; then 24 bytes for each: id, width, height (32 bits each), where it begins (64 bits), the
//! CRC-32 of its pixels; last how many there are (64 bits), the CRC-32 of all that follows the pixels so far, and a mark (96 bits).
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
        pixels::{self, Picture},
        process::{disk::OutputFile, stored::crc32},
    },
};

/// The last byte grows with the format: a file of an earlier one is none, and is made again.
const MARK: [u8; 12] = *b"FTPACK\x00\x00\x00\x00\x00\x02";
const ENTRY: usize = 24;
const COUNT: usize = 8;
const SUM: usize = 4;

/// Where a picture lies in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub offset: u64,
    pub width: u32,
    pub height: u32,
    /// CRC-32 of its pixels; none where the whole file was held to its digest instead.
    pub crc32: Option<u32>,
}

impl Place {
    /// The picture's bytes among those of its file, if they are those that were written.
    pub fn sound(self, pixels: &[u8]) -> Option<&[u8]> {
        let bytes = self.of(pixels)?;
        self.crc32.is_none_or(|sum| crc32(bytes) == sum).then_some(bytes)
    }

    /// The picture's bytes among those of its file.
    pub fn of(self, pixels: &[u8]) -> Option<&[u8]> {
        let start = usize::try_from(self.offset).ok()?;
        let length = usize::try_from(pixels::byte_count(self.width, self.height)).ok()?;
        pixels.get(start..start.checked_add(length)?)
    }
}

/// A file that is being written.
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

    /// Appends a picture; `id` is the image's in its manifest.
    pub fn push(&mut self, id: u32, picture: &Picture) -> io::Result<()> {
        let offset = self.hasher.bytes();
        for number in [id, picture.width, picture.height] {
            self.index.extend(number.to_le_bytes());
        }
        self.index.extend(offset.to_le_bytes());
        self.index.extend(crc32(&picture.rgb).to_le_bytes());
        self.count += 1;
        self.write(&picture.rgb)
    }

    /// Ends the file; what it is as an artifact of this name.
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

/// A file that is there.
pub struct PackFile {
    pub pixels: Mmap,
    /// By the ids of the images.
    pub places: HashMap<u32, Place>,
}

impl PackFile {
    /// # Errors
    /// It is no such file, it is cut short, or what it says of its pictures is damaged. Its pixels are looked at with each picture.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let pixels = mapped(path)?;
        let places = read_index(&pixels).context("it is no pack of pictures, or cut short")?;
        for place in places.values() {
            ensure!(place.of(&pixels).is_some(), "a picture lies outside of it");
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

/// A file as memory.
pub fn mapped(path: &Path) -> anyhow::Result<Mmap> {
    of_file(&File::open(path)?)
}

/// The same, or none where the file is not there.
pub fn mapped_if_there(path: &Path) -> anyhow::Result<Option<Mmap>> {
    match File::open(path) {
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(None),
        file => of_file(&file?).map(Some),
    }
}

fn of_file(file: &File) -> anyhow::Result<Mmap> {
    // SAFETY: the file belongs to this run or is an immutable blob of the server; nobody shortens or changes it.
    Ok(unsafe { Mmap::map(file)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{files::digest, worker::process::stored::tests::flipping};

    #[test]
    fn pictures_are_found_by_their_ids_and_a_cut_file_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pack");
        let picture = |value: u8, width: u32| Picture {
            width,
            height: 2,
            rgb: vec![value; 6 * width as usize],
        };
        let mut writer = PackWriter::new(OutputFile::new(File::create(&path).unwrap(), None));
        writer.push(7, &picture(1, 3)).unwrap();
        writer.push(2, &picture(9, 5)).unwrap();
        let artifact = writer.finish("pack").unwrap();
        assert_eq!(digest::of_file(&path).unwrap(), (artifact.sha256, artifact.bytes));

        let pack = PackFile::open(&path).unwrap();
        assert_eq!(pack.places.len(), 2);
        assert_eq!(pack.places[&2].of(&pack.pixels).unwrap(), picture(9, 5).rgb);
        assert_eq!((pack.places[&7].width, pack.places[&7].height), (3, 2));
        let bytes = std::fs::read(&path).unwrap();
        for length in 1..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(PackFile::open(&path).is_err(), "{length} bytes");
        }
        // As many pictures as the whole file has room for, and one more.
        let mut lying = bytes.clone();
        let at = bytes.len() - COUNT - SUM - MARK.len();
        lying[at] = (bytes.len() / ENTRY) as u8 + 1;
        std::fs::write(&path, &lying).unwrap();
        assert!(PackFile::open(&path).is_err());
        std::fs::write(&path, &bytes).unwrap();
        flipping(&path, 4 * bytes.len(), || {
            let Ok(pack) = PackFile::open(&path) else { return };
            let [seven, two] = [7, 2].map(|id| pack.places[&id].sound(&pack.pixels));
            assert!(seven.is_none() != two.is_none(), "it is one bit of one picture");
        });
    }
}
