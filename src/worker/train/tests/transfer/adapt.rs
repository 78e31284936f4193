//! Trainings that adapt to a target domain: what they tell, what changes, and that they go on after an interruption.

use std::fs;

use serde_json::{Value, json};

use super::{
    drawn::{Attempt, Drawn, attempt, uninterrupted},
    epochs, failed,
    resume::stopped_after_every_step,
    trained, warnings, weights,
};
use crate::{
    domain::{
        datasets::split::Split,
        jobs::{evaluation::Evaluation, job::FailureCode},
        spec::EvaluatedSplit,
    },
    protocol::{TrainResult, TrainRun, WorkerMessage},
    worker::{process::run_dir::RunDir, train::publish::EVALUATION_FILE},
};

/// Two epochs of resnet20 from scratch, adapted to the images of another set.
fn adapting(set: &Drawn, target: &Drawn, adaptation: Value) -> TrainRun {
    let mut adaptation = adaptation;
    adaptation["target_dataset"] = json!("target");
    let mut run = plain(set);
    run.spec = set
        .run(json!({
            "backbone": {"architecture": "resnet20", "weights": "none"}, "batch_size": 10, "domain_adaptation": adaptation,
            "augment": {"horizontal_flip": true},
        }))
        .spec;
    run.unlabelled = Some(target.input.clone());
    run
}

/// The same without adaptation.
fn plain(set: &Drawn) -> TrainRun {
    set.run(json!({
        "backbone": {"architecture": "resnet20", "weights": "none"}, "batch_size": 10, "augment": {"horizontal_flip": true},
    }))
}

/// A labelled target of which two images of three take part, and the third is judged by.
fn target() -> Drawn {
    Drawn::new(27, 32, |id| if id % 9 < 3 { Split::Test } else { Split::Train })
}

fn evaluation(dir: &RunDir, result: &TrainResult) -> Evaluation {
    assert_eq!(result.evaluation.as_ref().unwrap().file, EVALUATION_FILE);
    serde_json::from_slice(&fs::read(dir.file(EVALUATION_FILE)).unwrap()).unwrap()
}

fn logs(attempt: &Attempt) -> Vec<String> {
    let log = |message: &WorkerMessage| match message {
        WorkerMessage::Log { event } => Some(event.message.clone()),
        _ => None,
    };
    attempt.messages.iter().filter_map(log).collect()
}

#[test]
fn every_method_with_a_loss_tells_it_and_says_what_it_brings() {
    let (set, target) = (Drawn::flat(24), target());
    let mut baselines = Vec::new();
    for method in ["coral", "mmd", "dann"] {
        let dir = set.dir(method);
        let run = adapting(&set, &target, json!({"method": method, "warmup_epochs": 1}));
        let attempt = uninterrupted(&run, &dir);
        assert!(
            logs(&attempt)
                .iter()
                .any(|log| log.starts_with("without adaptation "))
        );
        let told = epochs(&attempt.messages);
        let result = trained(attempt.result);
        assert_eq!(told.len(), 2, "the training before is not among them");
        assert_eq!(
            told[0].alignment_loss, None,
            "{method}: it begins after the warm-up"
        );
        assert!(told[1].alignment_loss.unwrap() > 0.0, "{method}");
        assert!(
            told.iter().all(|epoch| epoch.best),
            "the last epoch's weights are the result"
        );
        assert_eq!(result.card.metrics.as_ref().unwrap().epoch, 2);

        let adaptation = evaluation(&dir, &result).adaptation.unwrap();
        assert_eq!((adaptation.method.as_str(), adaptation.images), (method, 18));
        assert_eq!(adaptation.target, target.input.lineage);
        let before = adaptation.source_only.unwrap();
        for score in [&before, &adaptation.adapted] {
            let test = score.test.as_ref().unwrap();
            assert_eq!((test.split, test.images), (EvaluatedSplit::Test, 9));
            assert!((0.0..=1.0).contains(&score.domain_accuracy));
        }
        baselines.push(before);
    }
    assert!(
        baselines.iter().all(|score| *score == baselines[0]),
        "it is the same training"
    );
}

#[test]
fn statistics_of_the_target_are_all_that_adabn_changes() {
    let (set, target) = (Drawn::flat(24), target());
    let (dir, plain_dir) = (set.dir("adabn"), set.dir("plain"));
    let plain_result = trained(uninterrupted(&plain(&set), &plain_dir).result);
    let run = adapting(&set, &target, json!({"method": "adabn"}));
    let attempt = uninterrupted(&run, &dir);
    assert!(
        epochs(&attempt.messages)
            .iter()
            .all(|epoch| epoch.alignment_loss.is_none())
    );
    let result = trained(attempt.result);
    let (before, after) = (weights(&plain_dir, &plain_result), weights(&dir, &result));
    for (name, tensor) in &after {
        let is_statistic = name.ends_with("running_mean") || name.ends_with("running_var");
        assert_eq!(!tensor.equal(&before[name]), is_statistic, "{name}");
    }
    let found = evaluation(&dir, &result);
    let metrics = result.card.metrics.unwrap();
    assert_eq!(
        metrics.val_accuracy,
        Some(found.accuracy),
        "measured with the new statistics"
    );
    let adaptation = found.adaptation.unwrap();
    assert!(adaptation.source_only.is_some(), "it costs nothing");

    // The same images as a target give the same statistics whatever they were before.
    let again = trained(uninterrupted(&run, &set.dir("again")).result);
    assert_eq!(again.weights.sha256, result.weights.sha256);
}

