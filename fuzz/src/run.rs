//! One ingest as the worker's child does it, in a folder in memory where there is one, held to what must be so of any archive.

use std::{
    cell::OnceCell,
    collections::HashSet,
    fs,
    io::{self, Cursor, Write},
    panic,
    path::Path,
};

use tempfile::TempDir;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use crate::{
    domain::{datasets::reading::ReadOptions, id::DatasetId},
    limits::IngestLimits,
    protocol::{IngestResult, IngestRun, ManifestImage, RunResult},
    worker::{
        ingest,
        process::{
            child::{Reporter, StopFlag},
            run_dir::RunDir,
        },
    },
};

/// A grey BMP of one pixel.
const PICTURE: &[u8] =
    b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0\0\0\0\0\x04\0\0\0\
    \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x80\x80\x80\0";

/// A decoder that panics over a file costs the worker that file and no more, so it is no find. By itself libFuzzer ends with any panic;
/// with this only one that nobody catches ends it.
pub fn let_panics_be_caught() {
    panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
}

/// A zip of one image for each line of `names`, of the first hundred.
pub fn archive_of(names: &str) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut known = HashSet::new();
    for name in names.lines().take(100).filter(|name| name.len() < 600) {
        if known.insert(name) && archive.start_file(name, stored).is_ok() {
            archive.write_all(PICTURE).expect("memory takes it");
        }
    }
    archive.finish().expect("memory takes it").into_inner()
}

/// A zip of images in two folders, and of this file.
pub fn archive_with_table(name: &str, contents: &[u8]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let images = ["a/1.bmp", "a/2.bmp", "b/3.bmp", "b/04.bmp", "c/1.bmp"].map(|path| (path, PICTURE));
    for (path, contents) in images.into_iter().chain([(name, contents)]) {
        archive.start_file(path, stored).expect("memory takes it");
        archive.write_all(contents).expect("memory takes it");
    }
    archive.finish().expect("memory takes it").into_inner()
}

/// Reads the archive and panics where the result is none that an archive may have.
pub fn checked(archive: &[u8], limits: IngestLimits) {
    thread_local!(static FOLDER: OnceCell<TempDir> = const { OnceCell::new() });
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| {
            let memory = Path::new("/dev/shm");
            let made = if memory.is_dir() {
                tempfile::tempdir_in(memory)
            } else {
                tempfile::tempdir()
            };
            made.expect("there is a place for a folder")
        });
        let path = folder.path().join("archive");
        fs::write(&path, archive).expect("the archive can be written");
        let spec = IngestRun {
            dataset: DatasetId::new(),
            archive: path,
            sha256: None,
            options: ReadOptions::default(),
            limits,
            min_free_bytes: 0,
            waits_for_disk: false,
            threads: 1,
            pack_side: 16,
            first_image: 0,
            segment: 0,
            names_only: false,
            used_bits: None,
        };
        let dir = RunDir::new(folder.path());
        let (reporter, stop) = (Reporter::to(io::sink()), StopFlag::default());
        match ingest::run(&spec, &dir, &reporter, &stop) {
            Ok(RunResult::Ingested(result)) => accounts_for_itself(&dir, &result, &spec.limits),
            Ok(RunResult::Refused(refusal)) => {
                assert!(!refusal.code.is_empty() && !refusal.message.is_empty())
            }
            other => panic!("{other:?}"),
        }
    });
}

fn accounts_for_itself(dir: &RunDir, result: &IngestResult, limits: &IngestLimits) {
    let manifest = fs::read_to_string(dir.file(&result.manifest.file)).expect("the manifest is there");
    let images: Vec<ManifestImage> = manifest
        .lines()
        .map(|line| serde_json::from_str(line).expect("the manifest is JSON"))
        .collect();
    assert_eq!(images.len() as u64, result.images);
    assert_eq!(result.report.used, result.images);
    assert_eq!(
        result.splits.train + result.splits.val + result.splits.test,
        result.images
    );
    let names: Vec<&str> = result.classes.iter().map(|class| class.name.as_str()).collect();
    assert!(
        names.windows(2).all(|pair| pair[0] < pair[1]),
        "classes are sorted and different"
    );
    assert!(names.len() <= limits.max_classes);
    for (index, class) in (0..).zip(&result.classes) {
        // An image with several labels is one of each of their classes.
        let of_class = images
            .iter()
            .filter(|image| image.label_set().contains(&index))
            .count();
        assert_eq!(of_class as u64, class.images);
    }
    let report = fs::read_to_string(dir.file(&result.report_entries.file)).expect("the report is there");
    let accounted = result.report.used + result.report.skipped + result.report.ignored;
    assert_eq!(report.lines().count() as u64, accounted);
    assert!(accounted <= limits.max_entries);
    let harmful = |character: char| character.is_control() && character != '\n';
    assert!(!report.contains(harmful), "the report is safe to print");
}
