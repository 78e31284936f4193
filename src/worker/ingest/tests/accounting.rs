use std::io::{self, Write};

use super::*;
use crate::{
    domain::models::preprocessing::Interpolation,
    worker::{pixels, process::stored::tests::flipping},
};

#[test]
fn every_entry_is_accounted_for_by_name() {
    let mut files = ants_and_bees();
    let cut = jpeg(5);
    files.extend([
        File::new("ants/cut.jpg", &cut[..cut.len() - 30]),
        File::new("ants/text.jpg", "I am no image"),
        File::new("ants/empty.png", ""),
        File::new("bees/no-extension", jpeg(6)),
        File::new("bees/photo.heic", b"\0\0\0\x18ftypheic\0\0\0\0"),
        File::new("__MACOSX/ants/._1.jpg", jpeg(7)),
        File::new("ants/.hidden.jpg", jpeg(8)),
        File::new("ants/Thumbs.db", "x"),
        File::new("README.txt", "read me"),
        File::new("ants/link.jpg", "../../etc/passwd").mode(0o120_777),
        File::new("ants/bad\u{7}name.jpg", jpeg(9)),
    ]);
    files.push(File {
        encrypted: true,
        ..File::new("bees/secret.jpg", jpeg(10))
    });
    files.push(File {
        method: 98,
        ..File::new("bees/ppmd.jpg", jpeg(11))
    });
    let run = ingest(&zip(&files));
    let report = run.report();
    assert_eq!(report.len(), files.len());
    let in_order: Vec<_> = report
        .iter()
        .zip(&files)
        .filter(|(entry, file)| entry.path.as_bytes() != file.name)
        .collect();
    assert_eq!(in_order.len(), 1, "only the control character is replaced");

    let outcome = |path: &str| {
        let entry = run.entry(path);
        (entry.outcome, entry.codes.join(" "))
    };
    for (path, expected, code) in [
        ("ants/1.jpg", Outcome::Used, ""),
        ("bees/no-extension", Outcome::Used, ""),
        ("ants/cut.jpg", Outcome::Skipped, "truncated"),
        ("ants/text.jpg", Outcome::Skipped, "not_an_image"),
        ("ants/empty.png", Outcome::Skipped, "not_an_image"),
        ("bees/photo.heic", Outcome::Skipped, "unsupported_format"),
        ("__MACOSX/ants/._1.jpg", Outcome::Ignored, "hidden"),
        ("ants/.hidden.jpg", Outcome::Ignored, "hidden"),
        ("ants/Thumbs.db", Outcome::Ignored, "hidden"),
        ("README.txt", Outcome::Ignored, "not_an_image"),
        ("ants/link.jpg", Outcome::Skipped, "not_a_file"),
        ("ants/bad\u{fffd}name.jpg", Outcome::Skipped, "bad_path"),
        ("bees/secret.jpg", Outcome::Skipped, "encrypted"),
        ("bees/ppmd.jpg", Outcome::Skipped, "unsupported_compression"),
    ] {
        assert_eq!(outcome(path), (expected, code.to_owned()), "{path}");
    }
    let summary = &run.ingested().report;
    assert_eq!((summary.used, summary.skipped, summary.ignored), (5, 8, 4));
    assert_eq!(run.ingested().images, 5);
    assert_eq!(run.warning("truncated").examples, ["ants/cut.jpg"]);
    let cut = run.entry("ants/cut.jpg");
    assert_eq!(cut.class.as_deref(), Some("ants"));
    assert_eq!(
        cut.message.as_deref(),
        Some("the image is cut short; the file is incomplete")
    );
}

