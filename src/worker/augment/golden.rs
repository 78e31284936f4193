//! Compares the pixels with torchvision's for the same image (`tests/golden/pixels.json`, created by `scripts/parity-pixels`).

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::{
    affine, colour,
    crop::{self, Rectangle},
    rand_augment::Operation,
    tone,
};
use crate::{
    domain::models::preprocessing::Interpolation,
    worker::pixels::{self, Image},
};

#[derive(Deserialize)]
struct Golden {
    width: u32,
    height: u32,
    fill: [u8; 3],
    cases: Vec<Case>,
    /// By magnitude, then by operation: its strength for an image of 331 pixels.
    rand_augment: BTreeMap<u32, BTreeMap<String, f64>>,
}

#[derive(Deserialize)]
struct Case {
    operation: String,
    arguments: Vec<f64>,
    width: u32,
    height: u32,
    rgb: String,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../../tests/golden/pixels.json")).unwrap()
}

/// Like the script's `image`.
fn image(width: u32, height: u32) -> Image {
    let pixel = |x: u32, y: u32| {
        let chequer = if (x / 5 + y / 4) % 2 == 1 { 210 } else { 30 };
        [
            (x * 255 / (width - 1)) as u8,
            (y * 200 / (height - 1) + 20) as u8,
            chequer,
        ]
    };
    let rgb = (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y)));
    Image {
        width,
        height,
        rgb: rgb.collect(),
    }
}

fn carried_out(case: &Case, mut image: Image, fill: [u8; 3]) -> Image {
    let argument = |place: usize| case.arguments[place];
    let whole = |place: usize| case.arguments[place] as u32;
    match case.operation.as_str() {
        "rotate" => return affine::rotate(&image, argument(0), fill),
        "shear_x" => return affine::shear_x(&image, argument(0), fill),
        "shear_y" => return affine::shear_y(&image, argument(0), fill),
        "translate" => return affine::translate(&image, argument(0) as i32, argument(1) as i32, fill),
        "brightness" => colour::adjust_brightness(&mut image, argument(0)),
        "contrast" => colour::adjust_contrast(&mut image, argument(0)),
        "saturation" => colour::adjust_saturation(&mut image, argument(0)),
        "sharpness" => tone::adjust_sharpness(&mut image, argument(0)),
        "hue" => colour::adjust_hue(&mut image, argument(0)),
        "posterize" => tone::posterize(&mut image, whole(0)),
        "solarize" => tone::solarize(&mut image, argument(0)),
        "autocontrast" => tone::autocontrast(&mut image),
        "equalize" => tone::equalize(&mut image),
        "resized_crop" => {
            let place = Rectangle {
                left: whole(0),
                top: whole(1),
                width: whole(2),
                height: whole(3),
            };
            return crop::resized_crop(image.view(), place, case.width, Interpolation::Bilinear);
        }
        "squash" => return pixels::resize(&image, case.width, case.height, Interpolation::Bilinear),
        "squash_bicubic" => return pixels::resize(&image, case.width, case.height, Interpolation::Bicubic),
        other => panic!("unknown operation {other}"),
    }
    image
}

#[test]
fn pixels_are_torchvision_s() {
    let golden = golden();
    for case in &golden.cases {
        let ours = carried_out(case, image(golden.width, golden.height), golden.fill);
        let theirs = STANDARD.decode(&case.rgb).unwrap();
        let name = format!("{}{:?}", case.operation, case.arguments);
        assert_eq!((ours.width, ours.height), (case.width, case.height), "{name}");
        let distances = ours.rgb.iter().zip(&theirs).map(|(a, b)| a.abs_diff(*b));
        let (worst, at) = distances.zip(0..).max().unwrap();
        // Tables and formulas are the same; interpolation and hue round differently.
        let allowed = match case.operation.as_str() {
            "rotate" | "shear_x" | "shear_y" => 2,
            "hue" | "resized_crop" | "squash" | "squash_bicubic" => 1,
            _ => 0,
        };
        assert!(worst <= allowed, "{name}: {worst} levels off at byte {at}");
    }
    assert!(golden.cases.len() > 30);
}

#[test]
fn rand_augment_is_as_strong_as_torchvision_s() {
    use Operation::*;
    for (magnitude, table) in golden().rand_augment {
        for operation in super::rand_augment::tests::operations(magnitude) {
            let (name, strength) = match operation {
                Identity => ("Identity", 0.0),
                ShearX(amount) => ("ShearX", amount.abs()),
                ShearY(amount) => ("ShearY", amount.abs()),
                TranslateX(right) => ("TranslateX", f64::from(right.abs())),
                TranslateY(down) => ("TranslateY", f64::from(down.abs())),
                Rotate(degrees) => ("Rotate", degrees.abs()),
                Brightness(factor) => ("Brightness", (factor - 1.0).abs()),
                Color(factor) => ("Color", (factor - 1.0).abs()),
                Contrast(factor) => ("Contrast", (factor - 1.0).abs()),
                Sharpness(factor) => ("Sharpness", (factor - 1.0).abs()),
                Posterize(bits) => ("Posterize", f64::from(bits)),
                Solarize(threshold) => ("Solarize", threshold),
                AutoContrast => ("AutoContrast", 0.0),
                Equalize => ("Equalize", 0.0),
            };
            let mut theirs = table[name];
            if name.starts_with("Translate") {
                theirs = theirs.trunc();
            }
            assert!(
                (strength - theirs).abs() < 1e-4,
                "{name} at {magnitude}: {strength} {theirs}"
            );
        }
        assert_eq!(table.len(), 14);
    }
}
