//! Headers of a tar archive that describe the following entry: long names of GNU tar, records of POSIX (pax).
//!
//! Programs disagree on what counts when two descriptions of one entry differ, and an archive can be crafted that shows different files to
//! different programs. Such archives are refused (CVE-2025-62518, CVE-2026-33055).

use std::io::{self, Read};

use tar::{EntryType, Header};

/// Why a description cannot be used.
#[derive(Debug)]
pub enum Fault {
    Unreadable(io::Error),
    /// What the archive does, for a person.
    Contradictory(&'static str),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault::Unreadable(error)
    }
}

type Record<'a> = (&'a [u8], &'a [u8]);

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Described {
    pub name: Option<Vec<u8>>,
    /// Where a link leads to.
    pub target: Option<Vec<u8>>,
    /// Whether the name is UTF-8, as the records of POSIX are.
    pub is_utf_8: bool,
    /// The bytes in the archive are not those of the file, which has holes.
    pub sparse: bool,
    size: Option<u64>,
}

impl Described {
    /// Whether this entry is not a file but a description, which is then recorded. It is read into memory: whoever provides the stream
    /// limits it.
    pub fn take_in<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> Result<bool, Fault> {
        let kind = entry.header().entry_type();
        match kind {
            EntryType::GNULongName => {
                let name = until_zero(contents(entry)?);
                self.set_name(&name)?;
            }
            EntryType::GNULongLink => {
                let target = until_zero(contents(entry)?);
                self.set_target(&target)?;
            }
            EntryType::XGlobalHeader => check_global(&contents(entry)?)?,
            // Solaris writes the same with its own type letter.
            kind if kind == EntryType::XHeader || kind.as_byte() == b'X' => {
                for (key, value) in records(&contents(entry)?)? {
                    self.take_record(key, value)?;
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn take_record(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        match key {
            // In a sparse file this is the name, and `path` a made-up one.
            b"GNU.sparse.name" => {
                self.name = Some(value.to_vec());
                self.sparse = true;
            }
            b"path" if !self.sparse => {
                self.set_name(value)?;
                self.is_utf_8 = true;
            }
            b"linkpath" => self.set_target(value)?,
            b"size" => {
                let size = str::from_utf8(value).ok().and_then(|size| size.parse().ok());
                self.size = Some(size.ok_or_else(malformed)?);
            }
            key if key.starts_with(b"GNU.sparse.") => self.sparse = true,
            _ => {}
        }
        Ok(())
    }

    fn set_name(&mut self, name: &[u8]) -> Result<(), Fault> {
        if self.name.as_deref().is_some_and(|other| other != name) {
            return Err(Fault::Contradictory("gives a file two names"));
        }
        self.name = Some(name.to_vec());
        Ok(())
    }

    fn set_target(&mut self, target: &[u8]) -> Result<(), Fault> {
        if self.target.as_deref().is_some_and(|other| other != target) {
            return Err(Fault::Contradictory("gives a link two targets"));
        }
        self.target = Some(target.to_vec());
        Ok(())
    }

    /// Checks the description against the entry's own header.
    pub fn check(&self, header: &Header) -> Result<(), Fault> {
        let kind = header.entry_type();
        let size = header.entry_size()?;
        if self.size.is_some_and(|other| other != size) {
            return Err(Fault::Contradictory("gives a file two sizes"));
        }
        // Some programs skip the bytes of an entry that should have none, and others continue reading in the middle of them.
        let has_no_bytes = matches!(
            kind,
            EntryType::Link
                | EntryType::Symlink
                | EntryType::Char
                | EntryType::Block
                | EntryType::Directory
                | EntryType::Fifo
        );
        if has_no_bytes && size > 0 {
            return Err(Fault::Contradictory("gives a folder or a link a size"));
        }
        // The rest of the map is where the tar crate looks for the next entry.
        if kind == EntryType::GNUSparse && header.as_gnu().is_none_or(|header| header.is_extended()) {
            return Err(Fault::Contradictory("contains a sparse file of many parts"));
        }
        Ok(())
    }
}

/// Global headers must not contain anything that only a single entry can have.
fn check_global(bytes: &[u8]) -> Result<(), Fault> {
    let of_one =
        |key: &[u8]| matches!(key, b"path" | b"linkpath" | b"size") || key.starts_with(b"GNU.sparse");
    if records(bytes)?.iter().any(|(key, _)| of_one(key)) {
        return Err(Fault::Contradictory("gives all its files one name or one size"));
    }
    Ok(())
}

fn until_zero(mut name: Vec<u8>) -> Vec<u8> {
    let end = name.iter().position(|&byte| byte == 0);
    name.truncate(end.unwrap_or(name.len()));
    name
}

fn contents<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < entry.size() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

/// Records are `LENGTH KEY=VALUE\n`, the length being that of the whole record: values may contain anything, including line breaks.
fn records(mut bytes: &[u8]) -> io::Result<Vec<Record<'_>>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let (record, rest) = first_record(bytes).ok_or_else(malformed)?;
        records.push(record);
        bytes = rest;
    }
    Ok(records)
}

fn first_record(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let space = bytes.iter().take(20).position(|&byte| byte == b' ')?;
    let length: usize = str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    let (record, rest) = bytes.split_at_checked(length)?;
    let text = record.strip_suffix(b"\n")?.get(space + 1..)?;
    let equals = text.iter().position(|&byte| byte == b'=')?;
    Some(((&text[..equals], &text[equals + 1..]), rest))
}

fn malformed() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
        let rest = [b" ", key, b"=", value, b"\n"].concat();
        let mut length = rest.len();
        while length != rest.len() + length.to_string().len() {
            length = rest.len() + length.to_string().len();
        }
        [length.to_string().as_bytes(), &rest].concat()
    }

    #[test]
    fn records_are_told_apart_by_their_length_alone() {
        let bytes = [
            record(b"SCHILY.xattr.user.note", b"a\n12 path=evil\n\0\xff"),
            record(b"path", "ants/\u{e9}=1.jpg".as_bytes()),
        ]
        .concat();
        let read = records(&bytes).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read[1], (&b"path"[..], "ants/\u{e9}=1.jpg".as_bytes()));
        for broken in [
            &b"12 path=evil"[..],
            b"8 path=a\n",
            b"x path=a\n",
            b"-1 a=b\n",
            b"0 a=b\n",
            b"6 ab\n",
            b"18446744073709551616 a=b\n",
        ] {
            assert!(records(broken).is_err(), "{}", broken.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reading_of_records(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = records(&bytes);
        }

        #[test]
        fn what_is_written_is_read(key in "[a-zA-Z.]{1,30}", value in proptest::collection::vec(any::<u8>(), 0..300)) {
            let bytes = record(key.as_bytes(), &value);
            prop_assert_eq!(records(&bytes).unwrap(), vec![(key.as_bytes(), value.as_slice())]);
        }
    }
}
