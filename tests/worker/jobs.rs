//! `ingest` and `train` as the server starts them: a run directory, lines on stdout, stdin held open, a result file at the end.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{child::Worker, drawn, predict};
use finetuned::{
    domain::{
        datasets::reading::ReadOptions,
        id::{DatasetId, JobId},
        models::{model::DatasetLineage, preprocessing::UsedBits},
        name::Name,
        spec::{Architecture, JobSpec},
    },
    files::digest,
    limits::IngestLimits,
    protocol::{
        DatasetInput, EXIT_STOPPED, IngestResult, IngestRun, JobRun, RESULT_FILE, RUN_FILE, RunResult,
        RunSpec, Segment, TrainResult, TrainRun, WeightsSource, WorkerMessage,
        frames::{BaseFile, ModelFiles},
    },
};

const PACK_SIDE: u32 = 256;

fn run_dir(spec: &RunSpec) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(RUN_FILE), serde_json::to_vec(spec).unwrap()).unwrap();
    folder
}

fn start(folder: &TempDir) -> Worker<String> {
    Worker::with_lines(["run".as_ref(), "--run-dir".as_ref(), folder.path().as_os_str()])
}

fn result_of(folder: &TempDir) -> RunResult {
    serde_json::from_slice(&fs::read(folder.path().join(RESULT_FILE)).unwrap()).unwrap()
}

/// Runs a child to its end and returns what it said and its result.
fn finished(folder: &TempDir) -> (Vec<WorkerMessage>, RunResult) {
    let (lines, status, errors) = start(folder).end();
    assert_eq!(status.code(), Some(0), "{errors}");
    (
        lines.iter().map(|line| message(line)).collect(),
        result_of(folder),
    )
}

/// stdout is for the protocol alone: every line has to be a message.
fn message(line: &str) -> WorkerMessage {
    serde_json::from_str(line).unwrap_or_else(|fault| panic!("{fault}: {line}"))
}

fn ingest_run(archive: PathBuf) -> RunSpec {
    RunSpec::Ingest(Box::new(IngestRun {
        dataset: DatasetId::new(),
        sha256: Some(digest::of_file(&archive).unwrap().0),
        archive,
        limits: IngestLimits::DEFAULT,
        min_free_bytes: 0,
        waits_for_disk: false,
        threads: 2,
        pack_side: PACK_SIDE,
        options: ReadOptions::default(),
        first_image: 0,
        segment: 0,
        names_only: false,
        used_bits: None,
    }))
}

/// A dataset of drawn images, read by the worker.
struct Dataset {
    folder: TempDir,
    result: IngestResult,
    lineage: DatasetLineage,
    /// The one that trains on it, in as many attempts as it takes.
    job: JobId,
}

fn ingested(images: u32) -> Dataset {
    let uploads = tempfile::tempdir().unwrap();
    let archive = uploads.path().join("drawn.zip");
    drawn::archive(&archive, images);
    ingested_from(archive)
}

fn ingested_from(archive: PathBuf) -> Dataset {
    let folder = run_dir(&ingest_run(archive));
    match finished(&folder).1 {
        RunResult::Ingested(result) => Dataset {
            folder,
            result: *result,
            lineage: DatasetLineage {
                id: DatasetId::new(),
                name: Name::parse("drawn").unwrap(),
                version: 1,
                sha256: "0".repeat(64),
                content_sha256: None,
            },
            job: JobId::new(),
        },
        other => panic!("{other:?}"),
    }
}

impl Dataset {
    fn input(&self) -> DatasetInput {
        let file = |name: &str| self.folder.path().join(name);
        DatasetInput {
            lineage: self.lineage.clone(),
            classes: self
                .result
                .classes
                .iter()
                .map(|class| class.name.clone())
                .collect(),
            manifest: file(&self.result.manifest.file),
            manifest_sha256: self.result.manifest.sha256.clone(),
            segments: vec![Segment {
                number: 0,
                images: file(&self.result.images_file.file),
                pack: file(&self.result.pack.file),
                pack_sha256: digest::of_file(&file(&self.result.pack.file)).unwrap().0,
                pack_side: PACK_SIDE,
            }],
            packs: Vec::new(),
        }
    }

