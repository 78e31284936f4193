//! Heads on a frozen backbone, which is stored once for all of them.

use std::fs;

use serde_json::{Value, json};

use super::super::{
    drawn::{self, Attempt, Drawn, attempt, uninterrupted},
    failed, files_of, heads, trained, warnings, weights,
};
use crate::{
    protocol::{
        KnownActivations, KnownBase, TrainResult, TrainRun, WeightsSource, WorkerMessage, frames::BaseFile,
    },
    worker::files::{bundle, state},
};

fn run(set: &Drawn, head: Value) -> TrainRun {
    heads::with(set, json!({"head": head}))
}

/// The same after a job that left this.
fn after(first: &TrainResult, set: &Drawn, name: &str, run: TrainRun) -> TrainRun {
    let dir = set.dir(name);
    let used = first.activations[0].clone();
    let base = first.base.as_ref().unwrap();
    TrainRun {
        activations: vec![KnownActivations {
            key: used.key,
            path: dir.file(&used.file.unwrap().file),
        }],
        bases: vec![KnownBase {
            source_sha256: first.card.base_weights_sha256.clone().unwrap(),
            file: BaseFile {
                path: dir.file(&base.file),
                sha256: base.sha256.clone(),
            },
            bytes: base.bytes,
        }],
        ..run
    }
}

fn says(attempt: &Attempt, text: &str) -> bool {
    let said = |message: &WorkerMessage| matches!(message, WorkerMessage::Log { event } if event.message.contains(text));
    attempt.messages.iter().any(said)
}

#[test]
fn the_backbone_is_written_by_the_first_and_read_by_nobody_after_it() {
    let set = heads::set();
    let first = trained(
        uninterrupted(
            &run(&set, json!({"solver": "lbfgs", "l2": 0.1})),
            &set.dir("first"),
        )
        .result,
    );
    let head = |l2: f64| json!({"solver": "lbfgs", "l2": l2});
    // Beside one that has to read it.
    let alone = trained(uninterrupted(&run(&set, head(0.01)), &set.dir("alone")).result);
    let again = uninterrupted(
        &after(&first, &set, "first", run(&set, head(0.01))),
        &set.dir("again"),
    );
    assert!(warnings(&again.messages).is_empty());
    assert!(says(&again, "is not read again"));
    let again = trained(again.result);
    assert_eq!(again.base, None, "it is there");
    assert!(!set.dir("again").file(bundle::BASE_FILE).exists());
    assert_eq!(
        again.weights.sha256, alone.weights.sha256,
        "the same head, bit for bit"
    );
    assert_eq!(again.card, alone.card);
    let adapter = again.card.adapter.as_deref().unwrap();
    assert_eq!(adapter.base_sha256, first.base.as_ref().unwrap().sha256);
    // Weights and biases of 512 features.
    assert_eq!((adapter.adapt, adapter.parameters), (None, 512 * 3 + 3));
    assert!(again.weights.bytes < 10_000, "{}", again.weights.bytes);

    // The whole network is that of the weights, but for the head.
    let whole = weights(&set.dir("alone"), &alone);
    let given = state::read(&drawn::base_weights()).unwrap();
    for (name, tensor) in &given {
        assert_eq!(whole[name].equal(tensor), !name.starts_with("fc."), "{name}");
    }
}

#[test]
fn a_head_trained_by_steps_is_stored_beside_the_same_base() {
    let set = heads::set();
    let first = trained(
        uninterrupted(
            &run(&set, json!({"solver": "lbfgs", "l2": 0.1})),
            &set.dir("first"),
        )
        .result,
    );
    let by_steps = set.run(json!({"freeze": "backbone"}));
    let dir = set.dir("steps");
    let ended = uninterrupted(&after(&first, &set, "first", by_steps), &dir);
    assert!(
        !says(&ended, "is not read again"),
        "it may begin with the head of the weights"
    );
    let ended = trained(ended.result);
    let (base, adapter) = (
        first.base.as_ref().unwrap(),
        ended.card.adapter.as_deref().unwrap(),
    );
    assert_eq!(
        (&adapter.base_sha256, adapter.base_bytes),
        (&base.sha256, base.bytes)
    );
    assert_eq!(ended.base, None);
    // Where something else learns, too, the model is whole.
    for (name, freeze) in [("none", json!("none")), ("some", json!({"until": "layer3"}))] {
        let dir = set.dir(name);
        let whole = trained(uninterrupted(&set.run(json!({"freeze": freeze, "epochs": 1})), &dir).result);
        assert!(whole.card.adapter.is_none() && whole.base.is_none());
        let own = bundle::read_own_weights(&files_of(&dir, &whole)).unwrap();
        assert!(own.contains_key("conv1.weight"));
    }
}

#[test]
fn what_is_not_surely_the_same_is_read() {
    let set = heads::set();
    let head = json!({"solver": "lbfgs", "l2": 0.1});
    let first = trained(uninterrupted(&run(&set, head.clone()), &set.dir("first")).result);
    let after = || after(&first, &set, "first", run(&set, head.clone()));
    let reads = |name: &str, run: TrainRun| {
        let ended = attempt(&run, &set.dir(name), |_, _| {});
        assert!(!says(&ended, "is not read again"), "{name}");
        let ended = trained(ended.result);
        assert_eq!(ended.weights.sha256, first.weights.sha256, "{name}");
        ended
    };
    let mut of_others = after();
    of_others.bases[0].source_sha256 = "0".repeat(64);
    // What it is made from is another file, but it is the same itself.
    assert_eq!(reads("source", of_others).base, None);
    let mut without = after();
    without.activations.clear();
    reads("activations", without);
    let mut other = after();
    other.bases[0].file.sha256 = "1".repeat(64);
    assert!(reads("base", other).base.is_some());
    let mut gone = after();
    let path = set.dir("first").file("gone.safetensors");
    gone.bases[0].file.path = path.clone();
    assert!(reads("gone", gone).base.is_some(), "it is written again");
    fs::write(&path, b"not one").unwrap();
    let mut broken = after();
    broken.bases[0].file.path = path;
    assert!(reads("broken", broken).base.is_some());
    // The operator's file is not what the digest beside it says.
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("base.safetensors");
    fs::copy(drawn::base_weights(), &weights).unwrap();
    fs::write(folder.path().join("base.safetensors.sha256"), "2".repeat(64)).unwrap();
    let mut damaged = after();
    damaged.weights = WeightsSource::File {
        path: weights,
        origin: "base.safetensors".into(),
        sha256: None,
        classes: None,
    };
    let ended = uninterrupted(&damaged, &set.dir("damaged"));
    assert!(!says(&ended, "is not read again"));
    failed(ended.result);
}
