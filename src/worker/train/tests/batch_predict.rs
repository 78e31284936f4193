//! Batch predictions: the rows, whatever the pixels come from and whoever makes them.

use std::{
    fs,
    io::Cursor,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use super::{
    drawn::{CLASSES, Drawn, SIZE, resize_to, uninterrupted},
    failed, files_of, trained,
};
use crate::worker::autograd::without_gradients;
use crate::{
    domain::{
        datasets::split::Split,
        jobs::{job::FailureCode, predictions::PredictionRow},
        spec::Spec,
    },
    files::digest,
    protocol::{
        BatchPredictRun, DatasetInput, ManifestImage, PredictedResult, RunResult, WorkerMessage,
        frames::ModelFiles,
    },
    worker::{
        files::bundle,
        nets::{Network, input},
        pixels, predict,
        process::{
            child::{Reporter, StopFlag, Stopped},
            run_dir::RunDir,
        },
        train::{
            self,
            tasks::batch_predict::{Place, classify},
        },
    },
};

/// A model that a short training left in the set's folder `model`.
fn model_of(set: &Drawn) -> ModelFiles {
    let dir = set.dir("model");
    let result = trained(uninterrupted(&set.run(json!({"epochs": 1})), &dir).result);
    files_of(&dir, &result)
}

fn run(model: &ModelFiles, dataset: &DatasetInput, more: Value) -> BatchPredictRun {
    let mut document =
        json!({"kind": "batch-predict", "model": "m", "dataset": "d", "top_k": 2, "batch_size": 5});
    for (field, value) in more.as_object().unwrap() {
        document[field] = value.clone();
    }
    let Spec::BatchPredict(spec) = Spec::parse(&document).unwrap() else {
        panic!("it is of another kind");
    };
    BatchPredictRun {
        common: super::drawn::common(dataset.clone()),
        spec: *spec,
        model: model.clone(),
    }
}

fn carried_out(run: &BatchPredictRun, dir: &RunDir) -> anyhow::Result<RunResult> {
    train::batch_predict(run, dir, &Reporter::to(std::io::sink()), &StopFlag::default())
}

fn predicted(run: &BatchPredictRun, dir: &RunDir) -> PredictedResult {
    match carried_out(run, dir).unwrap() {
        RunResult::Predicted(predicted) => *predicted,
        other => panic!("{other:?}"),
    }
}

fn jsonl(dir: &RunDir) -> String {
    fs::read_to_string(dir.file("predictions.jsonl")).unwrap()
}

fn rows(dir: &RunDir) -> Vec<PredictionRow> {
    let text = jsonl(dir);
    let lines = text.lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The same dataset with its manifest written anew.
fn changed(set: &Drawn, name: &str, change: impl Fn(&mut ManifestImage)) -> DatasetInput {
    let line = |image: &ManifestImage| {
        let mut image = image.clone();
        change(&mut image);
        serde_json::to_string(&image).unwrap() + "\n"
    };
    let manifest = set.dir(name).file("manifest.jsonl");
    let lines = set.images.iter().map(line).collect::<String>();
    fs::write(&manifest, &lines).unwrap();
    DatasetInput {
        manifest,
        manifest_sha256: digest::of_bytes(lines.as_bytes()),
        ..set.input.clone()
    }
}

#[test]
fn each_image_has_the_row_that_its_file_gives() {
    let set = Drawn::new(
        19,
        resize_to(),
        |id| if id < 4 { Split::Val } else { Split::Train },
    );
    let model = model_of(&set);
    let dir = set.dir("out");
    let result = predicted(&run(&model, &set.input, json!({})), &dir);
    assert_eq!((result.images, result.errors), (19, 0));
    assert_eq!(
        (result.jsonl.file.as_str(), result.csv.file.as_str()),
        ("predictions.jsonl", "predictions.csv")
    );

    // The unfolded network, each file by itself.
    let card = bundle::read_card(&model).unwrap();
    let weights = bundle::read_weights(&model).unwrap();
    let network = Network::loaded(card.architecture, card.outputs(), &weights, Device::Cpu).unwrap();
    let rows = rows(&dir);
    assert_eq!(rows.len(), 19);
    for (row, image) in rows.iter().zip(&set.images) {
        assert_eq!(
            (row.image, &row.path, row.split),
            (image.id, &image.path, image.split)
        );
        assert_eq!(row.label.as_deref(), Some(CLASSES[image.class.unwrap() as usize]));
        let prepared = pixels::prepare(&set.file(image), &card.preprocessing, 1 << 20).unwrap();
        let side = i64::from(SIZE);
        let tensor = Tensor::from_data_size(&prepared.rgb, &[1, side, side, 3], Kind::Uint8);
        let tensor = input::normalised(&tensor, &card.preprocessing, Device::Cpu);
        let logits = without_gradients(|| network.logits(&tensor)).view(-1);
        let logits: Vec<f32> = Vec::try_from(logits).unwrap();
        let expected = predict::likeliest(&logits, &card, 2).unwrap();
        let found = row.predictions.as_ref().unwrap();
        assert_eq!(found.len(), 2);
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!((&found.label, found.index), (&expected.label, expected.index));
            assert!(
                (found.probability - expected.probability).abs() < 1e-5,
                "{found:?} {expected:?}"
            );
        }
    }

    let text = fs::read(dir.file("predictions.csv")).unwrap();
    let mut csv = csv::Reader::from_reader(Cursor::new(text));
    let header = csv.headers().unwrap().clone();
    let expected = [
        "image",
        "path",
        "split",
        "label",
        "predicted",
        "probability",
        "label_2",
        "probability_2",
        "error",
    ];
    assert_eq!(header.iter().collect::<Vec<_>>(), expected);
    let cells: Vec<_> = csv.records().map(Result::unwrap).collect();
    assert_eq!(cells.len(), 19);
    for (cells, row) in cells.iter().zip(&rows) {
        let found = row.predictions.as_ref().unwrap();
        assert_eq!(
            (&cells[0], &cells[1]),
            (row.image.to_string().as_str(), row.path.as_str())
        );
        assert_eq!(
            (&cells[4], &cells[6]),
            (found[0].label.as_str(), found[1].label.as_str())
        );
        assert_eq!(cells[5].parse(), Ok(found[0].probability));
        assert_eq!(&cells[8], "");
    }
}

#[test]
fn rows_depend_neither_on_the_pack_nor_on_the_threads() {
    let set = Drawn::flat(37);
    let model = model_of(&set);
    let dir = set.dir("out");
    predicted(&run(&model, &set.input, json!({})), &dir);
    let expected = jsonl(&dir);
    // Nothing is packed at the side that the model wants.
    let other = Drawn::new(37, 24, |_| Split::Train);
    for (dataset, threads) in [(&set.input, 1), (&set.input, 5), (&other.input, 3)] {
        let mut run = run(&model, dataset, json!({}));
        run.common.threads = threads;
        predicted(&run, &dir);
        assert!(jsonl(&dir) == expected, "on {threads} threads");
    }
}

/// A card computes whole batches while the lanes make pixels; the same on the processor.
#[test]
fn batches_that_gather_from_the_lanes_give_the_same_rows() {
    let set = Drawn::flat(37);
    let model = model_of(&set);
    let dir = set.dir("out");
    predicted(&run(&model, &set.input, json!({})), &dir);
    let expected = rows(&dir);
    let place = Place {
        device: Device::Cpu,
        in_lanes: false,
    };
    for batch_size in [3, 20, 64] {
        let run = run(&model, &set.input, json!({"batch_size": batch_size}));
        let (reporter, stop) = (Reporter::to(std::io::sink()), StopFlag::default());
        let result = classify(&run, place, &dir, &reporter, &stop);
        assert!(matches!(result, Ok(RunResult::Predicted(predicted)) if predicted.images == 37));
        let found = rows(&dir);
        assert_eq!(found.len(), 37);
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!((found.image, &found.label), (expected.image, &expected.label));
            let best = |row: &PredictionRow| row.predictions.as_ref().unwrap()[0].clone();
            let (found, expected) = (best(found), best(expected));
            assert_eq!(found.label, expected.label);
            assert!(
                (found.probability - expected.probability).abs() < 1e-5,
                "{batch_size}"
            );
        }
    }
}

