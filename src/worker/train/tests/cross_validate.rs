//! Cross-validations as the server sees them: a run in, scores out.

use std::fs;

use serde_json::{Value, json};

use super::{
    drawn::{Drawn, Told},
    epochs, failed,
    heads::{set, with},
};
use crate::{
    domain::{
        datasets::split::Split,
        jobs::{cross_validation::CrossValidation, job::FailureCode},
        spec::{JobKind, Spec},
    },
    protocol::{CrossValidateRun, FoundResult, KnownActivations, RunResult, WorkerMessage},
    worker::{
        process::{
            child::{Reporter, StopFlag, Stopped},
            run_dir::RunDir,
        },
        train,
    },
};

fn run(set: &Drawn, fields: Value) -> CrossValidateRun {
    let mut document = json!({
        "kind": "cross_validate", "dataset": "drawn", "backbone": {"weights": "base.safetensors"}, "batch_size": 8,
    });
    for (field, value) in fields.as_object().unwrap() {
        document[field] = value.clone();
    }
    let Spec::CrossValidate(spec) = Spec::parse(&document).unwrap() else {
        panic!("it is of another kind");
    };
    CrossValidateRun {
        train: with(set, json!({"preset": "quick"})),
        spec: *spec,
    }
}

fn measured(run: &CrossValidateRun, dir: &RunDir) -> (CrossValidation, FoundResult, Vec<WorkerMessage>) {
    let told = Told::default();
    let result = train::cross_validate(run, dir, &Reporter::to(told.clone()), &StopFlag::default());
    let found = match result.unwrap() {
        RunResult::Found(found) => found,
        other => panic!("{other:?}"),
    };
    assert_eq!(found.kind, JobKind::CrossValidate);
    let scores = fs::read(dir.file(&found.file.file)).unwrap();
    (serde_json::from_slice(&scores).unwrap(), found, told.messages())
}

#[test]
fn every_image_is_judged_once_for_each_seed() {
    let mut set = set();
    // With some wrong labels, so that not every fold is right.
    set.change(|image| {
        if image.id % 30 < 3 {
            image.class = image.class.map(|class| (class + 1) % 3);
        }
    });
    let (found, _, told) = measured(
        &run(&set, json!({"seed": 4, "repeats": 2, "folds": 4})),
        &set.dir("run"),
    );
    assert_eq!((found.images, found.folds), (60, 4));
    let places: Vec<_> = found
        .scores
        .iter()
        .map(|score| (score.seed, score.fold))
        .collect();
    let expected = [(4, 1), (4, 2), (4, 3), (4, 4), (5, 1), (5, 2), (5, 3), (5, 4)];
    assert_eq!(places, expected);
    assert!(found.scores.iter().all(|score| score.images == 15));
    assert!(found.accuracy > 0.7 && found.accuracy < 0.95, "{found:?}");
    let [low, high] = found.accuracy_interval;
    assert!(low < found.accuracy && found.accuracy < high, "{found:?}");
    assert!(found.scores.iter().all(|score| score.l2 > 0.0));
    assert!(epochs(&told).is_empty(), "there are no epochs");
    let mut steps = told.iter().filter_map(|message| match message {
        WorkerMessage::Progress { progress } => Some((progress.step, progress.steps)),
        _ => None,
    });
    assert_eq!(steps.next_back(), Some((8, 8)));
}

#[test]
fn a_given_penalty_is_used_and_kept_features_give_the_same_bits() {
    let set = set();
    let dir = set.dir("first");
    let mut again = run(&set, json!({"head": {"l2": 0.25}, "repeats": 1}));
    let (first, found, _) = measured(&again, &dir);
    assert!(first.scores.iter().all(|score| score.l2 == 0.25));
    let left = found.activations[0].clone();
    again.train.activations = vec![KnownActivations {
        key: left.key,
        path: dir.file(&left.file.unwrap().file),
    }];
    let (second, found, _) = measured(&again, &set.dir("second"));
    assert_eq!(second, first);
    assert!(found.activations[0].file.is_none());
}

#[test]
fn images_of_the_test_split_take_no_part() {
    let set = Drawn::new(45, super::resize_to(), |id| match id % 5 {
        0 => Split::Test,
        1 => Split::Val,
        _ => Split::Train,
    });
    let (found, ..) = measured(&run(&set, json!({"folds": 3, "repeats": 1})), &set.dir("run"));
    assert_eq!(found.images, 36);
    assert_eq!(found.scores.iter().map(|score| score.images).sum::<u64>(), 36);
}

#[test]
fn what_cannot_be_divided_says_what_to_change() {
    let few = Drawn::flat(9);
    let result = |fields: Value| {
        let reporter = Reporter::to(std::io::sink());
        let dir = few.dir("refused");
        failed(train::cross_validate(
            &run(&few, fields),
            &dir,
            &reporter,
            &StopFlag::default(),
        ))
    };
    let (code, message) = result(json!({}));
    assert_eq!(code, FailureCode::InvalidData);
    assert!(message.contains("set `folds` to 3 or less"), "{message}");
    // Of two images of each class none is left to choose by.
    let (code, message) = result(json!({"folds": 3}));
    assert_eq!(code, FailureCode::InvalidData);
    assert!(message.contains("give `head.l2`"), "{message}");
}

#[test]
fn a_cross_validation_stops_when_it_is_told_to() {
    let set = set();
    let stop = StopFlag::default();
    stop.set();
    let reporter = Reporter::to(std::io::sink());
    let result = train::cross_validate(&run(&set, json!({})), &set.dir("stopped"), &reporter, &stop);
    assert!(result.unwrap_err().is::<Stopped>());
}
