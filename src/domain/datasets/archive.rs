//! Detects the kind of an archive: by content, never by name. What is none is named, with what to do.

/// How many of the first bytes are enough to detect the kind.
pub const ENOUGH: usize = 512;

/// The accepted kinds of archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveKind {
    Zip,
    Tar,
    /// A tar file compressed with gzip, in one or more members; likewise the following.
    TarGz,
    TarBz2,
    TarXz,
    TarZst,
}

impl ArchiveKind {
    /// For messages.
    pub const TAKEN: &'static str = "zip, tar, tar.gz, tar.bz2, tar.xz and tar.zst";

    /// Detects the kind from the first [`ENOUGH`] bytes, or from all of them if there are fewer.
    pub fn of(head: &[u8]) -> Option<Self> {
        match head {
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Some(ArchiveKind::Zip),
            [0x1f, 0x8b, 0x08, ..] => Some(ArchiveKind::TarGz),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some(ArchiveKind::TarBz2),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(ArchiveKind::TarXz),
            // A frame, or one to be skipped, as programs write that compress with several threads.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(ArchiveKind::TarZst),
            _ => is_tar_header(head).then_some(ArchiveKind::Tar),
        }
    }

    /// The program that compressed it, for messages.
    pub fn compression(self) -> Option<&'static str> {
        match self {
            ArchiveKind::Zip | ArchiveKind::Tar => None,
            ArchiveKind::TarGz => Some("gzip"),
            ArchiveKind::TarBz2 => Some("bzip2"),
            ArchiveKind::TarXz => Some("xz"),
            ArchiveKind::TarZst => Some("zstd"),
        }
    }
}

/// What a file is that is no accepted archive, by its first [`ENOUGH`] bytes, and what to do with it. Ends a sentence that begins with
/// "this is".
pub fn foreign(head: &[u8]) -> String {
    match FOREIGN
        .iter()
        .find(|(begins, _, _)| begins.iter().any(|begin| head.starts_with(begin)))
    {
        Some((_, what, advice)) => format!("{what}; {advice}"),
        None if head.is_empty() => "an empty file; send the archive itself".to_owned(),
        None if is_web_page(head) => {
            "a web page, as when a download needs a login; download the archive again and look at it first"
                .to_owned()
        }
        None if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP") => {
            format!("a WebP image; {LONE_IMAGE}")
        }
        None if is_text(head) => "a text; send an archive of the images".to_owned(),
        None => format!("no archive; pack the folder of images: {PACK}"),
    }
}

const PACK: &str = "`tar czf photos.tar.gz photos`";
const LONE_IMAGE: &str = "put the images of each class into a folder of its own and pack the folder around them: `tar czf photos.tar.gz photos`";
const TABLE: &str = "pack it in one archive with the images that it is about: `tar czf photos.tar.gz photos`";

/// How files begin, what they are, what to do.
type Known = (&'static [&'static [u8]], &'static str, &'static str);

const FOREIGN: &[Known] = &[
    (
        &[b"Rar!"],
        "a RAR archive",
        "unpack it and pack the folder again: `unrar x FILE.rar photos/ && tar czf photos.tar.gz photos`",
    ),
    (
        &[b"7z\xbc\xaf"],
        "a 7z archive",
        "unpack it and pack the folder again: `7z x FILE.7z -ophotos && tar czf photos.tar.gz photos`",
    ),
    (
        &[b"PK\x07\x08"],
        "one part of a zip archive in several parts",
        "join them: `zip -s 0 FILE.zip --out whole.zip`",
    ),
    (
        &[b"\x1f\x9d", b"\x1f\xa0"],
        "compressed with `compress`",
        "compress it with gzip: `gzip -dc FILE.tar.Z | gzip > FILE.tar.gz`",
    ),
    (
        &[b"LZIP"],
        "compressed with lzip",
        "compress it with gzip: `lzip -dc FILE.tar.lz | gzip > FILE.tar.gz`",
    ),
    (
        &[b"\x04\x22\x4d\x18", b"\x02\x21\x4c\x18"],
        "compressed with lz4",
        "compress it with gzip: `lz4 -dc FILE.tar.lz4 | gzip > FILE.tar.gz`",
    ),
    (
        &[b"\x89LZO"],
        "compressed with lzop",
        "compress it with gzip: `lzop -dc FILE.tar.lzo | gzip > FILE.tar.gz`",
    ),
    (
        &[b"\x5d\0\0"],
        "compressed with LZMA",
        "compress it with gzip: `xz -dc --format=lzma FILE.tar.lzma | gzip > FILE.tar.gz`",
    ),
    (
        &[b"MSCF"],
        "a cabinet archive",
        "unpack it and pack the folder again: `cabextract -d photos FILE.cab && tar czf photos.tar.gz photos`",
    ),
    (
        &[b"\x60\xea"],
        "an ARJ archive",
        "unpack it and pack the folder again: `7z x FILE.arj -ophotos && tar czf photos.tar.gz photos`",
    ),
    (
        &[b"xar!"],
        "a xar archive",
        "unpack it and pack the folder again: `mkdir photos && xar -xf FILE -C photos && tar czf photos.tar.gz photos`",
    ),
    (
        &[b"!<arch>\n"],
        "an ar archive",
        "unpack it and pack the folder again: `ar x FILE && tar czf photos.tar.gz photos`",
    ),
    (
        &[b"070701", b"070702", b"070707"],
        "a cpio archive",
        "unpack it and pack the folder again: `mkdir photos && cd photos && cpio -id < ../FILE.cpio && tar czf ../photos.tar.gz .`",
    ),
    (&[b"\xff\xd8\xff"], "a JPEG image", LONE_IMAGE),
    (&[b"\x89PNG"], "a PNG image", LONE_IMAGE),
    (&[b"GIF8"], "a GIF image", LONE_IMAGE),
    (&[b"II*\0", b"MM\0*"], "a TIFF image", LONE_IMAGE),
    (
        &[b"%PDF"],
        "a PDF document",
        "send the images themselves, packed: `tar czf photos.tar.gz photos`",
    ),
    (
        &[b"PAR1"],
        "a Parquet table",
        "write its images into files, in a folder for each class, and pack them: `tar czf photos.tar.gz photos`",
    ),
    (
        &[b"\x89HDF"],
        "an HDF5 file",
        "write its images into files, in a folder for each class, and pack them: `tar czf photos.tar.gz photos`",
    ),
    (
        &[b"\x93NUMPY"],
        "a NumPy array",
        "write its images into files, in a folder for each class, and pack them: `tar czf photos.tar.gz photos`",
    ),
    (
        &[b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"],
        "a pickle of Python",
        "write its images into files, in a folder for each class, and pack them: `tar czf photos.tar.gz photos`",
    ),
    (
        &[b"SQLite format 3\0"],
        "an SQLite database",
        "write its images into files, in a folder for each class, and pack them: `tar czf photos.tar.gz photos`",
    ),
    (
        &[b"version https://git-lfs"],
        "a pointer of Git LFS in place of the file",
        "fetch the file itself: `git lfs pull`",
    ),
    (&[b"{", b"["], "JSON", TABLE),
];

fn is_web_page(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head)
        .trim_start_matches('\u{feff}')
        .trim_start()
        .to_ascii_lowercase();
    ["<!doctype", "<html", "<?xml", "<head"]
        .iter()
        .any(|begin| text.starts_with(begin))
}

