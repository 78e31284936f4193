//! Detects the kind of a file by its first bytes. Names and extensions are unreliable hints; this is what decides.

/// An image format that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Jpeg,
    Png,
    Gif,
    WebP,
    Tiff,
    Bmp,
    /// PBM, PGM, PPM and PAM.
    Pnm,
    Jpeg2000,
    Dicom,
}

/// The kind of a file, detected by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A supported image format. A TIFF may still turn out to be camera raw.
    Image(Format),
    /// An unsupported image format, by its usual name.
    OtherImage(&'static str),
    /// A film, or an array of numbers that may be an image, by its usual name: not read, but worth a word where images are expected.
    Other(&'static str),
    NotAnImage,
}

/// Extensions of files that are meant as images, in lower case: if such a file cannot be used, that is worth reporting.
pub const EXTENSIONS: &[&str] = &[
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "dib", "tif", "tiff", "heic", "heif", "hif",
    "avif", "jxl", "jp2", "j2k", "j2c", "jpc", "jpx", "jpf", "svg", "psd", "psb", "ico", "exr", "hdr", "qoi",
    "tga", "pnm", "ppm", "pgm", "pbm", "pam", "pfm", "dcm", "dicom", "jxr", "wdp", "hdp", "jls", "dng",
    "cr2", "cr3", "crw", "nef", "nrw", "arw", "srf", "sr2", "orf", "rw2", "raf", "pef", "srw", "x3f", "3fr",
    "iiq", "erf", "kdc", "dcr", "mrw", "rwl", "mef",
];

/// Detects the kind by the first bytes. 512 are enough for all but SVG, which may have a long prologue.
pub fn content(head: &[u8]) -> Content {
    use Content::Image;
    match head {
        [0xff, 0xd8, 0xff, ..] => Image(Format::Jpeg),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Image(Format::Png),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Image(Format::Gif),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Image(Format::WebP),
        [0, 0, 0, 12, b'j', b'P', b' ', b' ', ..] | [0xff, 0x4f, 0xff, 0x51, ..] => Image(Format::Jpeg2000),
        _ if is_bmp(head) => Image(Format::Bmp),
        _ if is_netpbm(head) => Image(Format::Pnm),
        _ if is_dicom(head) => Image(Format::Dicom),
        _ => match camera_raw(head) {
            Some(name) => Content::OtherImage(name),
            // 43 is BigTIFF, with 64-bit offsets.
            None if matches!(head, [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..]) => {
                Image(Format::Tiff)
            }
            None => other(head),
        },
    }
}

/// Kinds of images that are not read, and kinds of other data.
fn other(head: &[u8]) -> Content {
    use Content::{Other, OtherImage};
    match head {
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => iso_media(head),
        [0xff, 0x0a, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] => OtherImage("JPEG XL"),
        [b'I', b'I', 0xbc, ..] => OtherImage("JPEG XR"),
        [b'8', b'B', b'P', b'S', ..] => OtherImage("Photoshop"),
        [0, 0, 1 | 2, 0, count, 0, ..] if *count > 0 => OtherImage("Windows icon"),
        [0x76, 0x2f, 0x31, 0x01, ..] => OtherImage("OpenEXR"),
        [b'q', b'o', b'i', b'f', ..] => OtherImage("QOI"),
        [b'#', b'?', b'R', b'A', b'D', ..] | [b'#', b'?', b'R', b'G', b'B', b'E', ..] => {
            OtherImage("Radiance HDR")
        }
        [b'P', b'f' | b'F', b'\n', ..] => OtherImage("Portable FloatMap"),
        [0x8a, b'M', b'N', b'G', ..] => OtherImage("MNG"),
        [0x8b, b'J', b'N', b'G', ..] => OtherImage("JNG"),
        [b'g', b'i', b'm', b'p', b' ', b'x', b'c', b'f', ..] => OtherImage("GIMP"),
        [b'B', b'P', b'G', 0xfb, ..] => OtherImage("BPG"),
        [b'A', b'T', b'&', b'T', b'F', b'O', b'R', b'M', ..] => OtherImage("DjVu"),
        [0xd7, 0xcd, 0xc6, 0x9a, ..] => OtherImage("Windows metafile"),
        _ if is_svg(head) => OtherImage("SVG"),
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Other("NumPy array"),
        [b'N', b'R', b'R', b'D', b'0', ..] => Other("NRRD"),
        _ if head.starts_with(b"SIMPLE  =") => Other("FITS"),
        _ if matches!(head.get(344..348), Some(b"n+1\0" | b"ni1\0")) => Other("NIfTI"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', b' ', ..] => Other("AVI video"),
        [0x1a, 0x45, 0xdf, 0xa3, ..] => Other("Matroska or WebM video"),
        [0, 0, 1, 0xba | 0xb3, ..] => Other("MPEG video"),
        [b'F', b'L', b'V', 1, ..] => Other("Flash video"),
        [0x30, 0x26, 0xb2, 0x75, 0x8e, 0x66, 0xcf, 0x11, ..] => Other("Windows Media video"),
        // Packets of 188 bytes, each of which begins with the same byte.
        _ if head.len() > 376 && [0, 188, 376].iter().all(|at| head[*at] == 0x47) => Other("MPEG video"),
        _ => Content::NotAnImage,
    }
}

/// "BM" alone starts many texts: the size of the second header decides.
fn is_bmp(head: &[u8]) -> bool {
    head.starts_with(b"BM")
        && head.get(14..18).is_some_and(|size| {
            let size = [size[0], size[1], size[2], size[3]];
            matches!(u32::from_le_bytes(size), 12 | 16 | 40 | 52 | 56 | 64 | 108 | 124)
        })
}

/// "P1 " alone may start a text: a number follows, or a comment; for P7 the name of a field.
fn is_netpbm(head: &[u8]) -> bool {
    let [b'P', kind @ b'1'..=b'7', b'\n' | b' ' | b'\r' | b'\t', rest @ ..] = head else {
        return false;
    };
    let next = rest.trim_ascii_start();
    match (kind, next.first()) {
        (b'7', _) => [&b"WIDTH"[..], b"HEIGHT", b"DEPTH", b"MAXVAL", b"TUPLTYPE", b"#"]
            .iter()
            .any(|field| next.starts_with(field)),
        (_, first) => first.is_some_and(|first| first.is_ascii_digit() || *first == b'#'),
    }
}

/// With its preamble of 128 bytes, whatever they are, or from before there was one: the first element then is of group 8, with a type of two
/// letters or a small length (PS3.10).
fn is_dicom(head: &[u8]) -> bool {
    if head.get(128..132) == Some(b"DICM") {
        return true;
    }
    let [8, 0, element, 0, rest @ ..] = head else {
        return false;
    };
    matches!(element, 0 | 1 | 5 | 8 | 16)
        && (matches!(rest, [b'U', b'L' | b'I', ..] | [b'C', b'S', ..])
            || matches!(rest, [4 | 8 | 10..=64, 0, 0, 0, ..]))
        && head.len() >= 16
}

/// Camera raw with a signature of its own; that which calls itself a TIFF is found by its tags.
fn camera_raw(head: &[u8]) -> Option<&'static str> {
    Some(match head {
        [b'I', b'I', 42, 0, _, _, _, _, b'C', b'R', 2, ..] => "Canon raw (CR2)",
        [b'I', b'I', b'R', b'O' | b'S', ..] | [b'M', b'M', b'O', b'R', ..] => "Olympus raw (ORF)",
        [b'I', b'I', b'U', 0, ..] => "Panasonic raw (RW2)",
        [b'I', b'I', 42 | 43, 0, _, _, _, _, b'I', b'I', b'I', b'I', ..]
        | [b'M', b'M', 0, 42 | 43, _, _, _, _, b'M', b'M', b'M', b'M', ..] => "Phase One raw (IIQ)",
        [b'F', b'O', b'V', b'b', ..] => "Sigma raw (X3F)",
        [0, b'M', b'R', b'M', ..] => "Minolta raw (MRW)",
        [
            b'I',
            b'I',
            _,
            _,
            _,
            _,
            b'H',
            b'E',
            b'A',
            b'P',
            b'C',
            b'C',
            b'D',
            b'R',
            ..,
        ] => "Canon raw (CRW)",
        _ if head.starts_with(b"FUJIFILMCCD-RAW") => "Fujifilm raw (RAF)",
        [_, _, _, _, b'f', b't', b'y', b'p', b'c', b'r', b'x', b' ', ..] => "Canon raw (CR3)",
        _ => return None,
    })
}

/// ISO base media files, by their major brand, or if that is a general one by those that they are compatible with.
fn iso_media(head: &[u8]) -> Content {
    let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let brands = head.get(8..size.clamp(8, head.len().max(8))).unwrap_or_default();
    let named = |brand: &[u8]| match brand {
        b"avif" | b"avis" => Some("AVIF"),
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"hevm" | b"hevs" => Some("HEIC"),
        _ => None,
    };
    // The four bytes after the major brand are its version.
    let compatible = || {
        brands
            .get(8..)
            .unwrap_or_default()
            .chunks_exact(4)
            .find_map(named)
    };
    match brands.get(..4) {
        Some(brand) if named(brand).is_some() => Content::OtherImage(named(brand).unwrap_or_default()),
        Some(b"mif1" | b"msf1" | b"mif2" | b"miaf") => Content::OtherImage(compatible().unwrap_or("HEIF")),
        Some(b"qt  ") => Content::Other("QuickTime video"),
        Some(
            b"isom" | b"iso2" | b"iso4" | b"iso5" | b"iso6" | b"mp41" | b"mp42" | b"avc1" | b"M4V " | b"MSNV"
            | b"dash",
        ) => Content::Other("MP4 video"),
        Some([b'3', b'g', b'p' | b'2', _]) => Content::Other("MP4 video"),
        _ => Content::NotAnImage,
    }
}

fn is_svg(head: &[u8]) -> bool {
    let text = head.trim_ascii_start();
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let begins = |tag: &[u8]| text.len() >= tag.len() && text[..tag.len()].eq_ignore_ascii_case(tag);
    let mentions = text.windows(4).any(|window| window.eq_ignore_ascii_case(b"<svg"));
    begins(b"<svg") || (mentions && (begins(b"<?xml") || begins(b"<!--") || begins(b"<!doctype svg")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides_and_texts_are_no_images() {
        let padded = |head: &[u8]| [head, &[0; 512]].concat();
        let nifti = [&[0; 344][..], b"n+1\0"].concat();
        let dicom = [&[7; 128][..], b"DICM\x02\0"].concat();
        let stream = [&b"G"[..], &[0; 187]].concat().repeat(3);
        for (head, expected) in [
            (&b"\xff\xd8\xff\xe0rest"[..], Content::Image(Format::Jpeg)),
            (b"RIFF\x10\0\0\0WEBPVP8 ", Content::Image(Format::WebP)),
            (b"P6\n# by a camera\n2 2 255\n", Content::Image(Format::Pnm)),
            (b"P5 2 2 255 ", Content::Image(Format::Pnm)),
            (b"P7\nWIDTH 2\n", Content::Image(Format::Pnm)),
            (b"\xff\x4f\xff\x51\0", Content::Image(Format::Jpeg2000)),
            (&dicom, Content::Image(Format::Dicom)),
            (b"\x08\0\x05\0CS\x0a\0ISO_IR 100", Content::Image(Format::Dicom)),
            (
                b"\x08\0\0\0\x04\0\0\0\xf0\0\0\0\x08\0\x08\0",
                Content::Image(Format::Dicom),
            ),
            (b"\0\0\0\x18ftypheic", Content::OtherImage("HEIC")),
            (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", Content::OtherImage("AVIF")),
            (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", Content::OtherImage("HEIC")),
            (
                b"\0\0\0\x18ftypcrx \0\0\0\x01",
                Content::OtherImage("Canon raw (CR3)"),
            ),
            (b"II*\0\x10\0\0\0CR\x02\0", Content::OtherImage("Canon raw (CR2)")),
            (b"IIRO\x08\0\0\0", Content::OtherImage("Olympus raw (ORF)")),
            (b"IIU\0\x18\0\0\0", Content::OtherImage("Panasonic raw (RW2)")),
            (b"FUJIFILMCCD-RAW 0201", Content::OtherImage("Fujifilm raw (RAF)")),
            (b"8BPS\0\x01", Content::OtherImage("Photoshop")),
            (b"<?xml version='1.0'?>\n<svg/>", Content::OtherImage("SVG")),
            (b"\0\0\0\x18ftypisom", Content::Other("MP4 video")),
            (b"\0\0\0\x14ftypqt  ", Content::Other("QuickTime video")),
            (b"RIFF\x10\0\0\0AVI LIST", Content::Other("AVI video")),
            (b"\x1a\x45\xdf\xa3\x9f", Content::Other("Matroska or WebM video")),
            (&stream, Content::Other("MPEG video")),
            (b"\x93NUMPY\x01\0", Content::Other("NumPy array")),
            (&nifti, Content::Other("NIfTI")),
            (b"RIFF\x10\0\0\0WAVEfmt ", Content::NotAnImage),
            (b"\0\0\0\x18ftypM4A ", Content::NotAnImage),
        ] {
            assert_eq!(content(head), expected, "{}", head.escape_ascii());
            let longer = if head.len() < 128 {
                padded(head)
            } else {
                head.to_vec()
            };
            assert_eq!(content(&longer), expected, "{}", head.escape_ascii());
        }
        for text in [
            &b"BMI by country\n1,2,3,4"[..],
            b"GIF",
            b"PNG",
            b"",
            b"P.S. hello",
            b"P1 is the first",
            b"P7 and more",
            b"<html><svg>",
            b"\0\0\0\0ftyp",
            b"IIU",
        ] {
            assert_eq!(content(text), Content::NotAnImage, "{}", text.escape_ascii());
        }
    }
}
