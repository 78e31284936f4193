//! Kinds of images: those that are read, those that are named and summed up, and 16-bit images of which not all bits count.

use std::io::Cursor;

use image::{DynamicImage, ImageBuffer, ImageFormat, Luma};

use super::*;
use crate::{
    domain::models::preprocessing::{Interpolation, UsedBits},
    worker::pixels::{self, Image},
};

/// A grey PNG of 16 bits: a ramp up to this value, shifted so that no two are alike.
fn deep(number: u16, largest: u16) -> Vec<u8> {
    let ramp = ImageBuffer::from_fn(40, 40, |x, y| {
        let share = (x * 7 + y * 13 + u32::from(number) * 5) % 40;
        Luma([(u32::from(largest) * share / 39) as u16])
    });
    written(&DynamicImage::ImageLuma16(ramp), ImageFormat::Png)
}

fn written(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn deep_files(largest: [u16; 4]) -> Vec<File> {
    let names = ["ants/1.png", "ants/2.png", "bees/3.png", "bees/4.png"];
    let numbered = names.iter().zip((1..).zip(largest));
    numbered
        .map(|(name, (number, largest))| File::new(name, deep(number, largest)))
        .collect()
}

/// The packed pixels of each image, in the order of the manifest.
fn packed(run: &Run) -> Vec<Image> {
    let pack = fs::read(run.file(PACK_FILE)).unwrap();
    let images = run.manifest();
    let of = |image: &ManifestImage| {
        let begin = image.pack_offset as usize;
        let length = (image.pack_width * image.pack_height * 3) as usize;
        let rgb = pack[begin..begin + length].to_vec();
        assert_eq!(image.pack_crc32, Some(crc32(&rgb)));
        Image {
            width: image.pack_width,
            height: image.pack_height,
            rgb,
        }
    };
    images.iter().map(of).collect()
}

fn brightest(image: &Image) -> u8 {
    image.rgb.iter().copied().max().unwrap()
}

#[test]
fn twelve_bits_in_sixteen_are_found_over_the_dataset_and_said() {
    for (largest, bits) in [(200, 8), (1000, 10), (3000, 12), (4095, 12), (16000, 14)] {
        let files = deep_files([largest / 3, largest, largest / 2, largest / 2]);
        let run = ingest(&zip(&files));
        let used = UsedBits::new(bits);
        assert!(
            run.manifest().iter().all(|image| image.used_bits == used),
            "{largest}"
        );
        let warning = run.warning("used_bits");
        assert!(
            warning
                .message
                .contains(&format!("{largest}: the lower {bits} bits")),
            "{}",
            warning.message
        );
        assert!(
            warning.message.contains("`used_bits`"),
            "the alternative is named"
        );
        assert_eq!(warning.count, 4);
        // What is packed is what prediction makes of the file with the same bits.
        for (file, packed) in files.iter().zip(packed(&run)) {
            let decoded = pixels::decode(&file.data, 1 << 20, used.unwrap()).unwrap();
            assert_eq!(packed, pixels::pack(decoded, 32, Interpolation::Bilinear));
            assert!(brightest(&packed) > 40);
        }
    }
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    let archive = zip(&deep_files([900, 1000, 800, 700]));
    let runs = [1, 3].map(|threads| ingest_within(&archive, IngestLimits::DEFAULT, threads));
    for file in [MANIFEST_FILE, PACK_FILE, IMAGES_FILE, REPORT_FILE] {
        let [one, three] = [0, 1].map(|run| fs::read(runs[run].file(file)).unwrap());
        assert_eq!(one, three, "{file}");
    }
}

#[test]
fn a_dataset_that_uses_all_bits_or_has_eight_is_as_it_always_was() {
    let run = ingest(&zip(&deep_files([65535, 60000, 50000, 40000])));
    assert!(
        run.manifest()
            .iter()
            .all(|image| image.used_bits == Some(UsedBits::ALL))
    );
    let codes: Vec<_> = run
        .ingested()
        .report
        .warnings
        .iter()
        .map(|warning| warning.code.as_str())
        .collect();
    assert!(
        !codes.contains(&"used_bits") && !codes.contains(&"dark_images"),
        "{codes:?}"
    );
    assert!(packed(&run).iter().all(|image| brightest(image) > 100));
    let plain = ingest(&zip(&ants_and_bees()));
    assert!(plain.manifest().iter().all(|image| image.used_bits.is_none()));
    assert!(
        !fs::read_to_string(plain.file(MANIFEST_FILE))
            .unwrap()
            .contains("used_bits")
    );
}

#[test]
fn few_bits_beside_many_are_dark_and_that_is_said() {
    let run = ingest(&zip(&deep_files([4000, 65535, 3000, 65000])));
    let warning = run.warning("dark_images");
    assert_eq!(
        (warning.count, warning.examples),
        (2, vec!["ants/1.png".to_owned(), "bees/3.png".to_owned()])
    );
    assert!(
        warning.message.contains("65535") && warning.message.contains("`used_bits`"),
        "{}",
        warning.message
    );
}

#[test]
fn only_some_of_the_images_may_be_of_sixteen_bits() {
    let mut files = ants_and_bees();
    files.push(File::new("bees/5.png", deep(9, 4000)));
    let run = ingest(&zip(&files));
    let with_bits: Vec<_> = run
        .manifest()
        .into_iter()
        .filter(|image| image.used_bits.is_some())
        .collect();
    assert_eq!(with_bits.len(), 1);
    assert_eq!(
        (with_bits[0].path.as_str(), with_bits[0].used_bits),
        ("bees/5.png", UsedBits::new(12))
    );
    assert_eq!(run.warning("used_bits").count, 1);
}

#[test]
fn who_says_how_many_bits_count_is_believed() {
    for bits in [10, 16] {
        let dir = tempfile::tempdir().unwrap();
        let archive = zip(&deep_files([4000, 4095, 3000, 2000]));
        let mut spec = spec(&dir, &archive, IngestLimits::DEFAULT, 2);
        spec.used_bits = UsedBits::new(bits);
        let result = run(
            &spec,
            &RunDir::new(dir.path()),
            &Reporter::to(std::io::sink()),
            &StopFlag::default(),
        );
        let run = Run { result, dir };
        assert!(
            run.manifest()
                .iter()
                .all(|image| image.used_bits == UsedBits::new(bits))
        );
        let most = packed(&run).iter().map(brightest).max().unwrap();
        assert!(
            if bits == 10 { most > 200 } else { most < 16 },
            "{most} with {bits}"
        );
    }
}

#[test]
fn netpbm_and_dicom_are_images_like_any_other() {
    let grey = |shade: u8| {
        written(
            &DynamicImage::ImageLuma8(ImageBuffer::from_pixel(20, 20, Luma([shade]))),
            ImageFormat::Pnm,
        )
    };
    let files = [
        File::new("00000/1.ppm", grey(10)),
        File::new("00000/2.pgm", grey(60)),
        File::new("00001/no-extension", grey(110)),
        File::new(
            "00001/4.pbm",
            b"P1\n20 20\n"
                .iter()
                .copied()
                .chain(b"0 1".repeat(200))
                .collect::<Vec<u8>>(),
        ),
    ];
    let run = ingest(&zip(&files));
    assert_eq!(run.classes(), ["00000:2", "00001:2"]);
}

#[test]
fn kinds_that_are_not_read_are_summed_up_in_one_warning() {
    let heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic".to_vec();
    let mut files = ants_and_bees();
    for number in 0..4 {
        files.push(File::new(format!("ants/{number}.heic"), heic.clone()));
    }
    files.push(File::new("bees/a.HEIC", heic));
    files.push(File::new("bees/b.psd", b"8BPS\0\x01\0\0".to_vec()));
    files.push(File::new("bees/c.psd", b"8BPS\0\x01\0\0".to_vec()));
    files.push(File::new("bees/film.mp4", b"\0\0\0\x18ftypisom\0\0\0\0".to_vec()));
    files.push(File::new("bees/array.npy", b"\x93NUMPY\x01\0".to_vec()));
    files.push(File::new("bees/raw.dat", b"FUJIFILMCCD-RAW 0201".to_vec()));
    files.push(File::new("bees/notes.txt", b"nothing".to_vec()));
    let run = ingest(&zip(&files));
    let warning = run.warning("unsupported_format");
    assert_eq!(warning.count, 10);
    let expected = "files of kinds that are not read are not used (HEIC 5, Photoshop 2, Fujifilm raw (RAF) 1, MP4 video 1, NumPy array 1); \
        save them as JPEG or PNG and upload them again";
    assert_eq!(warning.message, expected);
    assert_eq!(run.classes(), ["ants:2", "bees:2"]);
    assert_eq!(run.entry("bees/film.mp4").outcome, Outcome::Skipped);
    assert_eq!(run.entry("bees/notes.txt").outcome, Outcome::Ignored);
    let only = ingest(&zip(&[
        File::new("ants/1.heic", b"\0\0\0\x18ftypheic\0\0\0\0".to_vec()),
        File::new("ants/2.avif", b"\0\0\0\x18ftypavif\0\0\0\0".to_vec()),
    ]));
    let (refused, _) = only.rejected();
    assert_eq!(refused.code, "no_images");
    assert!(
        refused.message.contains("(AVIF 1, HEIC 1)"),
        "{}",
        refused.message
    );
}
