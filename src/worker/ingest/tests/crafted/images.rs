//! Images that are small as files and large in memory, and files that are no images and called so.

use std::io::Write;

use flate2::{Compression, Crc, write::ZlibEncoder};

use super::{build::*, *};

pub fn crafted() -> Vec<Crafted> {
    [floods(), texts(), disguises()].into_iter().flatten().collect()
}

fn in_zip(name: &str, data: impl Into<Vec<u8>>, code: &'static str) -> Crafted {
    let path = format!("ants/{name}");
    let archive = zip_with([File::new(&path, data)]);
    left_out(name, archive, &path, code)
}

fn floods() -> Vec<Crafted> {
    // 400 megapixels of one bit, really there: 50 MB of zeros in 50 kB. Stored, because the zip is not what is tried here.
    let huge = zip_with([File::new("ants/huge.png", grey_png(20_000, 20_000, 1)).stored()]);
    // The same within the limit: it is decoded, and becomes small.
    let large = zip_with([File::new("ants/large.png", grey_png(7000, 7000, 1)).stored()]);
    let strip = zip_with([File::new("ants/strip.png", grey_png(1_000_000, 1, 8)).stored()]);
    let huge = left_out("400 megapixels", huge, "ants/huge.png", "too_large");
    let mut all = vec![
        huge,
        used("49 megapixels", large),
        used("a million by one", strip),
    ];
    let png = |width, height| png_of(width, height, 8, 2, &[], b"");
    for (name, data) in [
        ("flood.png", png(60_000, 60_000)),
        ("flood-of-png.png", png(i32::MAX as u32, i32::MAX as u32)),
        (
            "flood.gif",
            [
                b"GIF89a\xff\xff\xff\xff\x80\0\0".as_slice(),
                &[0; 6],
                b"\x2c\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x4c\x01\0\x3b",
            ]
            .concat(),
        ),
        ("flood.bmp", bmp_header(60_000, 60_000)),
        ("flood-downwards.bmp", bmp_header(60_000, -60_000)),
        ("flood.jpg", jpeg_header(65_500, 65_500)),
        ("flood.tif", tiff(60_000, 60_000)),
        (
            "flood.webp",
            [
                b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0".as_slice(),
                &[0xff, 0xff, 0, 0xff, 0xff, 0],
                b"VP8 \0\0\0\0",
            ]
            .concat(),
        ),
    ] {
        all.push(in_zip(name, data, TOO_LARGE_OR_WORSE));
    }
    all
}

/// Some of these headers are so short that the decoder finds them damaged first: either word will do.
pub const TOO_LARGE_OR_WORSE: &str = "too_large|undecodable|unsupported_format";

fn texts() -> Vec<Crafted> {
    // A hundred million zeros in a text, in a profile: nobody unpacks them.
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
    for _ in 0..100 {
        packed.write_all(&[0; 1_000_000]).unwrap();
    }
    let packed = packed.finish().unwrap();
    let text = [b"Comment\0\0".as_slice(), &packed].concat();
    let international = [b"Comment\0\x01\0\0\0".as_slice(), &packed].concat();
    let profile = [b"icc\0\0".as_slice(), &packed].concat();
    let pixels = grey_rows(40, 30, 8);
    let with = |kind: &[u8; 4], data: &[u8]| {
        let png = png_of(40, 30, 8, 0, &[(kind, data)], &pixels);
        zip_with([File::new("ants/text.png", png).stored()])
    };
    vec![
        used("a PNG with a text of 100 MB", with(b"zTXt", &text)),
        used(
            "a PNG with an international text of 100 MB",
            with(b"iTXt", &international),
        ),
        used("a PNG with a profile of 100 MB", with(b"iCCP", &profile)),
    ]
}

