pub(super) mod jpeg;

use std::io::{Cursor, Write};

use flate2::{Compression, Crc, write::ZlibEncoder};
use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, LumaA, Rgb, Rgba};

use self::jpeg::{Bits, segment};
use super::*;

const MANY: u64 = 50_000_000;

fn decoded(bytes: &[u8], max_pixels: u64) -> Result<Image, DecodeFault> {
    decode(bytes, max_pixels, UsedBits::ALL)
}

pub(super) fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Smooth colours, different at every corner.
fn gradient(width: u32, height: u32) -> DynamicImage {
    DynamicImage::ImageRgb8(ImageBuffer::from_fn(width, height, |x, y| {
        Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, 40])
    }))
}

fn pixel(image: &Image, x: u32, y: u32) -> [u8; 3] {
    let at = ((y * image.width + x) * 3) as usize;
    [image.rgb[at], image.rgb[at + 1], image.rgb[at + 2]]
}

fn near(a: [u8; 3], b: [u8; 3]) -> bool {
    a.iter().zip(b).all(|(&a, b)| a.abs_diff(b) <= 6)
}

#[test]
fn every_kind_that_is_taken_decodes() {
    let image = gradient(40, 30);
    for format in [
        ImageFormat::Jpeg,
        ImageFormat::Png,
        ImageFormat::WebP,
        ImageFormat::Gif,
        ImageFormat::Bmp,
        ImageFormat::Tiff,
    ] {
        let bytes = encoded(&image, format);
        let image = decoded(&bytes, MANY).unwrap();
        assert_eq!((image.width, image.height), (40, 30), "{format:?}");
        // GIF has 256 colours at most, so the middle is only about grey-yellow there.
        let colour = pixel(&image, 20, 15);
        assert!(
            colour[0].abs_diff(127) < 16 && colour[2].abs_diff(40) < 16,
            "{format:?} {colour:?}"
        );
        assert_eq!(Header::read(&bytes, MANY).unwrap().dimensions(), (40, 30));
    }
}

#[test]
fn colours_are_those_of_convert_rgb() {
    let first =
        |image: DynamicImage| pixel(&decoded(&encoded(&image, ImageFormat::Png), MANY).unwrap(), 0, 0);
    let grey = ImageBuffer::from_pixel(3, 3, Luma([77u8]));
    assert_eq!(first(DynamicImage::ImageLuma8(grey)), [77; 3]);
    let grey_alpha = ImageBuffer::from_pixel(3, 3, LumaA([77u8, 0]));
    assert_eq!(first(DynamicImage::ImageLumaA8(grey_alpha)), [77; 3]);
    let transparent = ImageBuffer::from_pixel(3, 3, Rgba([9u8, 8, 7, 0]));
    assert_eq!(first(DynamicImage::ImageRgba8(transparent)), [9, 8, 7]);
    let deep_grey = ImageBuffer::from_pixel(3, 3, Luma([0x4dff_u16]));
    assert_eq!(first(DynamicImage::ImageLuma16(deep_grey)), [0x4d; 3]);
    let deep = ImageBuffer::from_pixel(3, 3, Rgb([0x12ff_u16, 0x3400, 0xffff]));
    assert_eq!(first(DynamicImage::ImageRgb16(deep)), [0x12, 0x34, 0xff]);
}

#[test]
fn a_palette_is_looked_up() {
    let mut rows = ZlibEncoder::new(Vec::new(), Compression::fast());
    rows.write_all(&[0, 0, 1, 0, 1, 0]).unwrap();
    let bytes = png(
        &[0, 0, 0, 2, 0, 0, 0, 2, 8, 3, 0, 0, 0],
        &[(b"PLTE", &[1, 2, 3, 200, 100, 50]), (b"tRNS", &[0])],
        &rows.finish().unwrap(),
    );
    let image = decoded(&bytes, MANY).unwrap();
    assert_eq!(image.rgb, [1, 2, 3, 200, 100, 50, 200, 100, 50, 1, 2, 3]);
}

