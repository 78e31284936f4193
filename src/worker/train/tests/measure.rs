//! Measuring: at the end of a training, as a job of its own, and the search for a learning rate.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use serde::de::DeserializeOwned;
use serde_json::json;

use super::{
    drawn::{CLASSES, Drawn, attempt, resize_to, uninterrupted},
    epochs, failed, files_of, trained,
};
use crate::{
    domain::{
        datasets::split::Split,
        jobs::{
            evaluation::Evaluation,
            job::FailureCode,
            lr_curve::{LrCurve, LrFindEnd},
        },
        spec::Spec,
    },
    files::digest,
    protocol::{
        Artifact, DatasetInput, EvaluateRun, LrFindRun, ManifestImage, RunResult, TrainResult, TrainRun,
        WorkerMessage,
    },
    worker::{
        process::{
            child::{Reporter, StopFlag, Stopped},
            run_dir::RunDir,
        },
        train,
    },
};

pub(super) fn read<T: DeserializeOwned>(dir: &RunDir, artifact: &Artifact) -> T {
    serde_json::from_slice(&fs::read(dir.file(&artifact.file)).unwrap()).unwrap()
}

fn close(ours: f64, theirs: f64) {
    assert!(
        (ours - theirs).abs() < 1e-5 * theirs.abs().max(1.0),
        "{ours} {theirs}"
    );
}

/// Measures a model that a training left on one part of a dataset.
pub(super) fn measure(
    model: (&RunDir, &TrainResult),
    dataset: &DatasetInput,
    split: &str,
    dir: &RunDir,
) -> anyhow::Result<RunResult> {
    let (trained, result) = model;
    let document = json!({"kind": "evaluate", "model": "m", "dataset": "d", "split": split, "batch_size": 7});
    let Spec::Evaluate(spec) = Spec::parse(&document).unwrap() else {
        panic!("it is of another kind");
    };
    let run = EvaluateRun {
        common: super::drawn::common(dataset.clone()),
        spec: *spec,
        model: files_of(trained, result),
    };
    train::evaluate(&run, dir, &Reporter::to(std::io::sink()), &StopFlag::default())
}

pub(super) fn measured(dir: &RunDir, result: anyhow::Result<RunResult>) -> Evaluation {
    match result.unwrap() {
        RunResult::Found(found) => read(dir, &found.file),
        other => panic!("{other:?}"),
    }
}

/// The same images with the classes in another order.
fn reordered(set: &Drawn, order: [&str; 3], file: &Path) -> DatasetInput {
    let line = |image: &ManifestImage| {
        let name = CLASSES[image.class.unwrap() as usize];
        let class = order.iter().position(|other| *other == name);
        let image = ManifestImage {
            class: class.map(|class| class as u32),
            ..image.clone()
        };
        serde_json::to_string(&image).unwrap() + "\n"
    };
    let lines = set.images.iter().map(line).collect::<String>();
    fs::write(file, &lines).unwrap();
    DatasetInput {
        manifest_sha256: digest::of_bytes(lines.as_bytes()),
        classes: order.map(str::to_owned).to_vec(),
        manifest: file.to_owned(),
        ..set.input.clone()
    }
}

