//! Activations of frozen stages that one job leaves and the next one starts from.

mod beside_base;

use std::fs;

use serde_json::{Value, json};

use super::{drawn::*, trained, warnings, weights};
use crate::{
    domain::jobs::event::LogEvent,
    protocol::{KnownActivations, TrainResult, WorkerMessage},
};

/// A run with what earlier ones left, and whether it said that it used it.
fn run(set: &Drawn, name: &str, spec: Value, known: &[KnownActivations]) -> (TrainResult, bool, Vec<String>) {
    let mut run = set.run(spec);
    run.activations = known.to_vec();
    let attempt = uninterrupted(&run, &set.dir(name));
    let said = |message: &WorkerMessage| matches!(message, WorkerMessage::Log { event: LogEvent { message } } if message.contains("computed by an earlier job"));
    let used = attempt.messages.iter().any(said);
    let warned = warnings(&attempt.messages);
    (trained(attempt.result), used, warned)
}

fn known(set: &Drawn, name: &str, result: &TrainResult) -> KnownActivations {
    let used = result.activations[0].clone();
    KnownActivations {
        key: used.key,
        path: set.dir(name).file(&used.file.unwrap().file),
    }
}

#[test]
fn a_second_job_over_the_same_images_starts_from_the_first_ones_activations_with_the_same_bits() {
    let set = Drawn::flat(24);
    for (stage, freeze) in [("all", json!("backbone")), ("some", json!({"until": "layer2"}))] {
        let spec = |lr: f64| json!({"freeze": freeze, "augment": {"horizontal_flip": true}, "optimizer": {"lr": lr}});
        let named = |job: &str| format!("{stage}-{job}");
        let (first, used, _) = run(&set, &named("first"), spec(0.01), &[]);
        assert!(!used);
        let left = known(&set, &named("first"), &first);

        let (alone, used, _) = run(&set, &named("alone"), spec(0.03), &[]);
        assert!(!used);
        let (second, used, warned) = run(&set, &named("second"), spec(0.03), std::slice::from_ref(&left));
        assert!(used && warned.is_empty(), "{warned:?}");
        let activations = second.activations[0].clone();
        assert_eq!((activations.key, activations.file), (left.key.clone(), None));
        assert_eq!(second.weights.sha256, alone.weights.sha256);

        // Of another size they are others.
        let (other, used, _) = run(
            &set,
            &named("other"),
            json!({"freeze": freeze, "image": {"size": 48}}),
            std::slice::from_ref(&left),
        );
        assert!(!used);
        assert_ne!(other.activations[0].key, left.key);
    }
}

#[test]
fn drawn_views_are_taken_over_by_jobs_that_draw_the_same() {
    let set = Drawn::flat(12);
    let spec = |seed: u64, strength: f64, lr: f64| {
        let augment = json!({"rotation_degrees": 20, "color_jitter": strength, "views": 2});
        json!({"freeze": "backbone", "augment": augment, "seed": seed, "optimizer": {"lr": lr}})
    };
    let (first, ..) = run(&set, "first", spec(1, 0.2, 0.01), &[]);
    let left = known(&set, "first", &first);
    let (alone, ..) = run(&set, "alone", spec(1, 0.2, 0.03), &[]);
    let (second, used, _) = run(&set, "second", spec(1, 0.2, 0.03), std::slice::from_ref(&left));
    assert!(used);
    assert_eq!(second.weights.sha256, alone.weights.sha256);
    for (name, other) in [("seed", spec(2, 0.2, 0.01)), ("strength", spec(1, 0.3, 0.01))] {
        let (_, used, _) = run(&set, name, other, std::slice::from_ref(&left));
        assert!(!used, "another {name} draws other views");
    }
}

#[test]
fn activations_that_are_damaged_are_computed_anew() {
    let set = Drawn::flat(24);
    let spec = json!({"freeze": "backbone"});
    let (first, ..) = run(&set, "first", spec.clone(), &[]);
    let left = known(&set, "first", &first);
    let whole = fs::read(&left.path).unwrap();
    fs::write(&left.path, &whole[..whole.len() / 2]).unwrap();
    let (second, used, warned) = run(&set, "second", spec, &[left]);
    assert!(!used);
    assert_eq!(warned, ["activations_damaged"]);
    assert_eq!(second.weights.sha256, first.weights.sha256);
}

#[test]
fn without_room_for_activations_every_epoch_computes_them_and_comes_to_the_same() {
    let set = Drawn::flat(24);
    let kept = set.run(json!({"freeze": "backbone"}));
    let mut anew = kept.clone();
    anew.max_activation_bytes = 1000;
    let [kept, anew] = [("kept", kept), ("anew", anew)].map(|(name, run)| {
        let dir = set.dir(name);
        let result = trained(uninterrupted(&run, &dir).result);
        (weights(&dir, &result), result)
    });
    assert!(kept.1.activations.len() == 1 && anew.1.activations.is_empty());
    for (name, tensor) in &kept.0 {
        let apart = (tensor - &anew.0[name]).abs().max().double_value(&[]);
        assert!(apart <= 1e-4, "{name}: {apart:e}");
    }
}
