//! Images and archives that the tests draw themselves.

use std::{
    fs::File,
    io::{Cursor, Write},
    path::Path,
};

use image::{ImageBuffer, ImageFormat, Luma, Rgb, RgbImage};
use zip::{ZipWriter, write::SimpleFileOptions};

/// Names of the classes that [`image`] knows.
pub const CLASSES: [&str; 2] = ["blue", "red"];

/// An image of a class; the seed varies everything but its colour.
pub fn image(class: usize, seed: u32) -> Vec<u8> {
    let (width, height) = (36 + seed % 13, 34 + seed % 7);
    let pixel = |x: u32, y: u32| {
        let noise = (x.wrapping_mul(73 + seed) ^ y.wrapping_mul(151 + 3 * seed)) % 90;
        let [strong, weak] = [150 + noise as u8, noise as u8];
        if class == 0 {
            Rgb([weak, weak / 2, strong])
        } else {
            Rgb([strong, weak / 2, weak])
        }
    };
    let mut bytes = Vec::new();
    let format = if seed.is_multiple_of(2) {
        ImageFormat::Png
    } else {
        ImageFormat::Jpeg
    };
    RgbImage::from_fn(width, height, pixel)
        .write_to(&mut Cursor::new(&mut bytes), format)
        .unwrap();
    bytes
}

/// A zip of two class folders of grey images of 12 bits in 16: bright above and dark below, and the reverse.
pub fn deep_archive(path: &Path, images: u32) {
    let mut zip = ZipWriter::new(File::create(path).unwrap());
    for (class, name) in CLASSES.iter().enumerate() {
        for seed in 0..images {
            let entry = format!("{name}/{seed}.png");
            zip.start_file(entry, SimpleFileOptions::default()).unwrap();
            zip.write_all(&deep_image(class, seed)).unwrap();
        }
    }
    zip.finish().unwrap();
}

/// One of its images.
pub fn deep_image(class: usize, seed: u32) -> Vec<u8> {
    let shade = |x: u32, y: u32| {
        let noise = (x.wrapping_mul(73 + seed) ^ y.wrapping_mul(151 + 3 * seed)) % 900;
        let is_bright = (y < 20) == (class == 0);
        Luma([(noise + if is_bright { 3100 } else { 0 }) as u16])
    };
    let mut bytes = Cursor::new(Vec::new());
    let image: ImageBuffer<Luma<u16>, Vec<u16>> = ImageBuffer::from_fn(40, 40, shade);
    image.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A zip of class folders with this many images in each, and one file that is no image.
pub fn archive(path: &Path, images: u32) {
    let mut zip = ZipWriter::new(File::create(path).unwrap());
    let mut add = |name: String, bytes: &[u8]| {
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    };
    for (index, class) in CLASSES.iter().enumerate() {
        for seed in 0..images {
            let extension = if seed.is_multiple_of(2) { "png" } else { "jpg" };
            add(
                format!("{class}/{seed}.{extension}"),
                &image(index, seed + 1000 * index as u32),
            );
        }
    }
    add("red/broken.jpg".into(), b"\xff\xd8\xff\xe0 and nothing more");
    zip.finish().unwrap();
}
