//! Files drawn here, in every way of writing and with every compression that is read.

use std::io::{Cursor, Write};

use flate2::{Compression as Effort, write::DeflateEncoder};
use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, Rgb};

use crate::{
    domain::models::preprocessing::UsedBits,
    worker::pixels::{
        DecodeFault, Header, decode,
        tests::{
            encoded,
            jpeg::{self, Bits, segment},
        },
    },
};

const EXPLICIT: &str = "1.2.840.10008.1.2.1";
const PIXELS: (u16, u16) = (0x7fe0, 0x10);

/// Its tag, its kind of value, its value.
type Element = ((u16, u16), &'static [u8; 2], Vec<u8>);

/// A data set in the making.
#[derive(Clone)]
struct Draft {
    syntax: &'static str,
    elements: Vec<Element>,
    pixels: Vec<u8>,
    encapsulated: bool,
}

impl Draft {
    fn new(width: u16, height: u16, bits: u16, pixels: Vec<u8>) -> Self {
        let mut draft = Self {
            syntax: EXPLICIT,
            elements: Vec::new(),
            pixels,
            encapsulated: false,
        };
        draft
            .set(0x0002, 1)
            .text(0x0004, "MONOCHROME2")
            .set(0x0010, height)
            .set(0x0011, width);
        let allocated = if bits > 8 { 16 } else { 8 };
        draft
            .set(0x0100, allocated)
            .set(0x0101, bits)
            .set(0x0102, bits - 1)
            .set(0x0103, 0);
        draft
    }

    fn colour(width: u16, height: u16, photometric: &str, pixels: Vec<u8>) -> Self {
        let mut draft = Self::new(width, height, 8, pixels);
        draft.set(0x0002, 3).text(0x0004, photometric).set(0x0006, 0);
        draft
    }

    /// Of group 28.
    fn put(&mut self, element: u16, kind: &'static [u8; 2], value: Vec<u8>) -> &mut Self {
        self.elements.retain(|(tag, _, _)| tag.1 != element);
        self.elements.push(((0x28, element), kind, value));
        self
    }

    fn set(&mut self, element: u16, value: u16) -> &mut Self {
        let bytes = if self.is_big() {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        };
        self.put(element, b"US", bytes.to_vec())
    }

    fn text(&mut self, element: u16, value: &str) -> &mut Self {
        let padded = format!("{value}{}", if value.len() % 2 == 1 { " " } else { "" });
        self.put(element, b"DS", padded.into_bytes())
    }

    fn encapsulated(mut self, syntax: &'static str) -> Self {
        self.syntax = syntax;
        self.encapsulated = true;
        self
    }

    fn is_big(&self) -> bool {
        self.syntax == "1.2.840.10008.1.2.2"
    }

    fn data_set(&self) -> Vec<u8> {
        let explicit = self.syntax != "1.2.840.10008.1.2";
        let mut bytes = Vec::new();
        let short = |value: u16| {
            if self.is_big() {
                value.to_be_bytes()
            } else {
                value.to_le_bytes()
            }
        };
        let long = |value: u32| {
            if self.is_big() {
                value.to_be_bytes()
            } else {
                value.to_le_bytes()
            }
        };
        let head = |bytes: &mut Vec<u8>, tag: (u16, u16), kind: &[u8; 2], length: u32| {
            bytes.extend([short(tag.0), short(tag.1)].concat());
            match (explicit, kind) {
                (false, _) => bytes.extend(long(length)),
                (true, b"OW" | b"SQ") => {
                    bytes.extend(kind);
                    bytes.extend([0, 0]);
                    bytes.extend(long(length));
                }
                (true, _) => {
                    bytes.extend(kind);
                    bytes.extend(short(length as u16));
                }
            }
        };
        let mark = |bytes: &mut Vec<u8>, element: u16, length: u32| {
            bytes.extend([short(0xfffe), short(element)].concat());
            bytes.extend(long(length));
        };
        head(&mut bytes, (8, 5), b"CS", 10);
        bytes.extend(b"ISO_IR 100");
        // A sequence of unknown length, in which there are other rows and columns.
        head(&mut bytes, (8, 0x1140), b"SQ", u32::MAX);
        mark(&mut bytes, 0xe000, u32::MAX);
        head(&mut bytes, (0x28, 0x10), b"US", 2);
        bytes.extend(short(999));
        mark(&mut bytes, 0xe00d, 0);
        mark(&mut bytes, 0xe0dd, 0);
        let mut elements = self.elements.clone();
        elements.sort_by_key(|(tag, _, _)| *tag);
        for (tag, kind, value) in &elements {
            head(&mut bytes, *tag, kind, value.len() as u32);
            bytes.extend(value);
        }
        if self.encapsulated {
            head(&mut bytes, PIXELS, b"OW", u32::MAX);
            mark(&mut bytes, 0xe000, 0);
            // In two parts.
            let (first, second) = self.pixels.split_at(self.pixels.len() / 4 * 2);
            for part in [first, second] {
                mark(&mut bytes, 0xe000, part.len() as u32);
                bytes.extend(part);
            }
            mark(&mut bytes, 0xe0dd, 0);
        } else {
            head(&mut bytes, PIXELS, b"OW", self.pixels.len() as u32);
            bytes.extend(&self.pixels);
        }
        bytes
    }

    fn file(&self) -> Vec<u8> {
        let mut syntax = self.syntax.as_bytes().to_vec();
        if syntax.len() % 2 == 1 {
            syntax.push(0);
        }
        let meta = [
            &b"\x02\0\x10\0UI"[..],
            &(syntax.len() as u16).to_le_bytes(),
            &syntax,
        ]
        .concat();
        let length = [&b"\x02\0\0\0UL\x04\0"[..], &(meta.len() as u32).to_le_bytes()].concat();
        [&[0; 128], &b"DICM"[..], &length, &meta, &self.data_set()].concat()
    }

    /// The first value of each pixel.
    fn shades(&self) -> Vec<u8> {
        let image = read(&self.file()).unwrap();
        image.chunks_exact(3).map(|pixel| pixel[0]).collect()
    }
}

fn read(file: &[u8]) -> Result<Vec<u8>, DecodeFault> {
    decode(file, 1 << 20, UsedBits::ALL).map(|image| image.rgb)
}

fn words(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn a_window_is_applied_in_every_way_of_writing() {
    // Linear, around 1000, 401 wide: from 799.5 to 1199.5.
    let values = [0, 799, 900, 1000, 1100, 1200, 4095, 2000];
    let expected = [0, 0, 64, 128, 192, 255, 255, 255];
    let mut draft = Draft::new(4, 2, 12, words(&values));
    draft.text(0x1050, "1000\\40").text(0x1051, "401\\350");
    assert_eq!(draft.shades(), expected);
    let implicit = Draft {
        syntax: "1.2.840.10008.1.2",
        ..draft.clone()
    };
    assert_eq!(implicit.shades(), expected);
    let mut deflater = DeflateEncoder::new(Vec::new(), Effort::fast());
    deflater.write_all(&draft.data_set()).unwrap();
    let file = Draft {
        syntax: "1.2.840.10008.1.2.1.99",
        ..draft.clone()
    }
    .file();
    let head = file.len() - draft.data_set().len();
    let deflated = [&file[..head], &deflater.finish().unwrap()].concat();
    assert_eq!(read(&deflated).unwrap().len(), 24);
    // Without the preamble, both ways.
    for draft in [&draft, &implicit] {
        let bare = draft.data_set();
        assert_eq!(read(&bare).unwrap()[9..12], [128; 3]);
    }
    let mut big = Draft::new(2, 1, 12, vec![0, 0, 0x0f, 0xff]);
    big.syntax = "1.2.840.10008.1.2.2";
    let elements = std::mem::take(&mut big.elements);
    for (tag, kind, mut value) in elements {
        if kind == b"US" {
            value.reverse();
        }
        big.elements.push((tag, kind, value));
    }
    assert_eq!(big.shades(), [0, 255]);
}

#[test]
fn values_are_rescaled_signed_and_inverted_as_the_file_says() {
    // Hounsfield units: -1000 is air, 40 soft tissue.
    let stored = [-1000_i16, 0, 40, 240, 3000].map(|value| value as u16);
    let mut draft = Draft::new(5, 1, 16, words(&stored));
    draft
        .set(0x0103, 1)
        .text(0x1050, "40")
        .text(0x1051, "400")
        .text(0x1053, "1")
        .text(0x1052, "0");
    assert_eq!(draft.shades(), [0, 102, 128, 255, 255]);
    // The same with an intercept, as most scanners store them.
    let shifted = [24_u16, 1024, 1064, 1264, 4024];
    let mut unsigned = Draft::new(5, 1, 12, words(&shifted));
    unsigned
        .text(0x1050, "40")
        .text(0x1051, "400")
        .text(0x1053, "1")
        .text(0x1052, "-1024");
    assert_eq!(unsigned.shades(), [0, 102, 128, 255, 255]);
    unsigned.text(0x0004, "MONOCHROME1");
    assert_eq!(unsigned.shades(), [255, 153, 127, 0, 0]);
    unsigned.text(0x0004, "MONOCHROME2").text(0x1056, "LINEAR_EXACT");
    assert_eq!(unsigned.shades(), [0, 102, 128, 255, 255]);
    unsigned.text(0x1056, "SIGMOID");
    let sigmoid = unsigned.shades();
    assert_eq!(sigmoid[2], 128);
    assert!(sigmoid[0] < sigmoid[1] && sigmoid[3] < sigmoid[4]);
    // What else is in the bits that are not used is not part of the value.
    let mut dirty = Draft::new(2, 1, 12, words(&[0xf000, 0xf7ff]));
    dirty.text(0x1050, "1024").text(0x1051, "2048");
    assert_eq!(dirty.shades(), [0, 255]);
}

#[test]
fn without_a_window_the_darkest_value_is_black_and_the_brightest_white() {
    let mut twelve_in_sixteen = Draft::new(3, 1, 16, words(&[100, 2100, 4100]));
    assert_eq!(twelve_in_sixteen.shades(), [0, 128, 255]);
    // What is outside the field does not count.
    twelve_in_sixteen.pixels = words(&[65535, 100, 300]);
    twelve_in_sixteen.set(0x0120, 65535);
    assert_eq!(twelve_in_sixteen.shades(), [255, 0, 255]);
    assert_eq!(Draft::new(3, 1, 8, vec![7, 100, 200]).shades(), [7, 100, 200]);
    assert_eq!(Draft::new(2, 1, 16, words(&[5, 5])).shades(), [0, 0]);
}

#[test]
fn colours_are_read_pixel_by_pixel_plane_by_plane_and_by_palette() {
    let rgb = vec![10, 20, 30, 200, 100, 50];
    assert_eq!(
        read(&Draft::colour(2, 1, "RGB", rgb.clone()).file()).unwrap(),
        rgb
    );
    let mut planar = Draft::colour(2, 1, "RGB", vec![10, 200, 20, 100, 30, 50]);
    planar.set(0x0006, 1);
    assert_eq!(read(&planar.file()).unwrap(), rgb);
    let full = Draft::colour(2, 1, "YBR_FULL", vec![76, 85, 255, 128, 128, 128]);
    assert_eq!(read(&full.file()).unwrap(), [254, 0, 0, 128, 128, 128]);
    let halved = Draft::colour(2, 1, "YBR_FULL_422", vec![76, 100, 128, 128]);
    assert_eq!(read(&halved.file()).unwrap(), [76, 76, 76, 100, 100, 100]);
    let mut palette = Draft::new(3, 1, 8, vec![0, 1, 9]);
    palette.text(0x0004, "PALETTE COLOR");
    for (channel, shades) in [[1_u16 << 8, 2 << 8], [3 << 8, 4 << 8], [5 << 8, 6 << 8]]
        .into_iter()
        .enumerate()
    {
        palette.put(0x1101 + channel as u16, b"US", words(&[2, 0, 16]));
        palette.put(0x1201 + channel as u16, b"OW", words(&shades));
    }
    assert_eq!(read(&palette.file()).unwrap(), [1, 3, 5, 2, 4, 6, 2, 4, 6]);
}

#[test]
fn run_lengths_are_unpacked() {
    // Upper bytes, then lower ones: 0x0102 five times, then 0x0304.
    let (upper, lower) = (vec![252, 1, 0, 3], vec![252, 2, 0, 4]);
    let offsets = [2_u32, 64, 68];
    let mut pixels: Vec<u8> = offsets.iter().flat_map(|word| word.to_le_bytes()).collect();
    pixels.resize(64, 0);
    pixels.extend([upper, lower].concat());
    let mut draft = Draft::new(3, 2, 16, pixels).encapsulated("1.2.840.10008.1.2.5");
    draft.text(0x1050, "515").text(0x1051, "516");
    assert_eq!(draft.shades(), [0, 0, 0, 0, 0, 255]);
}

#[test]
fn jpegs_inside_are_read_in_the_colours_that_the_file_says() {
    let grey = DynamicImage::ImageLuma8(ImageBuffer::from_fn(16, 8, |x, _| Luma([x as u8 * 16])));
    let draft =
        Draft::new(16, 8, 8, encoded(&grey, ImageFormat::Jpeg)).encapsulated("1.2.840.10008.1.2.4.50");
    let shades = draft.shades();
    assert!(shades[0] < 4 && shades[15].abs_diff(240) < 4, "{shades:?}");
    let colour = DynamicImage::ImageRgb8(ImageBuffer::from_pixel(16, 8, Rgb([200, 40, 90])));
    let jpeg = encoded(&colour, ImageFormat::Jpeg);
    let draft = Draft::colour(16, 8, "YBR_FULL_422", jpeg.clone()).encapsulated("1.2.840.10008.1.2.4.50");
    let first = read(&draft.file()).unwrap();
    assert!(first[0].abs_diff(200) < 4 && first[1].abs_diff(40) < 4 && first[2].abs_diff(90) < 4);
    // A JPEG of another size is not what the file says.
    let other = Draft::colour(16, 9, "YBR_FULL_422", jpeg).encapsulated("1.2.840.10008.1.2.4.50");
    assert_eq!(read(&other.file()), Err(DecodeFault::Undecodable));
}

#[test]
fn a_codestream_of_jpeg_2000_inside_is_read() {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../../../../tests/golden/formats.json")).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    let case = cases
        .iter()
        .find(|case| case["name"] == "JPEG 2000, bare codestream")
        .unwrap();
    let bytes = |field: &str| {
        base64::Engine::decode(
            &base64::engine::general_purpose::STANDARD,
            case[field].as_str().unwrap(),
        )
        .unwrap()
    };
    let draft = Draft::colour(19, 13, "YBR_RCT", bytes("file")).encapsulated("1.2.840.10008.1.2.4.90");
    assert_eq!(read(&draft.file()).unwrap(), bytes("rgb"));
}

/// A lossless JPEG of one channel, each value predicted by its left neighbour (ITU-T T.81, annex H).
fn lossless(width: u16, height: u16, precision: u8, values: &[u16]) -> Vec<u8> {
    let frame = [
        &[precision][..],
        &height.to_be_bytes(),
        &width.to_be_bytes(),
        &[1, 1, 0x11, 0],
    ]
    .concat();
    // Seventeen categories of 5 bits each, in order.
    let table = [&[0, 0, 0, 0, 0, 17][..], &[0; 11], &(0..17).collect::<Vec<u8>>()].concat();
    let mut bits = Bits::default();
    for (at, value) in values.iter().enumerate() {
        let (x, y) = (at % usize::from(width), at / usize::from(width));
        let predicted = match (x, y) {
            (0, 0) => 1 << (precision - 1),
            (0, _) => i32::from(values[at - usize::from(width)]),
            _ => i32::from(values[at - 1]),
        };
        bits.value(i32::from(*value) - predicted, 5);
    }
    let segments = vec![
        segment(0xc3, &frame),
        segment(0xc4, &table),
        segment(0xda, &[1, 1, 0, 1, 0, 0]),
    ];
    jpeg::file(segments, bits.stuffed())
}

#[test]
fn the_lossless_jpeg_of_most_archives_is_read() {
    let values: Vec<u16> = (0..48).map(|at| at * 85).collect();
    for (precision, syntax) in [(12, "1.2.840.10008.1.2.4.70"), (16, "1.2.840.10008.1.2.4.57")] {
        let jpeg = lossless(8, 6, precision, &values);
        let draft = Draft::new(8, 6, precision.into(), jpeg).encapsulated(syntax);
        let expected: Vec<u8> = values
            .iter()
            .map(|value| (f64::from(*value) / 3995.0 * 255.0).round() as u8)
            .collect();
        assert_eq!(draft.shades(), expected);
    }
}

#[test]
fn what_is_not_read_is_named() {
    let named = |draft: &Draft| read(&draft.file()).unwrap_err();
    let plain = Draft::new(2, 2, 8, vec![0; 8]);
    let variant = |name: &'static str| DecodeFault::variant(name);
    let mut film = plain.clone();
    film.text(0x0008, "2");
    assert_eq!(named(&film), variant("DICOM with 2 frames"));
    let other = |syntax| Draft {
        syntax,
        ..plain.clone()
    };
    assert_eq!(
        named(&other("1.2.840.10008.1.2.4.80")),
        variant("DICOM with JPEG-LS compression")
    );
    assert_eq!(
        named(&other("1.2.840.10008.1.2.4.102")),
        variant("DICOM with a video")
    );
    let mut report = plain.clone();
    report.elements.clear();
    assert_eq!(named(&report), variant("DICOM file without an image"));
    let mut wide = plain.clone();
    wide.set(0x0100, 32);
    assert_eq!(named(&wide), variant("DICOM with 32 bits for a value"));
    let arithmetic = lossless(2, 2, 12, &[1, 2, 3, 4])
        .iter()
        .map(|byte| if *byte == 0xc3 { 0xc9 } else { *byte })
        .collect();
    let inside = Draft::new(2, 2, 12, arithmetic).encapsulated("1.2.840.10008.1.2.4.51");
    assert_eq!(
        named(&inside),
        variant("DICOM with a JPEG with arithmetic coding")
    );
    let mut huge = plain.clone();
    huge.set(0x0010, 65535).set(0x0011, 65535);
    assert_eq!(named(&huge).code(), "too_large");
    let mut short = plain;
    short.set(0x0010, 9);
    assert_eq!(named(&short), DecodeFault::Truncated);
}

#[test]
fn whatever_is_cut_or_flipped_an_image_has_its_pixels() {
    let draft = Draft::new(6, 8, 12, lossless(6, 8, 12, &[7; 48])).encapsulated("1.2.840.10008.1.2.4.70");
    let mut windowed = Draft::new(4, 3, 16, words(&[1000; 12]));
    windowed.text(0x1050, "1000").text(0x1051, "401");
    for file in [draft.file(), windowed.file()] {
        for at in 128..file.len() {
            for change in [0xff, 0x01, 0x80] {
                let mut flipped = file.clone();
                flipped[at] ^= change;
                for damaged in [&file[..at], &flipped] {
                    if let Ok(header) = Header::read(damaged, 2000)
                        && let Ok(decoded) = header.decode(UsedBits::ALL)
                    {
                        let pixels = decoded.width * decoded.height;
                        assert_eq!(decoded.image.rgb.len() as u32, pixels * 3, "at {at}");
                        assert!(pixels <= 2000);
                    }
                }
            }
        }
    }
    let mut png = Cursor::new(Vec::new());
    DynamicImage::new_luma8(2, 2)
        .write_to(&mut png, ImageFormat::Png)
        .unwrap();
    assert!(read(png.get_ref()).is_ok(), "other kinds are still told apart");
}
