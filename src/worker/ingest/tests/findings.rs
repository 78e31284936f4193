//! What is said about images that can be used, and about how they are divided.

use image::{DynamicImage, ImageFormat, imageops::FilterType};

use super::*;

fn written(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn scaled(number: u8, width: u32, height: u32) -> DynamicImage {
    DynamicImage::ImageRgb8(image(number)).resize_exact(width, height, FilterType::Triangle)
}

#[test]
fn an_image_that_was_saved_anew_is_known_again() {
    let png = |image: &DynamicImage| written(image, ImageFormat::Png);
    let mut files = ants_and_bees();
    for file in &mut files {
        file.name = [b"train/", &file.name[..]].concat();
    }
    files.extend([
        File::new("train/ants/large.png", png(&scaled(20, 160, 140))),
        File::new("train/ants/small.png", png(&scaled(20, 80, 70))),
        File::new(
            "val/ants/again.jpg",
            written(&scaled(21, 120, 110), ImageFormat::Jpeg),
        ),
        File::new("train/ants/21.png", png(&scaled(21, 120, 110))),
        File::new("train/bees/22.png", png(&scaled(22, 120, 110))),
        File::new(
            "train/ants/22.bmp",
            written(&scaled(22, 120, 110), ImageFormat::Bmp),
        ),
        File::new("val/bees/other.png", png(&scaled(23, 120, 110))),
    ]);
    let run = ingest(&zip(&files));
    let codes = |path| run.entry(path).codes;
    assert_eq!(codes("train/ants/large.png"), ["near_duplicate"]);
    assert_eq!(codes("train/ants/small.png"), ["near_duplicate"]);
    assert_eq!(codes("val/ants/again.jpg"), ["near_duplicate", "near_leak"]);
    assert_eq!(
        codes("train/ants/22.bmp"),
        ["near_duplicate", "near_contradictory_label"]
    );
    assert!(codes("val/bees/other.png").is_empty());
    let report = &run.ingested().report;
    assert_eq!(
        (report.near_duplicates, report.duplicates, report.leaks),
        (6, 0, 0)
    );
    assert_eq!(run.warning("near_duplicates").count, 6);
    assert_eq!(
        run.warning("near_leaks").examples,
        ["val/ants/again.jpg", "train/ants/21.png"]
    );
    assert_eq!(run.warning("near_contradictory_label").count, 2);
}

#[test]
fn tiny_images_strips_and_other_modes_are_said() {
    let grey = DynamicImage::ImageLuma8(scaled(30, 40, 40).into_luma8());
    let mut see_through = scaled(31, 40, 40).into_rgba8();
    see_through.get_pixel_mut(3, 3).0[3] = 9;
    let deep = DynamicImage::ImageRgb16(scaled(32, 40, 40).into_rgb16());
    let opaque = DynamicImage::ImageRgba8(scaled(33, 40, 40).into_rgba8());
    let mut files = ants_and_bees();
    files.extend([
        File::new("ants/tiny.png", written(&scaled(34, 40, 15), ImageFormat::Png)),
        File::new("ants/strip.png", written(&scaled(35, 20, 201), ImageFormat::Png)),
        File::new("ants/grey.jpg", written(&grey, ImageFormat::Jpeg)),
        File::new(
            "bees/see-through.png",
            written(&see_through.into(), ImageFormat::Png),
        ),
        File::new("bees/deep.png", written(&deep, ImageFormat::Png)),
        File::new("bees/opaque.png", written(&opaque, ImageFormat::Png)),
    ]);
    let run = ingest(&zip(&files));
    for (path, codes) in [
        ("ants/tiny.png", &["tiny"][..]),
        ("ants/strip.png", &["extreme_aspect"]),
        ("ants/grey.jpg", &["grey"]),
        ("bees/see-through.png", &["transparent"]),
        ("bees/deep.png", &["deep"]),
        ("bees/opaque.png", &[]),
    ] {
        assert_eq!(run.entry(path).codes, codes, "{path}");
    }
    let mixed = run.warning("mixed_modes");
    assert_eq!(mixed.count, 3);
    assert!(
        mixed
            .message
            .contains(": 1 grey, 1 with transparent parts, 1 with 16 bits or more in each channel;"),
        "{}",
        mixed.message
    );
    assert_eq!(run.warning("tiny").examples, ["ants/tiny.png"]);
    assert_eq!(run.warning("extreme_aspect").count, 1);
    assert_eq!(run.ingested().images, 10, "all of them are used");
}

#[test]
fn content_decides_whatever_the_name_says() {
    let image = scaled(40, 40, 40);
    let mut files = ants_and_bees();
    for (name, format) in [
        ("ants/a.png", ImageFormat::Jpeg),
        ("ants/b", ImageFormat::Png),
        ("bees/c.txt", ImageFormat::WebP),
        ("bees/d.csv", ImageFormat::Tiff),
        ("bees/e.JPEG", ImageFormat::Bmp),
    ] {
        files.push(File::new(name, written(&image, format)));
    }
    let run = ingest(&zip(&files));
    assert_eq!(run.classes(), ["ants:4", "bees:5"]);
}

#[test]
fn the_layout_that_was_understood_is_told() {
    let structure = |paths: &[&str]| {
        let files: Vec<_> = (1..)
            .zip(paths)
            .map(|(number, path)| File::new(path, jpeg(number)))
            .collect();
        let run = ingest(&zip(&files));
        (
            run.ingested().layout,
            run.ingested().report.structure.clone().unwrap(),
        )
    };
    let (layout, found) = structure(&[
        "a/b/Training/ants/1.jpg",
        "a/b/Training/bees/2.jpg",
        "a/b/valid/ants/3.jpg",
    ]);
    assert_eq!(layout, Layout::Wrapped);
    assert_eq!(found.pattern, "a/b/{split}/{class}/…");
    let folders: Vec<_> = found
        .split_folders
        .iter()
        .map(|folder| (folder.name.as_str(), folder.split))
        .collect();
    assert_eq!(folders, [("Training", Split::Train), ("valid", Split::Val)]);

    let (layout, found) = structure(&[
        "ants/train/1.jpg",
        "ants/val/2.jpg",
        "bees/train/3.jpg",
        "bees/val/4.jpg",
    ]);
    assert_eq!(
        (layout, found.pattern.as_str()),
        (Layout::Splits, "{class}/{split}/…")
    );
    let (layout, found) = structure(&["photos/1.jpg", "photos/2.jpg"]);
    assert_eq!((layout, found.pattern.as_str()), (Layout::Unlabelled, "photos/…"));
}

#[test]
fn a_split_without_a_usable_image_is_warned_of() {
    let mut files = ants_and_bees();
    for file in &mut files {
        file.name = [b"train/", &file.name[..]].concat();
    }
    files.push(File::new("val/", []).mode(0o040_755));
    files.push(File::new("test/ants/broken.jpg", "no image"));
    let run = ingest(&zip(&files));
    let warnings = &run.ingested().report.warnings;
    let empty: Vec<_> = warnings
        .iter()
        .filter(|warning| warning.code == "empty_split")
        .collect();
    assert_eq!(empty.len(), 2, "{warnings:?}");
    assert_eq!(empty[0].examples, ["val"]);
    assert_eq!(empty[1].examples, ["test", "test/ants/broken.jpg"]);
}

#[test]
fn class_names_are_names_whatever_they_look_like() {
    let mut files = Vec::new();
    for (number, name) in (1..).zip([
        "yes",
        "no",
        "10",
        "9",
        "two words",
        "Caf\u{e9}",
        "\u{732b}",
        "true",
    ]) {
        files.push(File::new(format!("train/{name}/{number}.jpg"), jpeg(number)));
        let other_form = name.replace('\u{e9}', "e\u{301}");
        files.push(File::new(
            format!("val/{other_form}/{number}.jpg"),
            jpeg(number + 100),
        ));
    }
    let run = ingest(&zip(&files));
    assert_eq!(
        run.classes(),
        [
            "10:2",
            "9:2",
            "Caf\u{e9}:2",
            "no:2",
            "true:2",
            "two words:2",
            "yes:2",
            "\u{732b}:2"
        ]
    );
}