fn png(header: &[u8], extra: &[(&[u8; 4], &[u8])], data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let chunks = [&[(b"IHDR", header)], extra, &[(b"IDAT", data), (b"IEND", &[])]].concat();
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

#[test]
fn cmyk_jpegs_become_rgb() {
    // Cyan 51, magenta 102, yellow 0, black 51, stored inverted as Adobe does.
    let image = decoded(&flat_cmyk_jpeg([204, 153, 255, 204]), MANY).unwrap();
    assert_eq!((image.width, image.height), (8, 8));
    // Pillow's convert("RGB"): (255 - c) · (255 - k) / 255.
    let colour = pixel(&image, 3, 3);
    assert!(
        near(colour, [163, 122, 204]),
        "{colour:?} is not what Pillow makes of it"
    );
}

/// 8 x 8 pixels of one colour: baseline, four components, an Adobe marker, nothing but DC coefficients.
fn flat_cmyk_jpeg(stored: [u8; 4]) -> Vec<u8> {
    let quantiser = [&[0][..], &[1; 64]].concat();
    let frame = [8, 0, 8, 0, 8, 4, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0, 4, 0x11, 0];
    // Twelve DC categories of 4 bits each, in order; one AC symbol, "end of block", of 1 bit.
    let dc = [&[0x00, 0, 0, 0, 12][..], &[0; 12], &(0..12).collect::<Vec<u8>>()].concat();
    let ac = [&[0x10, 1][..], &[0; 15], &[0]].concat();
    let scan = [4, 1, 0, 2, 0, 3, 0, 4, 0, 0, 63, 0];

    let mut bits = Bits::default();
    for value in stored {
        bits.value((i32::from(value) - 128) * 8, 4).bit('0');
    }
    let segments = vec![
        segment(0xee, b"Adobe\0\x64\0\0\0\0\0"),
        segment(0xdb, &quantiser),
        segment(0xc0, &frame),
        segment(0xc4, &dc),
        segment(0xc4, &ac),
        segment(0xda, &scan),
    ];
    jpeg::file(segments, bits.stuffed())
}

#[test]
fn images_are_turned_upright() {
    // Where the stored top left corner is seen, for the orientations 1 to 8 of EXIF 2.3.
    let corners = [(0, 0), (1, 0), (1, 1), (0, 1), (0, 0), (1, 0), (1, 1), (0, 1)];
    let plain = encoded(&gradient(48, 32), ImageFormat::Jpeg);
    for (orientation, corner) in (1u8..).zip(corners) {
        let image = decoded(&with_orientation(&plain, orientation), MANY).unwrap();
        let turned = orientation > 4;
        let size = if turned { (32, 48) } else { (48, 32) };
        assert_eq!((image.width, image.height), size, "orientation {orientation}");
        let (x, y) = (corner.0 * (size.0 - 1), corner.1 * (size.1 - 1));
        let colour = pixel(&image, x, y);
        assert!(near(colour, [2, 2, 40]), "orientation {orientation} {colour:?}");
    }
}

fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"\xff\xe1\0\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    [&jpeg[..2], &exif, &jpeg[2..]].concat()
}

#[test]
fn faults_are_told_apart_in_words_for_people() {
    let jpeg = encoded(&gradient(64, 64), ImageFormat::Jpeg);
    let png = encoded(&gradient(64, 64), ImageFormat::Png);
    let faults = [
        (decoded(&jpeg[..jpeg.len() - 40], MANY), DecodeFault::Truncated),
        (decoded(&jpeg[..jpeg.len() - 2], MANY), DecodeFault::Truncated),
        (decoded(&png[..png.len() / 2], MANY), DecodeFault::Truncated),
        (decoded(b"", MANY), DecodeFault::NotAnImage),
        (decoded(b"hello", MANY), DecodeFault::NotAnImage),
        (
            decoded(b"\0\0\0\x18ftypheic\0\0", MANY),
            DecodeFault::UnsupportedFormat("HEIC"),
        ),
        (
            decoded(&jpeg, 64 * 64 - 1),
            DecodeFault::TooManyPixels {
                width: 64,
                height: 64,
                max_pixels: 64 * 64 - 1,
            },
        ),
    ];
    for (result, expected) in faults {
        assert_eq!(result, Err(expected));
    }
    let noise = [&png[..16], &[0x5a; 200]].concat();
    let fault = decoded(&noise, MANY).unwrap_err();
    assert_eq!(fault.code(), "undecodable");
    assert!(!fault.is_unsupported());
    assert!(DecodeFault::NotAnImage.is_unsupported());
}

#[test]
fn a_header_that_promises_too_much_is_refused_before_decoding() {
    let side = 60_000u32.to_be_bytes();
    let header = [&side[..], &side, &[8, 2, 0, 0, 0]].concat();
    let bytes = png(&header, &[], &[]);
    let fault = decoded(&bytes, MANY).unwrap_err();
    assert_eq!(fault.code(), "too_large", "{fault:?}");
    assert_eq!(
        fault.to_string(),
        "the image has 60000 x 60000 pixels and at most 50000000 are taken; make it smaller, or start the server with a larger --max-image-pixels"
    );
}

