//! Detects the kind of an archive: by content, never by name.

/// How many of the first bytes are enough to detect the kind.
pub const ENOUGH: usize = 512;

/// The accepted kinds of archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveKind {
    Zip,
    Tar,
    /// A tar file compressed with gzip, in one or more members.
    TarGz,
}

impl ArchiveKind {
    /// For messages.
    pub const TAKEN: &'static str = "zip, tar and tar.gz";

    /// Detects the kind from the first [`ENOUGH`] bytes, or from all of them if there are fewer.
    pub fn of(head: &[u8]) -> Option<Self> {
        if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
            return Some(ArchiveKind::Zip);
        }
        if head.starts_with(&[0x1f, 0x8b, 0x08]) {
            return Some(ArchiveKind::TarGz);
        }
        is_tar_header(head).then_some(ArchiveKind::Tar)
    }
}

/// A tar header (POSIX.1-1988, ustar) contains the sum of its own bytes, with its checksum field counted as spaces. An all-zero block is
/// the end of an empty archive.
fn is_tar_header(head: &[u8]) -> bool {
    let Some(header) = head.get(..512) else {
        return false;
    };
    if header.iter().all(|&byte| byte == 0) {
        return true;
    }
    let told: String = header[148..156]
        .iter()
        .map(|&b| b as char)
        .filter(char::is_ascii_digit)
        .collect();
    let sum: u32 = header
        .iter()
        .enumerate()
        .map(|(i, &byte)| {
            if (148..156).contains(&i) {
                32
            } else {
                u32::from(byte)
            }
        })
        .sum();
    u32::from_str_radix(&told, 8).is_ok_and(|told| told == sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_kinds_are_told_apart_and_others_are_none() {
        assert_eq!(ArchiveKind::of(b"PK\x03\x04rest"), Some(ArchiveKind::Zip));
        assert_eq!(ArchiveKind::of(&[0x1f, 0x8b, 8, 0]), Some(ArchiveKind::TarGz));
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(2);
        tar.append_data(&mut header, "a/b.jpg", &b"xy"[..]).unwrap();
        assert_eq!(
            ArchiveKind::of(&tar.into_inner().unwrap()),
            Some(ArchiveKind::Tar)
        );
        for other in [
            &b"7z\xbc\xaf\x27\x1c"[..],
            b"Rar!\x1a\x07",
            b"<html>",
            b"",
            &[b'x'; 600],
        ] {
            assert_eq!(ArchiveKind::of(other), None);
        }
    }
}