#[test]
fn a_training_leaves_an_evaluation_of_its_best_weights() {
    let set = Drawn::flat(36);
    let mut past = 0;
    for lr in [0.02, 0.2, 0.5] {
        let dir = set.dir(&format!("lr-{lr}"));
        let run = set.run(json!({"epochs": 4, "optimizer": {"lr": lr, "backbone_lr_multiplier": 1.0}}));
        let attempt = uninterrupted(&run, &dir);
        let result = trained(attempt.result);
        let last = epochs(&attempt.messages).pop().unwrap();
        past += usize::from(!last.best);

        let evaluation: Evaluation = read(&dir, result.evaluation.as_ref().unwrap());
        let metrics = result.card.metrics.as_ref().unwrap();
        assert_eq!(evaluation.images, metrics.val_images);
        assert_eq!(Some(evaluation.accuracy), metrics.val_accuracy);
        close(evaluation.loss, metrics.val_loss.unwrap());
        assert_eq!(evaluation.calibration.temperature, result.card.temperature);
        assert!(evaluation.calibration.loss_after <= evaluation.loss + 1e-12);
        let support: u64 = evaluation.classes.iter().map(|class| class.support).sum();
        assert_eq!(support, evaluation.images);
        let wrong = (1.0 - evaluation.accuracy) * evaluation.images as f64;
        assert_eq!(evaluation.mistakes.len(), wrong.round() as usize);
        for mistake in &evaluation.mistakes {
            let image = &set.images[mistake.image as usize];
            assert_eq!(mistake.path, image.path);
            assert_eq!(mistake.class, CLASSES[image.class.unwrap() as usize]);
        }
    }
    assert!(
        past > 0,
        "each time the best epoch was the last, which shows little"
    );
}

#[test]
fn without_validation_images_there_is_no_evaluation_and_no_temperature() {
    let set = Drawn::flat(12);
    let dir = set.dir("run");
    let run = set.run(json!({"epochs": 1, "split": {"val": 0}}));
    let result = trained(uninterrupted(&run, &dir).result);
    assert_eq!((result.evaluation, result.card.temperature), (None, 1.0));
    assert!(!dir.file("evaluation.json").exists());
}

#[test]
fn a_training_that_is_stopped_while_it_measures_goes_on_to_the_same_files() {
    let set = Drawn::flat(24);
    // At this rate nothing is learnt, no epoch is better than the first, and so the best one is not the last.
    let mut run = set.run(json!({"epochs": 3, "freeze": "backbone", "optimizer": {"lr": 1e-20}}));
    let expected = trained(uninterrupted(&run, &set.dir("expected")).result);
    assert_eq!(expected.card.metrics.as_ref().unwrap().epoch, 1);
    // What the best weights gave in an epoch before an interruption is measured again afterwards, and that is what is stopped here.
    for (number, last_epoch) in [(1, 2), (2, 3)] {
        let dir = set.dir(&format!("attempt-{number}"));
        let stopped = attempt(&run, &dir, move |message, stop| {
            if matches!(message, WorkerMessage::Epoch { event, .. } if event.epoch == last_epoch) {
                stop.set();
            }
        });
        assert!(stopped.result.unwrap_err().is::<Stopped>());
        let newest = stopped.messages.iter().rev().find_map(|message| match message {
            WorkerMessage::Checkpoint { event } => Some(dir.file(&event.file)),
            _ => None,
        });
        run.checkpoints = vec![newest.unwrap()];
        run.common.attempt = number + 1;
    }
    let second = uninterrupted(&run, &set.dir("second"));
    assert_eq!(epochs(&second.messages).len(), 0, "nothing is trained again");
    let result = trained(second.result);
    assert_eq!(result.weights.sha256, expected.weights.sha256);
    assert_eq!(result.card, expected.card);
    assert_eq!(result.evaluation, expected.evaluation);
}

#[test]
fn a_model_is_measured_on_classes_in_any_order_and_on_parts_as_its_training_cut_them() {
    let set = Drawn::flat(36);
    let dir = set.dir("run");
    let run = set.run(json!({"epochs": 2}));
    let result = trained(uninterrupted(&run, &dir).result);
    let model = (&dir, &result);

    let own: Evaluation = read(&dir, result.evaluation.as_ref().unwrap());
    let out = set.dir("val");
    let again = measured(&out, measure(model, &set.input, "val", &out));
    assert_eq!(again.confusion_matrix, own.confusion_matrix);
    close(again.loss, own.loss);
    close(again.calibration.ece_after, own.calibration.ece_after);

    let out = set.dir("all");
    let all = measured(&out, measure(model, &set.input, "all", &out));
    assert_eq!(all.images, 36);
    let turned = reordered(&set, ["stripes", "discs", "squares"], &out.file("turned.jsonl"));
    let out = set.dir("turned");
    let same = measured(&out, measure(model, &turned, "all", &out));
    assert_eq!(same, all);
}

