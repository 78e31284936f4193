//! The same files, with the same contents, as Python's zipfile and tarfile find in archives of their own making.

use std::{collections::BTreeMap, path::Path, process::Command};

use super::*;

/// Zips, and as many tars, of three formats, half of them in gzip.
const EACH: u32 = 100;

#[test]
fn python_and_we_find_the_same_files_in_two_hundred_archives() {
    let dir = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/archives.py");
    let status = Command::new("python3")
        .args(["-B", script])
        .arg(dir.path())
        .args(["1", &EACH.to_string(), &EACH.to_string()])
        .status()
        .expect("python3 is presumed");
    assert!(status.success(), "{script} failed");
    let expected = fs::read(dir.path().join("expected.json")).unwrap();
    let expected: BTreeMap<String, Vec<(String, String)>> = serde_json::from_slice(&expected).unwrap();
    assert_eq!(expected.len() as u32, 2 * EACH);
    let files: usize = expected.values().map(Vec::len).sum();
    assert!(files > 1500, "only {files} files to compare");
    for (archive, expected) in expected {
        assert_eq!(read(&dir.path().join(&archive)), expected, "archive {archive}");
    }
}

/// Names of the files and SHA-256 of what they hold, in the order of the archive.
fn read(path: &Path) -> Vec<(String, String)> {
    let (reporter, stop) = (Reporter::to(std::io::sink()), StopFlag::default());
    let heartbeat = Heartbeat::new(&reporter, &stop);
    let gauge = archive::Gauge::new(&IngestLimits::DEFAULT, &heartbeat);
    let mut files = Vec::new();
    archive::visit(path, &gauge, &mut |entry| {
        let name = entry.name().into_owned();
        match entry.kind {
            archive::Kind::File => match entry.contents()? {
                archive::Contents::Whole(bytes) => files.push((name, digest::of_bytes(&bytes))),
                other => panic!("{name}: {other:?}"),
            },
            archive::Kind::Folder
            | archive::Kind::HardLink
            | archive::Kind::SymbolicLink
            | archive::Kind::NotAFile => {}
            other => panic!("{name}: {other:?}"),
        }
        Ok(())
    })
    .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    files
}