    fn training(&self, spec: Value, attempt: u32, checkpoints: Vec<PathBuf>) -> TempDir {
        let mut run = self.run(spec, WeightsSource::None);
        run.common.attempt = attempt;
        run.checkpoints = checkpoints;
        run_dir(&RunSpec::Train(Box::new(run)))
    }

    /// So few steps train no whole network; a head upon the features of a random one tells red from blue.
    fn training_of_a_head(&self) -> TempDir {
        let base = self.nearly_random();
        let path = self.folder.path().join("base.safetensors");
        fs::copy(base.1.weights, &path).unwrap();
        let origin = "base.safetensors".to_owned();
        let mut spec = spec(6);
        spec["backbone"]["weights"] = json!(origin);
        spec["freeze"] = json!("backbone");
        let run = self.run(
            spec,
            WeightsSource::File {
                path,
                origin,
                sha256: None,
                classes: None,
            },
        );
        run_dir(&RunSpec::Train(Box::new(run)))
    }

    /// A model that is as it was drawn, but for one epoch of next to no learning.
    fn nearly_random(&self) -> (TempDir, ModelFiles) {
        let mut spec = spec(1);
        spec["optimizer"]["lr"] = json!(1e-9);
        let folder = self.training(spec, 1, Vec::new());
        let (_, result) = trained(&folder);
        let files = model_of(folder.path(), &result);
        (folder, files)
    }

    fn run(&self, spec: Value, weights: WeightsSource) -> TrainRun {
        TrainRun {
            common: JobRun {
                job: self.job,
                attempt: 1,
                dataset: self.input(),
                device: "cpu".into(),
                // One thread each: tests run side by side, and threads that wait for each other do badly on a machine that is full.
                threads: 1,
                seconds_used: 0.0,
            },
            spec: JobSpec::parse(&spec).unwrap(),
            weights,
            unlabelled: None,
            teachers: Vec::new(),
            pretraining: None,
            checkpoints: Vec::new(),
            activations: Vec::new(),
            max_activation_bytes: 1 << 30,
            bases: Vec::new(),
        }
    }
}

fn spec(epochs: u32) -> Value {
    json!({
        "dataset": "drawn", "epochs": epochs, "batch_size": 4, "image": {"size": 32},
        "backbone": {"weights": "none"}, "optimizer": {"lr": 0.002}, "augment": {"horizontal_flip": true},
    })
}

fn trained(folder: &TempDir) -> (Vec<WorkerMessage>, TrainResult) {
    match finished(folder) {
        (messages, RunResult::Trained(result)) => (messages, *result),
        (_, other) => panic!("{other:?}"),
    }
}

/// A model of [`drawn::CLASSES`] that knows nothing, in a folder that has to be kept.
pub fn random_model() -> (TempDir, ModelFiles) {
    ingested(4).nearly_random()
}

fn model_of(folder: &Path, result: &TrainResult) -> ModelFiles {
    ModelFiles {
        sha256: result.weights.sha256.clone(),
        weights: folder.join(&result.weights.file),
        card: folder.join(&result.card_file.file),
        card_sha256: result.card_file.sha256.clone(),
        base: result.base.as_ref().map(|base| BaseFile {
            path: folder.join(&base.file),
            sha256: base.sha256.clone(),
        }),
    }
}

#[test]
fn an_archive_becomes_a_dataset_a_dataset_a_model_and_a_model_answers() {
    let dataset = ingested(16);
    let result = &dataset.result;
    assert_eq!(result.images, 32);
    assert_eq!((result.report.used, result.report.skipped), (32, 1));
    let names: Vec<_> = result.classes.iter().map(|class| class.name.as_str()).collect();
    assert_eq!(names, drawn::CLASSES);

    let folder = dataset.training_of_a_head();
    let (messages, result) = trained(&folder);
    let epochs = messages
        .iter()
        .filter(|message| matches!(message, WorkerMessage::Epoch { .. }));
    assert_eq!(epochs.count(), 6);
    assert_eq!(result.card.architecture, Architecture::Resnet18);
    assert_eq!(result.card.classes, drawn::CLASSES);

    let mut child = predict::ready(folder.path());
    let model = model_of(folder.path(), &result);
    for (class, name) in drawn::CLASSES.iter().enumerate() {
        child.write(&predict::frame(class as u64, &model, &drawn::image(class, 77)));
        let reply = child.next().unwrap();
        assert_eq!(reply["classes"][0]["label"], *name, "{reply}");
    }
}

