//! Interrupted runs go on as if nothing had happened: stopped anywhere, with the newest checkpoint damaged, on another machine.

use std::{fs, path::PathBuf};

use serde_json::json;

use super::{
    drawn::{Attempt, Drawn, attempt, uninterrupted},
    epochs, trained, warnings,
};
use crate::{
    protocol::{TrainRun, WorkerMessage},
    worker::{
        process::{child::Stopped, run_dir::RunDir, stored::tests::flipping},
        train::checkpoints::checkpoint,
    },
};

/// A run of two epochs of two steps in which some stages are frozen, others learn, and images are mirrored.
fn run(set: &Drawn) -> TrainRun {
    set.run(json!({"batch_size": 12, "freeze": {"until": "layer2"}, "augment": {"horizontal_flip": true}}))
}

fn is_stopped(attempt: &Attempt) -> bool {
    attempt.result.as_ref().is_err_and(|error| error.is::<Stopped>())
}

/// Stops after the first step that is told.
fn one_step(run: &TrainRun, dir: &RunDir) -> Attempt {
    attempt(run, dir, |message, stop| {
        if matches!(message, WorkerMessage::Step { .. }) {
            stop.set();
        }
    })
}

/// Checkpoints of an attempt, newest first.
fn checkpoints(attempt: &Attempt, dir: &RunDir) -> Vec<PathBuf> {
    let file = |message: &WorkerMessage| match message {
        WorkerMessage::Checkpoint { event } => Some(dir.file(&event.file)),
        _ => None,
    };
    attempt.messages.iter().rev().filter_map(file).collect()
}

fn resumed(attempt: &Attempt) -> Option<(u64, u32)> {
    attempt.messages.iter().find_map(|message| match message {
        WorkerMessage::Resumed { step, epoch } => Some((*step, *epoch)),
        _ => None,
    })
}

#[test]
fn so_does_one_whose_images_are_augmented_and_mixed() {
    let set = Drawn::flat(32);
    let augment = json!({"random_resized_crop": [0.3, 1], "rand_augment": {}, "random_erasing": 0.5, "mixup": 0.4, "cutmix": 1});
    let spec = json!({"batch_size": 12, "freeze": {"until": "layer2"}, "augment": augment});
    stopped_after_every_step(&set, set.run(spec));
}

#[test]
fn so_does_one_in_16_bits_whose_loss_is_scaled() {
    let set = Drawn::flat(32);
    for precision in ["bf16", "fp16"] {
        let run = set.run(json!({
            "backbone": {"architecture": "resnet20", "weights": "none"}, "freeze": "none", "batch_size": 12, "precision": precision,
        }));
        stopped_after_every_step(&set, run);
    }
}

/// Runs to the end, and again stopped after every step: both must have the same bits. Returns where attempts went on from.
pub fn stopped_after_every_step(set: &Drawn, mut run: TrainRun) -> Vec<(u64, u32)> {
    let whole = uninterrupted(&run, &set.dir("whole"));
    let expected_epochs = epochs(&whole.messages);
    let expected = trained(whole.result);

    let (mut told, mut points) = (Vec::new(), Vec::new());
    let last = loop {
        let dir = set.dir(&format!("attempt-{}", run.common.attempt));
        let attempt = one_step(&run, &dir);
        points.extend(resumed(&attempt));
        told.extend(epochs(&attempt.messages));
        assert!(
            warnings(&attempt.messages).is_empty(),
            "{:?}",
            warnings(&attempt.messages)
        );
        if !is_stopped(&attempt) {
            break attempt;
        }
        for path in &run.checkpoints {
            fs::remove_file(path).unwrap();
        }
        run.checkpoints = checkpoints(&attempt, &dir);
        run.common.attempt += 1;
    };
    let result = trained(last.result);
    assert_eq!(result.weights.sha256, expected.weights.sha256);
    assert_eq!(result.card, expected.card);
    let numbers = |events: &[_]| -> Vec<_> {
        let number = |event: &crate::domain::jobs::event::EpochEvent| {
            (event.train_loss, event.train_accuracy, event.val_loss, event.lr)
        };
        events.iter().map(number).collect()
    };
    assert_eq!(numbers(&told), numbers(&expected_epochs));
    points
}

#[test]
fn a_run_stopped_after_every_step_ends_with_the_bits_of_one_that_was_not() {
    let set = Drawn::flat(32);
    let points = stopped_after_every_step(&set, run(&set));
    assert_eq!(points, [(1, 0), (2, 0), (3, 1), (4, 1)]);
}

