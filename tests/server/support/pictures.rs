//! Pictures that the tests draw themselves, and archives of them.

use std::io::{Cursor, Write};

use image::{ImageFormat, Rgb, RgbImage};
use zip::{ZipWriter, write::SimpleFileOptions};

/// A picture of `side` pixels whose look depends on its class and, a little, on `index`: class 0 is dark with a bright disc, class 1
/// bright with dark stripes, and so on by hue.
pub fn picture(class: usize, index: usize, side: u32) -> RgbImage {
    let shift = (index * 7 % 13) as u32;
    RgbImage::from_fn(side, side, |x, y| {
        let grain = ((x * 31 + y * 17 + index as u32 * 101) % 23) as u8;
        let inside = match class % 3 {
            0 => {
                let (dx, dy) = (
                    x as i32 - (side / 2 + shift / 2) as i32,
                    y as i32 - (side / 2) as i32,
                );
                dx * dx + dy * dy < (side as i32 / 3).pow(2)
            }
            1 => (x + shift) % 8 < 4,
            _ => (x + y + shift) % 10 < 3,
        };
        let bright = if inside { 200 } else { 30 };
        Rgb([
            bright + grain,
            (bright / 2) + grain * ((class % 2) as u8 + 1),
            255 - bright - grain,
        ])
    })
}

/// A picture as a file.
pub fn file(picture: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

pub fn png(class: usize, index: usize, side: u32) -> Vec<u8> {
    file(&picture(class, index, side), ImageFormat::Png)
}

/// A stored zip of these files.
pub fn zip<'a>(files: impl IntoIterator<Item = (&'a str, Vec<u8>)>) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (path, bytes) in files {
        archive.start_file(path, SimpleFileOptions::default()).unwrap();
        archive.write_all(&bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// A flat archive: `classes` folders of `each` pictures of 40 pixels.
pub fn flat_archive(classes: usize, each: usize) -> Vec<u8> {
    let names: Vec<(String, Vec<u8>)> = (0..classes)
        .flat_map(|class| {
            (0..each).map(move |index| (format!("class-{class}/{index:03}.png"), png(class, index, 40)))
        })
        .collect();
    zip(names.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())))
}