#[test]
fn a_model_of_twelve_bit_images_sees_them_as_it_learned_them() {
    let uploads = tempfile::tempdir().unwrap();
    let archive = uploads.path().join("deep.zip");
    drawn::deep_archive(&archive, 16);
    let dataset = ingested_from(archive);
    let warnings = &dataset.result.report.warnings;
    assert!(
        warnings.iter().any(|warning| warning.code == "used_bits"),
        "{warnings:?}"
    );
    let folder = dataset.training_of_a_head();
    let (_, result) = trained(&folder);
    assert_eq!(result.card.preprocessing.used_bits, UsedBits::new(12));
    let mut child = predict::ready(folder.path());
    let model = model_of(folder.path(), &result);
    for (class, name) in drawn::CLASSES.iter().enumerate() {
        child.write(&predict::frame(
            class as u64,
            &model,
            &drawn::deep_image(class, 77),
        ));
        let reply = child.next().unwrap();
        assert_eq!(reply["classes"][0]["label"], *name, "{reply}");
    }
}

#[test]
fn a_training_that_is_stopped_and_gone_on_with_ends_as_if_nothing_had_happened() {
    let dataset = ingested(6);
    let undisturbed = trained(&dataset.training(spec(2), 1, Vec::new())).1;

    let first = dataset.training(spec(2), 1, Vec::new());
    let mut child = start(&first);
    let mut said = Vec::new();
    let begun = |message: &WorkerMessage| matches!(message, WorkerMessage::Step { .. });
    while !said.last().is_some_and(begun) {
        said.push(message(&child.next().expect("it trains before it ends")));
    }
    child.close_stdin();
    let (rest, status, errors) = child.end();
    assert_eq!(status.code(), Some(EXIT_STOPPED), "{errors}");
    assert!(!first.path().join(RESULT_FILE).exists());
    said.extend(rest.iter().map(|line| message(line)));
    let checkpoint = said.iter().rev().find_map(|message| match message {
        WorkerMessage::Checkpoint { event } => Some(event.clone()),
        _ => None,
    });
    let checkpoint = checkpoint.expect("a child that is told to leave saves its state");
    let path = first.path().join(&checkpoint.file);
    assert_eq!(
        finetuned::files::digest::of_file(&path).unwrap().0,
        checkpoint.sha256
    );

    let second = dataset.training(spec(2), 2, vec![path]);
    let (messages, result) = trained(&second);
    let resumed = messages.iter().find_map(|message| match message {
        WorkerMessage::Resumed { step, .. } => Some(*step),
        _ => None,
    });
    assert_eq!(resumed, Some(checkpoint.step));
    assert_eq!(result.weights.sha256, undisturbed.weights.sha256);
}

#[test]
fn an_archive_without_images_is_rejected_with_a_reason() {
    let uploads = tempfile::tempdir().unwrap();
    let archive = uploads.path().join("empty.zip");
    zip::ZipWriter::new(fs::File::create(&archive).unwrap())
        .finish()
        .unwrap();
    let folder = run_dir(&ingest_run(archive));
    match finished(&folder).1 {
        RunResult::Refused(error) => assert_eq!(error.code, "no_images"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn weights_that_cannot_be_had_fail_the_job_with_what_to_do() {
    let dataset = ingested(4);
    let message = "there is no model `x`; name another";
    let unavailable = WeightsSource::Unavailable {
        message: message.to_owned(),
    };
    let folder = run_dir(&RunSpec::Train(Box::new(dataset.run(spec(1), unavailable))));
    match finished(&folder).1 {
        RunResult::Failed(error) => assert_eq!(error.message, message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_run_file_that_asks_for_what_is_not_known_is_an_internal_error_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(RUN_FILE), br#"{"kind":"dance"}"#).unwrap();
    let (lines, status, errors) = start(&folder).without_task().end();
    assert_eq!(status.code(), Some(70));
    assert!(lines.is_empty());
    assert_eq!(errors.trim().lines().count(), 1, "{errors}");
    assert!(!folder.path().join(RESULT_FILE).exists());
}
