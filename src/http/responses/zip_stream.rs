//! Writes a zip file of uncompressed entries as a stream (APPNOTE 6.3.10). Its size is known in advance, so the response has a length, and
//! the same entries give the same bytes. (The `zip` crate needs seeking or omits the lengths.)

/// Flag 11: names are UTF-8.
const FLAGS: u16 = 1 << 11;
/// Version needed: 2.0 for folders, 4.5 for zip64.
const VERSION: u16 = 20;
const VERSION_64: u16 = 45;
/// 1980-01-01, the earliest date in zip: the time of the download must not change the file.
const DATE: u16 = (1 << 5) | 1;
/// The value is in the zip64 record instead.
const IN_64: u32 = u32::MAX;
const LOCAL_HEADER: u64 = 30;
const CENTRAL_HEADER: u64 = 46;
const EXTRA_64: u64 = 12;
const END_64: u64 = 56 + 20;
const END: u64 = 22;

/// Computes the size of a zip file, entry by entry.
#[derive(Default)]
pub struct ZipLength {
    entries: u64,
    files: u64,
    directory: u64,
}

impl ZipLength {
    pub fn add(&mut self, name: &str, bytes: u64) {
        let name = name.len() as u64;
        let extra = if self.files >= u64::from(IN_64) {
            EXTRA_64
        } else {
            0
        };
        self.entries += 1;
        self.directory += CENTRAL_HEADER + name + extra;
        self.files += LOCAL_HEADER + name + bytes;
    }

    pub fn bytes(&self) -> u64 {
        let end = if needs_64(self.entries, self.files, self.directory) {
            END_64 + END
        } else {
            END
        };
        self.files + self.directory + end
    }
}

/// Writes a zip file: the header of each file, followed by the file's bytes from the caller, and the directory at the end.
#[derive(Default)]
pub struct ZipHeaders {
    entries: u64,
    /// Offset of the next file.
    offset: u64,
    directory: Vec<u8>,
}

impl ZipHeaders {
    /// The header before a file. `crc` is the CRC-32 of the file's bytes.
    pub fn file(&mut self, name: &str, bytes: u32, crc: u32) -> Vec<u8> {
        let about = |out: &mut Vec<u8>, extra: u16| {
            put16(out, &[FLAGS, 0, 0, DATE]);
            put32(out, &[crc, bytes, bytes]);
            put16(out, &[name.len() as u16, extra]);
        };
        let mut header = b"PK\x03\x04".to_vec();
        put16(&mut header, &[VERSION]);
        about(&mut header, 0);
        header.extend(name.as_bytes());

        let far = self.offset >= u64::from(IN_64);
        let needed = if far { VERSION_64 } else { VERSION };
        let central = &mut self.directory;
        central.extend(b"PK\x01\x02");
        put16(central, &[needed, needed]);
        about(central, if far { EXTRA_64 as u16 } else { 0 });
        // No comment, first disk, no attributes.
        put16(central, &[0, 0, 0]);
        put32(central, &[0, if far { IN_64 } else { self.offset as u32 }]);
        central.extend(name.as_bytes());
        if far {
            put16(central, &[1, 8]);
            central.extend(self.offset.to_le_bytes());
        }
        self.entries += 1;
        self.offset += header.len() as u64 + u64::from(bytes);
        header
    }

    /// The records after the last file.
    pub fn finish(self) -> Vec<u8> {
        let (entries, at, length) = (self.entries, self.offset, self.directory.len() as u64);
        let mut out = self.directory;
        if needs_64(entries, at, length) {
            out.extend(b"PK\x06\x06");
            put64(&mut out, &[END_64 - 20 - 12]);
            put16(&mut out, &[VERSION_64, VERSION_64]);
            put32(&mut out, &[0, 0]);
            put64(&mut out, &[entries, entries, length, at]);
            out.extend(b"PK\x06\x07");
            put32(&mut out, &[0]);
            put64(&mut out, &[at + length]);
            put32(&mut out, &[1]);
        }
        let short = |number: u64| u16::try_from(number).unwrap_or(u16::MAX);
        let long = |number: u64| u32::try_from(number).unwrap_or(IN_64);
        out.extend(b"PK\x05\x06");
        put16(&mut out, &[0, 0, short(entries), short(entries)]);
        put32(&mut out, &[long(length), long(at)]);
        put16(&mut out, &[0]);
        out
    }
}

fn needs_64(entries: u64, offset: u64, directory: u64) -> bool {
    entries >= u64::from(u16::MAX) || offset >= u64::from(IN_64) || directory >= u64::from(IN_64)
}

fn put16(out: &mut Vec<u8>, numbers: &[u16]) {
    out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

fn put32(out: &mut Vec<u8>, numbers: &[u32]) {
    out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

fn put64(out: &mut Vec<u8>, numbers: &[u64]) {
    out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use super::*;

    fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
        let (mut length, mut headers, mut out) = (ZipLength::default(), ZipHeaders::default(), Vec::new());
        for (name, bytes) in files {
            let mut crc = flate2::Crc::new();
            crc.update(bytes);
            length.add(name, bytes.len() as u64);
            out.extend(headers.file(name, bytes.len() as u32, crc.sum()));
            out.extend(bytes);
        }
        out.extend(headers.finish());
        assert_eq!(out.len() as u64, length.bytes());
        out
    }

    #[test]
    fn any_reader_of_zip_finds_the_files() {
        for count in [0, 1, 3, 70_000] {
            let files: Vec<(String, Vec<u8>)> = (0..count)
                .map(|number| (format!("ü/{number}"), vec![number as u8; number % 50]))
                .collect();
            let mut read = zip::ZipArchive::new(Cursor::new(archive(&files))).unwrap();
            assert_eq!(read.len(), count);
            for number in [0, 1, 2, 69_999] {
                let Some((name, bytes)) = files.get(number) else {
                    continue;
                };
                let mut found = Vec::new();
                read.by_name(name).unwrap().read_to_end(&mut found).unwrap();
                assert_eq!(&found, bytes);
            }
        }
    }

    #[test]
    fn what_begins_past_four_gigabytes_is_said_in_64_bits() {
        let (mut length, mut headers) = (ZipLength::default(), ZipHeaders::default());
        let mut sent = 0;
        for name in ["a", "b", "c"] {
            length.add(name, 3 << 30);
            sent += headers.file(name, 3 << 30, 0).len() as u64 + (3 << 30);
        }
        let end = headers.finish();
        assert_eq!(sent + end.len() as u64, length.bytes());
        let third = (2 * (31 + (3u64 << 30))).to_le_bytes();
        assert!(end.windows(8).any(|window| window == third));
        assert!(end.windows(4).any(|window| window == b"PK\x06\x06"));
    }
}
