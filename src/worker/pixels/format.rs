//! Detects the kind of a file by its first bytes. Names and extensions are unreliable hints; this is what decides.

use image::ImageFormat;

/// The kind of a file, detected by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A supported image format.
    Image(ImageFormat),
    /// An unsupported image format, by its usual name.
    OtherImage(&'static str),
    NotAnImage,
}

/// Extensions of files that are meant as images, in lower case: if such a file cannot be used, that is worth reporting.
pub const EXTENSIONS: &[&str] = &[
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "dib", "tif", "tiff", "heic", "heif", "avif",
    "jxl", "jp2", "j2k", "svg", "psd", "ico", "exr", "hdr", "qoi", "tga", "pnm", "ppm", "pgm", "pbm", "dng",
    "cr2", "cr3", "nef", "arw",
];

/// Detects the kind by the first bytes; 64 are enough for all but SVG, which may have a long prologue.
pub fn content(head: &[u8]) -> Content {
    use Content::{Image, OtherImage};
    match head {
        [0xff, 0xd8, 0xff, ..] => Image(ImageFormat::Jpeg),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Image(ImageFormat::Png),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Image(ImageFormat::Gif),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Image(ImageFormat::WebP),
        // 43 is BigTIFF, with 64-bit offsets.
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Image(ImageFormat::Tiff),
        _ if is_bmp(head) => Image(ImageFormat::Bmp),
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => iso_media(brand),
        [0xff, 0x0a, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] => OtherImage("JPEG XL"),
        [0, 0, 0, 12, b'j', b'P', b' ', b' ', ..] | [0xff, 0x4f, 0xff, 0x51, ..] => OtherImage("JPEG 2000"),
        [b'8', b'B', b'P', b'S', ..] => OtherImage("Photoshop"),
        [0, 0, 1 | 2, 0, count, 0, ..] if *count > 0 => OtherImage("Windows icon"),
        [0x76, 0x2f, 0x31, 0x01, ..] => OtherImage("OpenEXR"),
        [b'q', b'o', b'i', b'f', ..] => OtherImage("QOI"),
        [b'#', b'?', b'R', b'A', b'D', ..] => OtherImage("Radiance HDR"),
        [b'P', b'1'..=b'6', b'\n' | b' ' | b'\r' | b'\t', ..] => OtherImage("Netpbm"),
        _ if is_svg(head) => OtherImage("SVG"),
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

fn iso_media(brand: &[u8]) -> Content {
    match brand.get(..4) {
        Some(b"avif" | b"avis") => Content::OtherImage("AVIF"),
        Some(b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"mif1" | b"msf1") => {
            Content::OtherImage("HEIC")
        }
        Some(b"crx ") => Content::OtherImage("Canon raw"),
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
        assert_eq!(
            content(b"\xff\xd8\xff\xe0rest"),
            Content::Image(ImageFormat::Jpeg)
        );
        assert_eq!(
            content(b"RIFF\x10\0\0\0WEBPVP8 "),
            Content::Image(ImageFormat::WebP)
        );
        assert_eq!(content(b"RIFF\x10\0\0\0WAVEfmt "), Content::NotAnImage);
        assert_eq!(content(b"\0\0\0\x18ftypheic"), Content::OtherImage("HEIC"));
        assert_eq!(content(b"\0\0\0\x18ftypisom"), Content::NotAnImage);
        assert_eq!(
            content(b"<?xml version='1.0'?>\n<svg/>"),
            Content::OtherImage("SVG")
        );
        for text in [
            &b"BMI by country\n1,2,3,4"[..],
            b"GIF",
            b"PNG",
            b"",
            b"P.S. hello",
            b"<html><svg>",
        ] {
            assert_eq!(content(text), Content::NotAnImage, "{}", text.escape_ascii());
        }
    }
}