#[test]
fn whatever_is_cut_or_flipped_an_image_has_its_pixels_and_the_limit_holds() {
    let image = gradient(24, 18);
    for format in [
        ImageFormat::Jpeg,
        ImageFormat::Png,
        ImageFormat::WebP,
        ImageFormat::Gif,
        ImageFormat::Bmp,
        ImageFormat::Tiff,
    ] {
        let whole = encoded(&image, format);
        let step = (whole.len() / 100).max(1);
        for at in (0..whole.len()).step_by(step) {
            let mut flipped = whole.clone();
            flipped[at] ^= 0xff;
            for damaged in [&whole[..at], &flipped] {
                if let Ok(image) = decoded(damaged, 2000) {
                    let view = ImageView::new(image.width, image.height, &image.rgb);
                    assert!(view.is_some(), "{format:?} at {at}");
                    assert!(image.width * image.height <= 2000, "{format:?} at {at}");
                }
            }
        }
    }
}

#[test]
fn packed_pixels_give_the_very_same_bytes_as_the_file() {
    for (width, height, size) in [
        (300, 200, 64),
        (97, 131, 64),
        (40, 30, 64),
        (30, 400, 32),
        (80, 80, 70),
    ] {
        let modes = [Resize::ShortestCrop, Resize::Squash, Resize::Letterbox];
        let kinds = modes.map(|resize| [(resize, ImageFormat::Jpeg), (resize, ImageFormat::Png)]);
        for (resize, format) in kinds.concat() {
            let recipe = Preprocessing {
                resize,
                ..Preprocessing::for_size(size)
            };
            let bytes = encoded(&gradient(width, height), format);
            let direct = prepare(&bytes, &recipe, MANY).unwrap();
            let packed = pack(
                decoded(&bytes, MANY).unwrap(),
                recipe.resize_to,
                recipe.interpolation,
            );
            assert!(packed.view().shorter() <= recipe.resize_to);
            let view = ImageView::new(packed.width, packed.height, &packed.rgb).unwrap();
            assert_eq!(
                prepare_from_pack(view, &recipe),
                direct,
                "{width}x{height} at {size}, {resize:?}"
            );
            assert_eq!((direct.width, direct.height), (size, size));
        }
    }
}

#[test]
fn a_long_strip_stays_small() {
    let strip = gradient(6000, 2);
    let bytes = encoded(&strip, ImageFormat::Png);
    let packed = pack(decoded(&bytes, MANY).unwrap(), 256, Interpolation::Bilinear);
    assert_eq!((packed.width, packed.height), (40, 2));
    let image = prepare(&bytes, &Preprocessing::for_size(224), MANY).unwrap();
    assert!(
        near(pixel(&image, 112, 112), [127, 64, 40]),
        "{:?}",
        pixel(&image, 112, 112)
    );
}

#[test]
fn a_view_must_fit_its_pixels() {
    assert!(ImageView::new(2, 2, &[0; 12]).is_some());
    assert!(ImageView::new(2, 2, &[0; 11]).is_none());
    assert!(ImageView::new(0, 2, &[]).is_none());
}

#[test]
fn squashed_and_letterboxed_images_show_all_of_it() {
    let bytes = encoded(&gradient(300, 100), ImageFormat::Png);
    let prepared = |resize| {
        let recipe = Preprocessing {
            resize,
            ..Preprocessing::for_size(60)
        };
        prepare(&bytes, &recipe, MANY).unwrap()
    };
    let squashed = prepared(Resize::Squash);
    assert!(near(pixel(&squashed, 0, 0), [2, 2, 40]));
    assert!(near(pixel(&squashed, 59, 59), [252, 252, 40]));
    let boxed = prepared(Resize::Letterbox);
    let mean = Preprocessing::for_size(60).mean_colour();
    assert_eq!(mean, [124, 116, 104]);
    assert_eq!((pixel(&boxed, 5, 19), pixel(&boxed, 5, 40)), (mean, mean));
    assert!(
        near(pixel(&boxed, 0, 20), [2, 6, 40]),
        "{:?}",
        pixel(&boxed, 0, 20)
    );
    assert!(near(pixel(&boxed, 59, 39), [252, 250, 40]));
}

mod depth;
mod large;
mod variants;