#[test]
fn a_target_without_labels_is_judged_by_its_features_alone() {
    let set = Drawn::flat(24);
    let target = Drawn::flat(12).unlabelled();
    let run = adapting(&set, &target, json!({"method": "coral", "baseline": false}));
    let dir = set.dir("run");
    let attempt = uninterrupted(&run, &dir);
    assert!(
        !logs(&attempt)
            .iter()
            .any(|log| log.starts_with("without adaptation"))
    );
    let result = trained(attempt.result);
    let adaptation = evaluation(&dir, &result).adaptation.unwrap();
    assert_eq!((adaptation.images, adaptation.source_only), (12, None));
    assert_eq!(adaptation.adapted.test, None);
}

#[test]
fn frozen_stages_keep_their_bits_and_the_target_goes_through_them() {
    let (set, target) = (Drawn::flat(16), target());
    let mut run = set.run(json!({
        "freeze": {"until": "layer3"}, "epochs": 1, "domain_adaptation": {"target_dataset": "t", "method": "mmd", "baseline": false},
    }));
    run.unlabelled = Some(target.input.clone());
    let dir = set.dir("run");
    let result = trained(uninterrupted(&run, &dir).result);
    let before = crate::worker::files::state::read(&super::drawn::base_weights()).unwrap();
    for (name, tensor) in weights(&dir, &result) {
        let frozen =
            ["conv1", "bn1", "layer1", "layer2", "layer3"].contains(&name.split('.').next().unwrap());
        let same = before[&name].size() == tensor.size() && before[&name].equal(&tensor);
        assert_eq!(same, frozen, "{name}");
    }
}

#[test]
fn stopped_after_every_step_it_ends_with_the_same_bits() {
    let (set, target) = (Drawn::flat(26), target());
    for adaptation in [
        json!({"method": "dann", "warmup_epochs": 1}),
        json!({"method": "coral", "baseline": false}),
    ] {
        stopped_after_every_step(&set, adapting(&set, &target, adaptation));
    }
}

#[test]
fn a_run_stopped_in_the_training_before_goes_on_there() {
    let (set, target) = (Drawn::flat(26), target());
    let mut run = adapting(&set, &target, json!({"method": "mmd"}));
    let whole_dir = set.dir("whole");
    let whole = trained(uninterrupted(&run, &whole_dir).result);
    let first_dir = set.dir("first");
    let first = attempt(&run, &first_dir, |message, stop| {
        if matches!(message, WorkerMessage::Log { event } if event.message.starts_with("first the same")) {
            stop.set();
        }
    });
    assert!(first.result.is_err() && epochs(&first.messages).is_empty());
    let files = fs::read_dir(first_dir.file(""))
        .unwrap()
        .map(|file| file.unwrap().path());
    run.checkpoints = files
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("checkpoint-")
        })
        .collect();
    assert_eq!(run.checkpoints.len(), 1);
    run.common.attempt = 2;
    let second_dir = set.dir("second");
    let second = uninterrupted(&run, &second_dir);
    assert!(
        warnings(&second.messages).is_empty(),
        "{:?}",
        warnings(&second.messages)
    );
    let result = trained(second.result);
    assert_eq!(result.weights.sha256, whole.weights.sha256);
    let adaptation = |dir, result| evaluation(dir, result).adaptation;
    assert_eq!(adaptation(&second_dir, &result), adaptation(&whole_dir, &whole));
}

#[test]
fn a_target_that_cannot_be_one_is_an_error_in_words() {
    let set = Drawn::flat(24);
    let mut other = Drawn::flat(12);
    other.input.classes[2] = "leopards".to_owned();
    let run = adapting(&set, &other, json!({"method": "coral"}));
    let (code, message) = failed(uninterrupted(&run, &set.dir("other")).result);
    assert_eq!(code, FailureCode::InvalidData);
    assert!(message.contains("no class `leopards`"), "{message}");
    let one = Drawn::flat(1);
    let run = adapting(&set, &one, json!({"method": "coral"}));
    let (code, message) = failed(uninterrupted(&run, &set.dir("few")).result);
    assert_eq!(code, FailureCode::InvalidData);
    assert!(message.contains("at least two images"), "{message}");
}