#[test]
fn the_files_hold_what_the_manifest_says() {
    let files = ants_and_bees();
    let run = ingest(&zip(&files));
    let result = run.ingested();
    for bulk in [&result.images_file, &result.pack] {
        let length = fs::metadata(run.file(&bulk.file)).unwrap().len();
        assert_eq!(length, bulk.bytes, "{}", bulk.file);
    }
    for artifact in [&result.manifest, &result.report_entries] {
        let (sha256, bytes) = digest::of_file(&run.file(&artifact.file)).unwrap();
        assert_eq!(
            (&sha256, bytes),
            (&artifact.sha256, artifact.bytes),
            "{}",
            artifact.file
        );
    }
    let images = fs::read(run.file(IMAGES_FILE)).unwrap();
    let pack = fs::read(run.file(PACK_FILE)).unwrap();
    let manifest = run.manifest();
    assert_eq!(
        manifest.iter().map(|image| image.id).collect::<Vec<_>>(),
        [0, 1, 2, 3]
    );
    let (mut stored, mut packed) = (0, 0);
    for (image, file) in manifest.iter().zip(&files) {
        assert_eq!(image.path.as_bytes(), file.name);
        let bytes = &images[image.offset as usize..][..image.bytes as usize];
        assert_eq!(bytes, file.data);
        assert_eq!(image.sha256, digest::of_bytes(bytes));
        let decoded = pixels::decode(bytes, 1 << 20, UsedBits::ALL).unwrap();
        assert_eq!((image.width, image.height), (decoded.width, decoded.height));
        let small = pixels::pack(decoded, 32, Interpolation::Bilinear);
        assert_eq!((image.pack_width, image.pack_height), (small.width, small.height));
        assert_eq!(pack[image.pack_offset as usize..][..small.rgb.len()], small.rgb);
        stored += image.bytes;
        packed += small.rgb.len();
    }
    assert_eq!((stored, packed), (images.len() as u64, pack.len()));
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let files: Vec<File> = (0..60)
        .map(|number| {
            let class = ["ants", "bees", "wasps"][usize::from(number) % 3];
            let data = if number % 7 == 0 {
                b"no image".to_vec()
            } else {
                jpeg(number)
            };
            File::new(format!("{class}/{}.jpg", 200 - number), data)
        })
        .collect();
    let archive = zip(&files);
    let one = ingest_within(&archive, IngestLimits::DEFAULT, 1);
    for threads in [2, 5] {
        let many = ingest_within(&archive, IngestLimits::DEFAULT, threads);
        assert_eq!(many.ingested(), one.ingested());
    }
    let paths: Vec<String> = one.manifest().into_iter().map(|image| image.path).collect();
    assert!(paths.is_sorted());
}

#[test]
fn twins_are_counted_leaks_and_contradictions_named() {
    let run = ingest(&zip(&[
        File::new("train/ants/a.jpg", jpeg(1)),
        File::new("train/ants/same.jpg", jpeg(1)),
        File::new("train/bees/b.jpg", jpeg(2)),
        File::new("val/bees/b-again.jpg", jpeg(2)),
        File::new("train/ants/c.jpg", jpeg(3)),
        File::new("train/bees/c-mislabelled.jpg", jpeg(3)),
        File::new("val/ants/d.jpg", jpeg(4)),
    ]));
    let report = &run.ingested().report;
    assert_eq!((report.used, report.duplicates, report.leaks), (7, 6, 2));
    assert_eq!(run.entry("train/ants/same.jpg").codes, ["duplicate"]);
    assert_eq!(run.entry("val/bees/b-again.jpg").codes, ["duplicate", "leak"]);
    assert_eq!(run.warning("leaks").count, 2);
    let contradictory = run.warning("contradictory_label");
    assert_eq!(
        contradictory.examples,
        ["train/ants/c.jpg", "train/bees/c-mislabelled.jpg"]
    );
}

#[test]
fn uneven_and_lonely_classes_are_warned_of() {
    let mut files: Vec<File> = (0..20)
        .map(|number| File::new(format!("ants/{number}.jpg"), jpeg(number)))
        .collect();
    files.push(File::new("bees/1.jpg", jpeg(100)));
    files.push(File::new("wasps/broken.jpg", "no image at all"));
    let run = ingest(&zip(&files));
    assert_eq!(run.classes(), ["ants:20", "bees:1"]);
    assert_eq!(run.warning("imbalance").examples, ["bees"]);
    assert_eq!(run.warning("one_image_class").examples, ["bees"]);
    assert_eq!(run.warning("empty_class").examples, ["wasps"]);
}