#[test]
fn what_cannot_be_measured_is_told() {
    let set = Drawn::new(18, resize_to(), |_| Split::Train);
    let dir = set.dir("run");
    let run = set.run(json!({"epochs": 1}));
    let result = trained(uninterrupted(&run, &dir).result);
    let out = set.dir("out");
    let mut foreign = set.input.clone();
    foreign.classes[1] = "hexagons".into();
    let (code, message) = failed(measure((&dir, &result), &foreign, "all", &out));
    assert_eq!(code, FailureCode::InvalidData);
    assert!(message.contains("hexagons"), "{message}");
    let (code, message) = failed(measure((&dir, &result), &set.input, "test", &out));
    assert_eq!(code, FailureCode::InvalidData);
    assert!(
        message.contains("`test`") && message.contains("`all`"),
        "{message}"
    );
}

fn search(train: TrainRun, range: serde_json::Value) -> LrFindRun {
    let document = json!({"kind": "lr_find", "dataset": "d", "lr_find": range});
    let Spec::LrFind(spec) = Spec::parse(&document).unwrap() else {
        panic!("it is of another kind");
    };
    LrFindRun {
        train,
        lr_find: spec.lr_find,
    }
}

/// Keeps lines as they come, and sets the flag at the first step where `stop` has one.
#[derive(Clone, Default)]
struct Lines {
    told: Arc<Mutex<Vec<WorkerMessage>>>,
    stop: Option<StopFlag>,
}

impl std::io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let message: WorkerMessage = serde_json::from_slice(line)?;
        if let (WorkerMessage::Step { .. }, Some(stop)) = (&message, &self.stop) {
            stop.set();
        }
        self.told.lock().unwrap().push(message);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn growing_learning_rates_give_a_curve_and_a_suggestion() {
    let set = Drawn::flat(32);
    let dir = set.dir("run");
    let run = search(
        set.run(json!({})),
        json!({"min_lr": 1e-5, "max_lr": 100, "steps": 60}),
    );
    let lines = Lines::default();
    let result = train::find_lr(&run, &dir, &Reporter::to(lines.clone()), &StopFlag::default());
    let RunResult::Found(found) = result.unwrap() else {
        panic!("it found something else");
    };
    let curve: LrCurve = read(&dir, &found.file);
    assert_eq!(curve.end, LrFindEnd::Diverged, "{curve:?}");
    assert!((20..60).contains(&curve.points.len()), "{}", curve.points.len());
    for (step, point) in (0..).zip(&curve.points) {
        assert_eq!(point.lr, run.lr_find.lr(step));
    }
    let suggestion = curve.suggestion.unwrap();
    assert!(
        (1e-5..10.0).contains(&suggestion.steepest) && suggestion.minimum_tenth < 1.0,
        "{suggestion:?}"
    );
    let told = lines.told.lock().unwrap();
    let steps: Vec<_> = told
        .iter()
        .filter_map(|message| match message {
            WorkerMessage::Step { event, progress } => Some((event.step, event.lr, progress.steps)),
            _ => None,
        })
        .collect();
    let is_growing = |pair: &[(u64, f64, u64)]| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1;
    assert!(steps.len() > 1 && steps.windows(2).all(is_growing), "{steps:?}");
    assert!(steps.iter().all(|(.., steps)| *steps == 60));
}

#[test]
fn a_search_leaves_when_it_is_asked_to() {
    let set = Drawn::flat(32);
    let run = search(set.run(json!({})), json!({"steps": 60}));
    let stop = StopFlag::default();
    let lines = Lines {
        stop: Some(stop.clone()),
        ..Lines::default()
    };
    let dir = set.dir("run");
    let result = train::find_lr(&run, &dir, &Reporter::to(lines), &stop);
    assert!(result.unwrap_err().is::<Stopped>());
    assert!(!dir.file("lr_find.json").exists());
}