#[test]
fn an_image_that_cannot_be_read_has_its_reason_and_hurts_no_other() {
    let set = Drawn::new(12, 24, |_| Split::Train);
    let model = model_of(&set);
    let dir = set.dir("out");
    predicted(&run(&model, &set.input, json!({})), &dir);
    let whole = rows(&dir);
    let path = &set.input.segments[0].images;
    let mut files = fs::read(path).unwrap();
    let (broken, foreign) = (&set.images[3], &set.images[8]);
    let middle = (broken.offset + broken.bytes / 2) as usize;
    files[middle..(broken.offset + broken.bytes) as usize].fill(0);
    files[foreign.offset as usize..][..foreign.bytes as usize].fill(b'x');
    // The last file is not there to its end.
    files.pop();
    // The others are what was stored, as far as the manifest knows: a decoder of today takes less than one of before.
    let dataset = changed(&set, "today", |image| {
        if [broken.id, foreign.id].contains(&image.id) {
            let file = &files[image.offset as usize..][..image.bytes as usize];
            image.sha256 = digest::of_bytes(file);
        }
    });
    fs::write(path, files).unwrap();

    let messages = Arc::new(Mutex::new(Vec::new()));
    let reporter = Reporter::to(Messages(messages.clone()));
    let result = train::batch_predict(
        &run(&model, &dataset, json!({})),
        &dir,
        &reporter,
        &StopFlag::default(),
    );
    let RunResult::Predicted(result) = result.unwrap() else {
        panic!("it found something else");
    };
    assert_eq!((result.images, result.errors), (12, 3));
    for (place, (row, whole)) in rows(&dir).iter().zip(&whole).enumerate() {
        if ![3, 8, 11].contains(&place) {
            assert_eq!(row.predictions.as_ref().unwrap().len(), 2);
            let close = |(one, other): (f64, f64)| (one - other).abs() < 1e-5;
            let best = |row: &PredictionRow| row.predictions.as_ref().unwrap()[0].probability;
            assert!(close((best(row), best(whole))), "{place}");
            continue;
        }
        assert_eq!(
            (row.image, &row.path, &row.label),
            (whole.image, &whole.path, &whole.label)
        );
        assert!(row.predictions.is_none());
        let code = row.error.as_ref().unwrap().code.as_str();
        match place {
            8 => assert_eq!(code, "not_an_image"),
            11 => assert_eq!(code, "data_damaged"),
            _ => assert!(["undecodable", "truncated"].contains(&code), "{code}"),
        }
    }
    let messages = messages.lock().unwrap();
    let warned = messages.iter().find_map(|message| match message {
        WorkerMessage::Warning { event } => Some(event.message.clone()),
        _ => None,
    });
    assert!(warned.unwrap().starts_with("3 of 12 images"));
    let last = messages.iter().rev().find_map(|message| match message {
        WorkerMessage::Progress { progress } => Some((progress.step, progress.steps)),
        _ => None,
    });
    assert_eq!(last, Some((12, 12)));
}

