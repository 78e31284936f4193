//! Comparisons of backbones as the server sees them: runs in, messages and a table out.

use std::fs;

use serde_json::json;

use super::{
    drawn::{Drawn, Told, uninterrupted},
    failed,
    heads::{set, with},
    trained,
};
use crate::{
    domain::{
        jobs::{comparison::Comparison, evaluation::Evaluation, job::FailureCode},
        metrics::wilson_interval,
        spec::JobKind,
    },
    protocol::{CompareRun, RunResult, TrainRun, WeightsSource, WorkerMessage},
    worker::{
        process::{
            child::{Reporter, StopFlag},
            run_dir::RunDir,
        },
        train,
    },
};

fn quick(set: &Drawn) -> TrainRun {
    with(set, json!({"preset": "quick"}))
}

/// The same network without weights that can be had.
fn without_weights(set: &Drawn) -> TrainRun {
    TrainRun {
        weights: WeightsSource::Unavailable {
            message: "the weights are not to be had".to_owned(),
        },
        ..quick(set)
    }
}

fn compared(
    trainings: Vec<TrainRun>,
    dir: &RunDir,
    stop: &StopFlag,
) -> (anyhow::Result<RunResult>, Vec<WorkerMessage>) {
    let told = Told::default();
    let run = CompareRun {
        trainings,
        max_seconds: None,
    };
    let result = train::compare(&run, dir, &Reporter::to(told.clone()), stop);
    (result, told.messages())
}

#[test]
fn each_backbone_is_measured_as_its_training_would_be_and_one_that_cannot_be_is_named() {
    let set = set();
    let alone = set.dir("alone");
    let model = trained(uninterrupted(&quick(&set), &alone).result);
    let evaluation = alone.file(&model.evaluation.unwrap().file);
    let evaluation: Evaluation = serde_json::from_slice(&fs::read(evaluation).unwrap()).unwrap();

    let dir = set.dir("compared");
    let trainings = vec![without_weights(&set), quick(&set)];
    let (result, messages) = compared(trainings, &dir, &StopFlag::default());
    let RunResult::Found(found) = result.unwrap() else {
        panic!("it found nothing");
    };
    assert_eq!(found.kind, JobKind::Compare);
    let table: Comparison = serde_json::from_slice(&fs::read(dir.file(&found.file.file)).unwrap()).unwrap();
    let [left] = found.activations.as_slice() else {
        panic!("{:?}", found.activations);
    };
    assert_eq!(left.key, model.activations[0].key, "a training can use them");
    assert!(left.file.is_some());
    assert_eq!((table.images, table.backbones.len()), (evaluation.images, 2));
    let [first, second] = table.backbones.as_slice() else {
        panic!("{table:?}");
    };
    let measured = first.measured.as_ref().unwrap();
    assert_eq!(
        (measured.accuracy, measured.macro_f1),
        (evaluation.accuracy, evaluation.macro_f1)
    );
    assert!((measured.loss - evaluation.loss).abs() < 1e-9);
    let hits = (measured.accuracy * table.images as f64).round() as u64;
    assert_eq!(measured.accuracy_interval, wilson_interval(hits, table.images));
    assert!(measured.l2.is_some() && measured.latency_ms > 0.0 && measured.seconds > 0.0);
    let architecture = first.architecture;
    assert_eq!(
        measured.parameters,
        architecture.parameters(set.input.classes.len() as u64)
    );
    assert!(measured.bytes >= 4 * measured.parameters);
    assert!(second.measured.is_none());
    assert!(
        second.error.as_ref().unwrap().contains("not to be had"),
        "{second:?}"
    );

    let warned = |message: &WorkerMessage| matches!(message, WorkerMessage::Warning { event } if event.code == "backbone_not_measured");
    assert!(messages.iter().any(warned));
    let mixed =
        |message: &WorkerMessage| matches!(message, WorkerMessage::Epoch { .. } | WorkerMessage::Step { .. });
    assert!(
        !messages.iter().any(mixed),
        "losses of several trainings would be mixed up"
    );
    let mut steps = messages.iter().filter_map(|message| match message {
        WorkerMessage::Progress { progress } => Some((progress.step, progress.steps)),
        _ => None,
    });
    assert_eq!(steps.next_back(), Some((2, 2)));
}

#[test]
fn where_nothing_can_be_measured_the_job_says_why() {
    let set = set();
    let trainings = vec![without_weights(&set), without_weights(&set)];
    let (result, _) = compared(trainings, &set.dir("none"), &StopFlag::default());
    let (code, message) = failed(result);
    assert_eq!(code, FailureCode::InvalidData);
    assert!(message.contains("not to be had"), "{message}");
}

#[test]
fn a_comparison_stops_when_it_is_told_to() {
    let set = set();
    let stop = StopFlag::default();
    stop.set();
    let (result, _) = compared(vec![quick(&set)], &set.dir("stopped"), &stop);
    assert!(result.unwrap_err().is::<crate::worker::process::child::Stopped>());
}