fn is_text(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    // The head may end in the middle of a character.
    let text = text.trim_end_matches('\u{fffd}');
    !text.is_empty()
        && text
            .chars()
            .all(|it| it != '\u{fffd}' && (!it.is_control() || it.is_whitespace()))
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
    let sum = |range: &[u8]| range.iter().map(|&byte| u32::from(byte)).sum::<u32>();
    let expected = sum(&header[..148]) + 8 * u32::from(b' ') + sum(&header[156..]);
    let told = str::from_utf8(&header[148..156])
        .ok()
        .map(|text| text.trim_matches(['\0', ' ']))
        .and_then(|text| u32::from_str_radix(text, 8).ok());
    told == Some(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_are_told_apart_and_others_are_none() {
        for (head, kind) in [
            (&b"PK\x03\x04rest"[..], ArchiveKind::Zip),
            (b"PK\x05\x06rest", ArchiveKind::Zip),
            (&[0x1f, 0x8b, 8, 0], ArchiveKind::TarGz),
            (b"BZh91AY&SY", ArchiveKind::TarBz2),
            (b"\xfd7zXZ\0\0\x04", ArchiveKind::TarXz),
            (b"\x28\xb5\x2f\xfd\x04\0", ArchiveKind::TarZst),
            (b"\x50\x2a\x4d\x18\x04\0\0\0", ArchiveKind::TarZst),
        ] {
            assert_eq!(ArchiveKind::of(head), Some(kind));
        }
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
            b"BZhello",
            &[b'x'; 600],
        ] {
            assert_eq!(ArchiveKind::of(other), None);
        }
    }

    #[test]
    fn what_is_no_archive_is_named_with_what_to_do() {
        for (head, what, advice) in [
            (&b"Rar!\x1a\x07\x01\0"[..], "RAR", "unrar x"),
            (b"7z\xbc\xaf\x27\x1c", "7z", "7z x"),
            (b"PK\x07\x08PK\x03\x04", "several parts", "zip -s 0"),
            (b"\x1f\x9d\x90", "`compress`", "gzip -dc"),
            (b"LZIP\x01", "lzip", "lzip -dc"),
            (b"\x04\x22\x4d\x18", "lz4", "lz4 -dc"),
            (b"\x5d\0\0\x80\0\xff", "LZMA", "xz -dc"),
            (b"\xff\xd8\xff\xe0", "JPEG", "folder"),
            (b"RIFF\0\0\0\0WEBPVP8 ", "WebP", "folder"),
            (b"\n<!DOCTYPE html><title>Sign in</title>", "web page", "login"),
            (
                b"version https://git-lfs.github.com/spec/v1",
                "Git LFS",
                "git lfs pull",
            ),
            (b"{\"images\": []}", "JSON", "images"),
            (b"file,label\n", "text", "images"),
            (b"", "empty", "send"),
            (b"\x7fELF\x02\x01\x01", "no archive", "tar czf"),
        ] {
            let said = foreign(head);
            assert!(said.contains(what) && said.contains(advice), "{said}");
        }
    }
}