#[test]
fn of_two_files_with_one_path_the_later_counts() {
    for archive in [zip, tar] {
        let mut files = ants_and_bees();
        files.push(File::new("ants/1.jpg", jpeg(50)));
        let run = ingest(&archive(&files));
        assert_eq!(run.ingested().images, 4);
        assert_eq!(run.report()[0].codes, ["replaced"]);
        assert_eq!(run.manifest()[0].sha256, digest::of_bytes(&jpeg(50)));
    }
}

#[test]
fn a_file_that_is_damaged_inside_a_zip_hurts_no_other() {
    let files = ants_and_bees();
    let mut archive = zip(&files);
    // Behind the first local header and its name lies the first file's packed data.
    archive[30 + 10 + 200] ^= 0x40;
    let run = ingest(&archive);
    assert_eq!(run.entry("ants/1.jpg").codes, ["damaged"]);
    assert_eq!(run.ingested().images, 3);
}

#[test]
fn an_archive_without_a_usable_image_is_rejected_with_its_report() {
    let run = ingest(&zip(&[
        File::new("ants/1.jpg", "no"),
        File::new("notes.txt", "hello"),
    ]));
    let (error, report) = run.rejected();
    assert_eq!(error.code, "no_images");
    assert_eq!(report.unwrap().skipped, 1);
    assert_eq!(run.report().len(), 2);

    for empty in [zip(&[]), tar(&[]), gzip(&tar(&[]))] {
        let run = ingest(&empty);
        assert_eq!(run.rejected().0.code, "no_images");
    }
}

/// Asks the run to stop as soon as it says that it is alive.
struct StopAtFirstSign(StopFlag);

impl Write for StopAtFirstSign {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        assert!(
            line.starts_with(br#"{"message":"alive""#),
            "{}",
            line.escape_ascii()
        );
        self.0.set();
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_run_that_is_asked_to_stop_leaves_with_that_reason() {
    let files = ants_and_bees();
    for archive in [zip(&files), tar(&files), gzip(&tar(&files))] {
        let dir = tempfile::tempdir().unwrap();
        let stop = StopFlag::default();
        let reporter = Reporter::to(StopAtFirstSign(stop.clone()));
        let spec = spec(&dir, &archive, IngestLimits::DEFAULT, 1);
        let error = run(&spec, &RunDir::new(dir.path()), &reporter, &stop).unwrap_err();
        assert!(error.downcast_ref::<Stopped>().is_some(), "{error:?}");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_our_fault_and_not_the_archive_s() {
    let dir = tempfile::tempdir().unwrap();
    // A directory in the place of a file: it can be neither created nor written.
    fs::create_dir(dir.path().join(PACK_FILE)).unwrap();
    let archive = zip(&ants_and_bees());
    let result = run_in(&dir, &archive, IngestLimits::DEFAULT, 1);
    assert_eq!(result.unwrap_err().to_string(), "cannot write the pixel pack");
}

#[test]
fn an_archive_that_is_no_longer_what_was_uploaded_makes_no_dataset() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(&dir, &zip(&ants_and_bees()), IngestLimits::DEFAULT, 2);
    let read = || {
        let dir = tempfile::tempdir().unwrap();
        run(
            &spec,
            &RunDir::new(dir.path()),
            &Reporter::to(io::sink()),
            &StopFlag::default(),
        )
    };
    assert!(matches!(read(), Ok(RunResult::Ingested(_))));
    flipping(&spec.archive, 20, || {
        let error = read().unwrap_err();
        assert!(error.is::<Damaged>(), "{error}");
    });
}
