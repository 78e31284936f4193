//! Archives drawn and packed here, read by `ingest::run` as a child would.

mod accounting;
mod build;
mod class_names;
mod crafted;
mod encodings;
mod findings;
mod formats;
mod hostile;
mod layouts;
mod links;
mod ordinary;
mod packed;
mod paths;
mod peers;
mod tables;

use std::{fs, path::PathBuf};

use tempfile::TempDir;

use self::build::*;
use super::*;
use crate::{
    domain::{
        datasets::{
            dataset::{DatasetWarning, Layout, Outcome, ReportEntry, ReportSummary},
            reading::ReadOptions,
        },
        id::DatasetId,
    },
    limits::IngestLimits,
};

/// A run over an archive, and the directory that it leaves.
struct Run {
    result: anyhow::Result<RunResult>,
    dir: TempDir,
}

fn ingest(archive: &[u8]) -> Run {
    ingest_within(archive, IngestLimits::DEFAULT, 2)
}

/// As [`ingest`], read as somebody chose.
fn ingest_as(archive: &[u8], options: ReadOptions) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let spec = IngestRun {
        options,
        ..spec(&dir, archive, IngestLimits::DEFAULT, 2)
    };
    let result = run(
        &spec,
        &RunDir::new(dir.path()),
        &Reporter::to(std::io::sink()),
        &StopFlag::default(),
    );
    Run { result, dir }
}

fn ingest_within(archive: &[u8], limits: IngestLimits, threads: u32) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let result = run_in(&dir, archive, limits, threads);
    Run { result, dir }
}

fn run_in(dir: &TempDir, archive: &[u8], limits: IngestLimits, threads: u32) -> anyhow::Result<RunResult> {
    run(
        &spec(dir, archive, limits, threads),
        &RunDir::new(dir.path()),
        &Reporter::to(std::io::sink()),
        &StopFlag::default(),
    )
}

/// Writes the archive into the directory, too.
fn spec(dir: &TempDir, archive: &[u8], limits: IngestLimits, threads: u32) -> IngestRun {
    let path = dir.path().join("archive");
    fs::write(&path, archive).unwrap();
    IngestRun {
        dataset: DatasetId::new(),
        archive: path,
        sha256: Some(digest::of_bytes(archive)),
        options: ReadOptions::default(),
        limits,
        min_free_bytes: 0,
        waits_for_disk: false,
        threads,
        pack_side: 32,
        first_image: 0,
        segment: 0,
        names_only: false,
        used_bits: None,
    }
}

impl Run {
    fn ingested(&self) -> &IngestResult {
        match self.result.as_ref().unwrap() {
            RunResult::Ingested(result) => result,
            other => panic!("not ingested: {other:?}"),
        }
    }

    fn rejected(&self) -> (&Refusal, Option<&ReportSummary>) {
        match self.result.as_ref().unwrap() {
            RunResult::Refused(refused) => (refused, refused.report.as_deref()),
            other => panic!("not rejected: {other:?}"),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn manifest(&self) -> Vec<ManifestImage> {
        lines(&self.file(MANIFEST_FILE))
    }

    fn report(&self) -> Vec<ReportEntry> {
        lines(&self.file(REPORT_FILE))
    }

    /// The report's line of one path.
    fn entry(&self, path: &str) -> ReportEntry {
        let entry = self.report().into_iter().find(|entry| entry.path == path);
        entry.unwrap_or_else(|| panic!("{path} is not in the report"))
    }

    fn warning(&self, code: &str) -> DatasetWarning {
        let warnings = &self.ingested().report.warnings;
        let warning = warnings.iter().find(|warning| warning.code == code);
        warning
            .unwrap_or_else(|| panic!("no warning {code} in {warnings:?}"))
            .clone()
    }

    /// `name:images` of each class.
    fn classes(&self) -> Vec<String> {
        let classes = &self.ingested().classes;
        classes
            .iter()
            .map(|class| format!("{}:{}", class.name, class.images))
            .collect()
    }

    fn splits(&self) -> [u64; 3] {
        let splits = self.ingested().splits;
        [splits.train, splits.val, splits.test]
    }
}

fn lines<T: serde::de::DeserializeOwned>(path: &PathBuf) -> Vec<T> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Two images of each of two classes, all different.
fn ants_and_bees() -> Vec<File> {
    vec![
        File::new("ants/1.jpg", jpeg(1)),
        File::new("ants/2.png", png(2)),
        File::new("bees/3.jpg", jpeg(3)),
        File::new("bees/4.png", png(4)),
    ]
}