/// Sixty steps of an epoch of four each; in the last epoch a stage thaws.
#[test]
fn everything_that_a_step_depends_on_survives_a_stop_after_any_step() {
    let set = Drawn::flat(20);
    let run = set.run(json!({
        "backbone": {"architecture": "resnet20", "weights": "base.safetensors"}, "epochs": 15, "freeze": {"gradual": 14}, "batch_size": 2, "gradient_accumulation_steps": 2, "head": {"dropout": 0.2},
        "optimizer": {"name": "adamw", "lr": 0.01, "weight_decay": 0.1}, "schedule": {"name": "one_cycle"}, "clip_grad_norm": 1.0,
        "ema_decay": 0.9, "augment": {"horizontal_flip": true}, "loss": {"label_smoothing": 0.1, "imbalance": "balanced_sampler"},
        "early_stopping": {"patience": 20},
    }));
    let points = stopped_after_every_step(&set, run);
    assert_eq!(
        points.iter().map(|(step, _)| *step).collect::<Vec<_>>(),
        (1..=60).collect::<Vec<_>>()
    );
}

#[test]
fn a_damaged_checkpoint_is_told_and_the_one_before_it_is_gone_on_from() {
    let set = Drawn::flat(32);
    let mut run = run(&set);
    let (first_dir, second_dir) = (set.dir("first"), set.dir("second"));
    let first = one_step(&run, &first_dir);
    run.checkpoints = checkpoints(&first, &first_dir);
    let second = one_step(&run, &second_dir);
    let newest = checkpoints(&second, &second_dir).remove(0);
    let mut bytes = fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&newest, &bytes).unwrap();
    let cut = second_dir.file("cut.safetensors");
    fs::write(&cut, &bytes[..middle]).unwrap();
    run.checkpoints
        .splice(0..0, [cut, newest, second_dir.file("absent.safetensors")]);
    let third = one_step(&run, &set.dir("third"));
    assert_eq!(resumed(&third), Some((1, 0)));
    assert_eq!(warnings(&third.messages), ["checkpoint_damaged"; 3]);

    run.spec.optimizer.lr *= 2.0;
    let other = one_step(&run, &set.dir("other"));
    assert_eq!(
        resumed(&other),
        None,
        "a checkpoint of another job is not gone on from"
    );
}

/// What it says of itself lies in its first kilobytes, most of the rest are tensors.
#[test]
fn a_flipped_bit_anywhere_in_a_checkpoint_is_found() {
    let set = Drawn::flat(32);
    let mut run = run(&set);
    let (first_dir, second_dir) = (set.dir("first"), set.dir("second"));
    run.checkpoints = checkpoints(&one_step(&run, &first_dir), &first_dir);
    let path = run.checkpoints[0].clone();
    let job = checkpoint::identity(&run).unwrap();
    flipping(&path, 20, || assert!(checkpoint::read(&path, &job).is_err()));
    let whole = fs::read(&path).unwrap();
    let note = whole.windows(6).position(|bytes| bytes == b"epoch\\").unwrap();
    for place in [0, 7, 8, 30, note, note + 9, note + 60, note + 200] {
        let mut flipped = whole.clone();
        flipped[place] ^= 1;
        fs::write(&path, flipped).unwrap();
        assert!(checkpoint::read(&path, &job).is_err(), "{place}");
    }
    fs::write(&path, whole).unwrap();
    assert_eq!(resumed(&one_step(&run, &second_dir)), Some((1, 0)));
}

#[test]
fn going_on_with_another_libtorch_or_other_convolutions_is_told() {
    let set = Drawn::flat(32);
    let mut run = run(&set);
    let dir = set.dir("first");
    let first = one_step(&run, &dir);
    let path = checkpoints(&first, &dir).remove(0);
    let saved = checkpoint::read(&path, &checkpoint::identity(&run).unwrap()).unwrap();
    let (mut libtorch, mut convolutions) = (saved.machine.clone(), saved.machine.clone());
    libtorch.libtorch = "2.10.0".into();
    convolutions.convolutions.clear();
    for (name, other) in [("libtorch", libtorch), ("convolutions", convolutions)] {
        let mut saved = checkpoint::read(&path, &checkpoint::identity(&run).unwrap()).unwrap();
        saved.machine = other;
        let other = dir.file(name);
        checkpoint::write(&other, &saved).unwrap();
        run.checkpoints = vec![other];
        let second = one_step(&run, &set.dir(&format!("after-{name}")));
        assert_eq!(resumed(&second), Some((1, 0)));
        assert_eq!(warnings(&second.messages), ["resume_not_bit_exact"]);
    }
}