struct Messages(Arc<Mutex<Vec<WorkerMessage>>>);

impl std::io::Write for Messages {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().push(serde_json::from_slice(line)?);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn datasets_without_classes_or_with_others_are_classified_too() {
    let set = Drawn::flat(9);
    let model = model_of(&set);
    let dir = set.dir("out");
    predicted(&run(&model, &set.input, json!({})), &dir);
    let own = rows(&dir);
    let bare = DatasetInput {
        classes: Vec::new(),
        ..changed(&set, "bare", |image| image.class = None)
    };
    predicted(&run(&model, &bare, json!({})), &dir);
    for (row, own) in rows(&dir).iter().zip(&own) {
        assert_eq!((&row.label, &row.predictions), (&None, &own.predictions));
    }
    let foreign = DatasetInput {
        classes: vec!["=hexagons".into(), "rings".into(), "waves".into()],
        ..set.input.clone()
    };
    predicted(&run(&model, &foreign, json!({"top_k": 9})), &dir);
    let labels: Vec<_> = rows(&dir).into_iter().map(|row| row.label.unwrap()).collect();
    assert_eq!(labels[..3], ["=hexagons", "rings", "waves"]);
    assert_eq!(rows(&dir)[0].predictions.as_ref().unwrap().len(), 3);
    let csv = fs::read_to_string(dir.file("predictions.csv")).unwrap();
    let mut lines = csv.lines();
    assert!(lines.next().unwrap().ends_with(",label_3,probability_3,error"));
    assert!(lines.next().unwrap().contains(",train,'=hexagons,"), "{csv}");
}

#[test]
fn one_part_is_cut_as_the_training_cut_it() {
    let set = Drawn::flat(36);
    let model = model_of(&set);
    let dir = set.dir("out");
    let shown = |split: &str| -> Vec<(u32, Split)> {
        let result = predicted(&run(&model, &set.input, json!({"split": split})), &dir);
        let rows = rows(&dir);
        assert_eq!(result.images, rows.len() as u64);
        rows.iter().map(|row| (row.image, row.split)).collect()
    };
    let (train, val) = (shown("train"), shown("val"));
    assert_eq!((train.len(), val.len()), (27, 9));
    assert!(train.is_sorted() && val.is_sorted());
    assert!(train.iter().all(|(_, split)| *split == Split::Train));
    assert!(
        val.iter()
            .all(|(image, split)| *split == Split::Val && !train.contains(&(*image, Split::Train)))
    );
    let card = bundle::read_card(&model).unwrap();
    assert_eq!(card.metrics.unwrap().val_images, 9);

    let (code, message) = failed(carried_out(
        &run(&model, &set.input, json!({"split": "test"})),
        &dir,
    ));
    assert_eq!(code, FailureCode::InvalidData);
    assert!(
        message.contains("`test`") && message.contains("`all`"),
        "{message}"
    );
    // Nothing can be cut of what has no classes.
    let bare = changed(&set, "bare", |image| image.class = None);
    let (code, _) = failed(carried_out(&run(&model, &bare, json!({"split": "val"})), &dir));
    assert_eq!(code, FailureCode::InvalidData);
}

#[test]
fn it_leaves_when_it_is_asked_to_or_when_its_time_is_over() {
    let set = Drawn::flat(36);
    let model = model_of(&set);
    let dir = set.dir("out");
    let stop = StopFlag::default();
    stop.set();
    let run = run(&model, &set.input, json!({"max_seconds": 100}));
    let stopped = train::batch_predict(&run, &dir, &Reporter::to(std::io::sink()), &stop);
    assert!(stopped.unwrap_err().is::<Stopped>());
    let mut late = run;
    late.common.seconds_used = 100.0;
    let (code, message) = failed(carried_out(&late, &dir));
    assert_eq!(code, FailureCode::TimeLimit);
    assert!(message.contains("max_seconds"), "{message}");
}