fn disguises() -> Vec<Crafted> {
    let svg =
        "<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><image href='file:///etc/passwd'/></svg>";
    let mut cut = jpeg(9);
    cut.truncate(cut.len() / 2);
    let mut bad_png = png(9);
    let middle = bad_png.len() / 2;
    bad_png[middle] ^= 0xff;
    vec![
        in_zip("svg.jpg", svg, "unsupported_format"),
        in_zip(
            "page.png",
            "<!doctype html><script>alert(1)</script>",
            "not_an_image",
        ),
        in_zip("script.gif", "GIF/*a*/=1;alert(1)", "not_an_image"),
        in_zip(
            "print.jpg",
            "%!PS-Adobe-3.0 EPSF-3.0\n(%pipe%id) (w) file",
            "not_an_image",
        ),
        in_zip("document.tif", "%PDF-1.7\n", "not_an_image"),
        in_zip("program.bmp", b"MZ\x90\0\x03\0\0\0", "not_an_image"),
        in_zip("shell.webp", "#!/bin/sh\nrm -rf /\n", "not_an_image"),
        in_zip("empty.jpg", "", "not_an_image"),
        in_zip("three-bytes.jpg", b"\xff\xd8\xff", "truncated"),
        in_zip("cut.jpg", cut, "truncated"),
        in_zip("flipped.png", bad_png, "undecodable"),
        in_zip("nothing.png", png_of(0, 0, 8, 2, &[], b""), "undecodable"),
    ]
}

/// A grey PNG of zeros.
fn grey_png(width: u32, height: u32, bits: u8) -> Vec<u8> {
    png_of(width, height, bits, 0, &[], &grey_rows(width, height, bits))
}

fn grey_rows(width: u32, height: u32, bits: u8) -> Vec<u8> {
    let row = vec![0; 1 + (width as usize * usize::from(bits)).div_ceil(8)];
    let mut rows = ZlibEncoder::new(Vec::new(), Compression::fast());
    for _ in 0..height {
        rows.write_all(&row).unwrap();
    }
    rows.finish().unwrap()
}

fn png_of(width: u32, height: u32, bits: u8, colour: u8, more: &[(&[u8; 4], &[u8])], rows: &[u8]) -> Vec<u8> {
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend([bits, colour, 0, 0, 0]);
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let chunks = [
        &[(b"IHDR", header.as_slice())],
        more,
        &[(b"IDAT", rows), (b"IEND", &[])],
    ]
    .concat();
    for (kind, data) in chunks {
        let mut checksum = Crc::new();
        checksum.update(kind);
        checksum.update(data);
        bytes.extend((data.len() as u32).to_be_bytes());
        bytes.extend(kind);
        bytes.extend(data);
        bytes.extend(checksum.sum().to_be_bytes());
    }
    bytes
}

fn bmp_header(width: i32, height: i32) -> Vec<u8> {
    let mut bytes = b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    bytes.extend(width.to_le_bytes());
    bytes.extend(height.to_le_bytes());
    bytes.extend([1, 0, 24, 0]);
    bytes.resize(54, 0);
    bytes
}

fn jpeg_header(width: u16, height: u16) -> Vec<u8> {
    // The good one with another size: all else in it is right.
    let mut bytes = jpeg(9);
    let frame = bytes
        .windows(2)
        .position(|marker| marker == [0xff, 0xc0])
        .unwrap();
    bytes[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    bytes[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    bytes
}

/// Grey, of one strip that lies nowhere.
fn tiff(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = b"II\x2a\0\x08\0\0\0".to_vec();
    let fields: [(u16, u32); 8] = [
        (256, width),
        (257, height),
        (258, 8),
        (259, 1),
        (262, 1),
        (273, 8),
        (278, height),
        (279, width.saturating_mul(height)),
    ];
    bytes.extend((fields.len() as u16).to_le_bytes());
    for (tag, value) in fields {
        bytes.extend(tag.to_le_bytes());
        bytes.extend([4, 0, 1, 0, 0, 0]);
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend([0; 4]);
    bytes
}
