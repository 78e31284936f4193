//! Trainings that learn from other models: what they tell, that they go on after an interruption, and which teachers there can be.

use std::fs;

use serde_json::{Value, json};

use super::{
    drawn::{Drawn, uninterrupted},
    epochs, failed, files_of,
    resume::stopped_after_every_step,
    trained, weights,
};
use crate::{
    domain::{
        datasets::split::Split,
        id::ModelId,
        jobs::{evaluation::Evaluation, job::FailureCode},
    },
    protocol::{TeacherFiles, TrainResult, TrainRun, frames::ModelFiles},
    worker::{files::bundle, process::run_dir::RunDir, train::publish::EVALUATION_FILE},
};

fn set() -> Drawn {
    Drawn::new(26, 32, |id| if id % 4 == 3 { Split::Val } else { Split::Train })
}

/// Epochs of resnet20 from scratch, with these fields.
fn student(set: &Drawn, fields: Value) -> TrainRun {
    let mut spec = json!({"backbone": {"architecture": "resnet20", "weights": "none"}, "batch_size": 10});
    for (field, value) in fields.as_object().unwrap() {
        spec[field] = value.clone();
    }
    set.run(spec)
}

fn learning_from(set: &Drawn, teacher: &ModelFiles, distill: Value) -> TrainRun {
    let mut distill = distill;
    distill["teacher"] = json!("teacher");
    let mut run = student(
        set,
        json!({"seed": 5, "augment": {"horizontal_flip": true}, "distill": distill}),
    );
    run.teachers = vec![TeacherFiles {
        model: ModelId::new(),
        files: teacher.clone(),
    }];
    run
}

/// A model of the same images, and its accuracy on the validation images.
fn teacher(set: &Drawn) -> (ModelFiles, f64) {
    let dir = set.dir("teacher");
    let result = trained(uninterrupted(&student(set, json!({"epochs": 6})), &dir).result);
    let accuracy = result.card.metrics.as_ref().unwrap().val_accuracy.unwrap();
    (files_of(&dir, &result), accuracy)
}

fn evaluation(dir: &RunDir, result: &TrainResult) -> Evaluation {
    assert!(result.evaluation.is_some());
    serde_json::from_slice(&fs::read(dir.file(EVALUATION_FILE)).unwrap()).unwrap()
}

#[test]
fn a_student_tells_how_far_it_is_from_its_teacher_and_what_that_brings() {
    let set = set();
    let (teacher, its_accuracy) = teacher(&set);
    let (dir, alone_dir) = (set.dir("student"), set.dir("alone"));
    let run = learning_from(&set, &teacher, json!({"features": 0.1}));
    let attempt = uninterrupted(&run, &dir);
    let told = epochs(&attempt.messages);
    assert_eq!(told.len(), 2, "the training before is not among them");
    assert!(
        told.iter()
            .all(|epoch| epoch.distillation_loss.unwrap() > 0.0 && epoch.alignment_loss.is_none())
    );
    assert!(told[1].distillation_loss < told[0].distillation_loss, "{told:?}");
    let result = trained(attempt.result);

    let found = evaluation(&dir, &result).distillation.unwrap();
    assert_eq!(found.teacher_accuracy, its_accuracy);
    assert_eq!(
        Some(found.student_accuracy),
        result.card.metrics.as_ref().unwrap().val_accuracy
    );
    assert_eq!(
        (found.teachers.len(), found.teachers[0].model),
        (1, Some(run.teachers[0].model))
    );
    assert_eq!(found.student.parameters, found.teachers[0].parameters);
    assert!(found.student.latency_ms > 0.0 && found.student.bytes > 4 * found.student.parameters);
    let mut plain = run.clone();
    plain.spec.distill = None;
    plain.teachers.clear();
    let alone = trained(uninterrupted(&plain, &alone_dir).result);
    assert_eq!(
        found.alone_accuracy,
        alone.card.metrics.as_ref().unwrap().val_accuracy
    );
    assert!(
        weights(&dir, &result)["linear.weight"] != weights(&alone_dir, &alone)["linear.weight"],
        "the teacher has changed something"
    );
}

#[test]
fn stopped_after_every_step_it_ends_with_the_same_bits() {
    let (set, others) = (set(), Drawn::flat(15).unlabelled());
    let (teacher, _) = teacher(&set);
    for distill in [
        json!({"features": 1}),
        json!({"weight": 1, "baseline": false, "unlabelled_dataset": "others"}),
    ] {
        let mut run = learning_from(&set, &teacher, distill);
        if run.spec.distill.as_ref().unwrap().unlabelled_dataset.is_some() {
            run.unlabelled = Some(others.input.clone());
        }
        stopped_after_every_step(&set, run);
    }
}

#[test]
fn the_order_of_a_teacher_s_classes_does_not_matter_but_which_they_are_does() {
    let set = set();
    let (teacher, _) = teacher(&set);
    let mut card = bundle::read_card(&teacher).unwrap();
    let mut turned = bundle::read_weights(&teacher).unwrap();
    card.classes.reverse();
    for name in ["linear.weight", "linear.bias"] {
        let rows = turned[name].flip([0]).contiguous();
        turned.insert(name.to_owned(), rows);
    }
    let bundle_dir = set.dir("turned");
    let files = bundle::write(&bundle_dir, &turned, &card).unwrap();
    let turned = ModelFiles {
        sha256: files.weights.sha256.clone(),
        weights: bundle_dir.file(&files.weights.file),
        card: bundle_dir.file(&files.card.file),
        card_sha256: files.card.sha256.clone(),
        base: None,
    };
    let digest = |name: &str, teacher: &ModelFiles| {
        let run = learning_from(&set, teacher, json!({"baseline": false}));
        trained(uninterrupted(&run, &set.dir(name)).result).weights.sha256
    };
    assert_eq!(digest("one", &teacher), digest("other", &turned));

    let mut other = set.input.clone();
    other.classes[1] = "leopards".to_owned();
    let mut run = learning_from(&set, &teacher, json!({}));
    run.common.dataset = other;
    let (code, message) = failed(uninterrupted(&run, &set.dir("wrong")).result);
    assert_eq!(code, FailureCode::InvalidData);
    assert!(message.contains("are not those of the dataset"), "{message}");
}
