//! Files of every supported kind, compared with Pillow's results (`scripts/parity-formats`).

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::{DecodeFault, Image, UsedBits, decode};

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    file: String,
    width: u32,
    height: u32,
    rgb: String,
}

/// Kinds so rare that they are refused, with a message that says what to do.
const REFUSED: &[&str] = &["TIFF, LAB"];

/// Largest difference from Pillow's values. Most kinds match exactly; JPEG and lossy WebP leave the rounding of their transforms to the
/// decoder, and fewer levels that become 256, and converted colours, may be rounded either way.
fn allowed(name: &str) -> u8 {
    if name.contains("JPEG") {
        JPEG_ROUNDING
    } else if name.contains("lossy") || name.contains("rough") {
        2
    } else {
        let rounded = ["BMP, 16 bit", "PNM, P5, up to 100", "TIFF, YCbCr"];
        u8::from(rounded.iter().any(|begin| name.starts_with(begin)))
    }
}

const JPEG_ROUNDING: u8 = 8;

#[test]
fn files_of_every_kind_become_what_pillow_makes_of_them() {
    let golden: Golden = serde_json::from_str(include_str!("../../../tests/golden/formats.json")).unwrap();
    let bytes = |text: &str| STANDARD.decode(text).unwrap();
    let mut wrong = Vec::new();
    for case in &golden.cases {
        let file = bytes(&case.file);
        let expected = Image {
            width: case.width,
            height: case.height,
            rgb: bytes(&case.rgb),
        };
        match decode(&file, 10_000, UsedBits::ALL) {
            Err(DecodeFault::UnsupportedVariant(_)) if REFUSED.contains(&case.name.as_str()) => {}
            Err(fault) => wrong.push(format!("{}: {fault:?}", case.name)),
            Ok(image) if (image.width, image.height) != (case.width, case.height) => {
                wrong.push(format!("{}: {} x {}", case.name, image.width, image.height));
            }
            Ok(image) => {
                let away = image.rgb.iter().zip(&expected.rgb).map(|(a, b)| a.abs_diff(*b));
                let most = away.clone().max().unwrap_or(0);
                println!("{}: {most}", case.name);
                if most > allowed(&case.name) {
                    let differ = away.filter(|away| *away > 0).count();
                    wrong.push(format!(
                        "{}: {differ} values differ, at most by {most}",
                        case.name
                    ));
                }
            }
        }
    }
    assert!(golden.cases.len() > 80);
    assert!(
        wrong.is_empty(),
        "{} of {} differ:\n{}",
        wrong.len(),
        golden.cases.len(),
        wrong.join("\n")
    );
}
