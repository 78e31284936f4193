//! Sound files that are not read are named as what they are: never damaged, never cut short, never taken for their preview.

use super::*;

const CFA: u32 = 32803;

/// One directory of a little-endian TIFF: its fields with one number each, in the order of their tags.
fn directory(fields: &[(u16, u32)], next: u32) -> Vec<u8> {
    let mut bytes = (fields.len() as u16).to_le_bytes().to_vec();
    for (tag, value) in fields {
        bytes.extend(tag.to_le_bytes());
        bytes.extend([4, 0, 1, 0, 0, 0]);
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend(next.to_le_bytes());
    bytes
}

/// A TIFF of 4 x 4 pixels of this many channels and bits, and more fields; what is after the directory begins at byte 512.
fn tiff(samples: u32, bits: u32, more: &[(u16, u32)], after: &[u8]) -> Vec<u8> {
    let length = 16 * samples * bits.div_ceil(8);
    let mut fields = vec![
        (256, 4),
        (257, 4),
        (258, bits),
        (259, 1),
        (262, if samples < 3 { 1 } else { 2 }),
    ];
    fields.extend([(273, 256), (277, samples), (278, 4), (279, length)]);
    for field in more {
        fields.retain(|(tag, _)| *tag != field.0);
        fields.push(*field);
    }
    fields.sort_unstable();
    let mut bytes = [b"II*\0\x08\0\0\0", &directory(&fields, 0)[..]].concat();
    bytes.resize(512, 90);
    bytes.extend(after);
    bytes
}

fn unread(bytes: &[u8]) -> String {
    match decoded(bytes, MANY) {
        Err(fault @ (DecodeFault::UnsupportedVariant(_) | DecodeFault::UnsupportedFormat(_))) => {
            assert_eq!(fault.code(), "unsupported_format");
            fault.kind().unwrap().into_owned()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_jpeg_of_another_variant_is_named_even_where_its_end_is_missing() {
    let plain = encoded(&gradient(32, 32), ImageFormat::Jpeg);
    let frame = plain.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    for (marker, precision, name) in [
        (0xc9, 8, "JPEG with arithmetic coding"),
        (0xca, 8, "JPEG with arithmetic coding"),
        (0xc1, 12, "JPEG with 12 bits per channel"),
        (0xc3, 8, "lossless JPEG"),
        (0xc5, 8, "hierarchical JPEG"),
        (0xf7, 8, "JPEG-LS"),
    ] {
        let mut other = plain.clone();
        other[frame + 1] = marker;
        other[frame + 4] = precision;
        assert_eq!(unread(&other), name);
        assert_eq!(unread(&other[..other.len() - 9]), name);
    }
}

#[test]
fn variants_of_other_formats_are_named() {
    let zstandard = [(259, 50000)];
    for (bytes, name) in [
        (tiff(1, 8, &zstandard, b""), "TIFF with Zstandard compression"),
        (
            tiff(3, 8, &[(259, 6), (262, 6)], b""),
            "TIFF with old-style JPEG compression",
        ),
        (
            tiff(1, 32, &[(339, 3)], b""),
            "TIFF with floating-point values of 32 bits",
        ),
        (tiff(1, 16, &[(339, 2)], b""), "TIFF with signed values"),
        (tiff(5, 8, &[(262, 1)], b""), "TIFF with 5 channels"),
        (tiff(1, 12, &[], b""), "TIFF with 1 x 12 bits"),
        (tiff(3, 8, &[(262, 8)], b""), "TIFF in CIELAB colours"),
        (
            b"\x89PNG\r\n\x1a\n\0\0\0\x04CgBI\x50\0\x20\x02rest".to_vec(),
            "PNG for iPhone apps (CgBI)",
        ),
        (b"\xff\x0a\xfa\x1f".to_vec(), "JPEG XL"),
        (b"II\xbc\x01\x08\0\0\0".to_vec(), "JPEG XR"),
    ] {
        assert_eq!(unread(&bytes), name);
    }
    let mut bitmap = encoded(&gradient(4, 4), ImageFormat::Bmp);
    bitmap[30] = 4;
    assert_eq!(unread(&bitmap), "BMP with a JPEG inside");
    let fault = decoded(&tiff(1, 8, &zstandard, b""), MANY).unwrap_err();
    let said = "this is a TIFF with Zstandard compression, a variant that is not read; save it as an ordinary JPEG or PNG";
    assert_eq!(fault.to_string(), said);
    assert!(!fault.is_unsupported());
}

#[test]
fn camera_raw_is_named_and_its_preview_is_not_taken_for_the_photograph() {
    let preview = tiff(3, 8, &[], b"");
    assert!(
        decoded(&preview, MANY).is_ok(),
        "without any mark of a camera it is an ordinary TIFF"
    );
    let sub = directory(&[(254, 0), (262, CFA)], 0);
    let (nikon, sony) = (
        [&sub[..], b"NIKON CORPORATION\0"].concat(),
        [&sub[..], b"SONY\0"].concat(),
    );
    let make = |maker: &[u8]| (512 + sub.len() as u32, maker.len() as u32);
    let with_make = |maker: &[u8], after: &[u8]| {
        let mut bytes = tiff(3, 8, &[(271, make(maker).0), (330, 512)], after);
        // Of type ASCII, as long as the name.
        let at = bytes
            .windows(2)
            .position(|pair| pair == 271_u16.to_le_bytes())
            .unwrap();
        bytes[at + 2] = 2;
        bytes[at + 4] = maker.len() as u8;
        bytes
    };
    for (bytes, name) in [
        (tiff(3, 8, &[(50706, 0x0401)], b""), "Adobe raw (DNG)"),
        (with_make(b"NIKON CORPORATION\0", &nikon), "Nikon raw (NEF)"),
        (with_make(b"SONY\0", &sony), "Sony raw (ARW)"),
        (tiff(3, 8, &[(330, 512)], &sub), "camera raw"),
        (tiff(1, 16, &[(262, CFA)], b""), "camera raw"),
        (
            tiff(3, 8, &[(330, 512)], &directory(&[(259, 34713)], 0)),
            "camera raw",
        ),
        (
            tiff(3, 8, &[(330, 512)], &directory(&[(262, 34892)], 0)),
            "camera raw",
        ),
    ] {
        assert_eq!(unread(&bytes), name);
    }
    // A thumbnail beside an ordinary image, directories in a circle, and ones that lead nowhere.
    for sub in [
        directory(&[(262, 2)], 0),
        directory(&[(330, 512)], 512),
        directory(&[(330, u32::MAX)], 7),
        vec![255; 40],
    ] {
        assert!(decoded(&tiff(3, 8, &[(330, 512)], &sub), MANY).is_ok());
    }
}

#[test]
fn grey_with_alpha_of_16_bits_is_read() {
    let bytes = tiff(2, 16, &[], b"");
    assert_eq!(decoded(&bytes, MANY).unwrap().rgb, [90; 48]);
}

#[test]
fn whatever_is_flipped_in_a_file_of_a_rarer_kind_an_image_has_its_pixels_and_the_limit_holds() {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../../../../tests/golden/formats.json")).unwrap();
    let rare = |name: &str| {
        ["CCITT", "reversed", "YCbCr", "PNM", "JPEG 2000"]
            .iter()
            .any(|part| name.contains(part))
    };
    let mut tried = 0;
    for case in golden["cases"].as_array().unwrap() {
        if !rare(case["name"].as_str().unwrap()) {
            continue;
        }
        let file = base64::Engine::decode(
            &base64::engine::general_purpose::STANDARD,
            case["file"].as_str().unwrap(),
        )
        .unwrap();
        let step = (file.len() / 60).max(1);
        for at in (0..file.len()).step_by(step) {
            let mut flipped = file.clone();
            flipped[at] ^= 0xff;
            for damaged in [&file[..at], &flipped] {
                if let Ok(image) = decoded(damaged, 10_000) {
                    assert!(ImageView::new(image.width, image.height, &image.rgb).is_some());
                    assert!(image.width * image.height <= 10_000);
                }
            }
            tried += 1;
        }
    }
    assert!(tried > 1000);
}
