//! Heads that are made at once from kept features, as the server sees them.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use super::{
    drawn::{CLASSES, Drawn, attempt, resize_to, uninterrupted},
    epochs, failed, files_of, trained, warnings, weights,
};
use crate::{
    domain::{
        architecture::{Head, HeadKind},
        datasets::split::Split,
        jobs::job::{FailureCode, StopReason},
    },
    files::digest,
    protocol::{
        DatasetInput, KnownActivations, ManifestImage, TrainResult, TrainRun, WeightsSource, WorkerMessage,
    },
    worker::{
        files::bundle,
        process::{child::Stopped, run_dir::RunDir},
    },
};

pub fn set() -> Drawn {
    Drawn::new(60, resize_to(), |id| {
        if id % 4 == 3 { Split::Val } else { Split::Train }
    })
}

/// A run of these tests without the fields that only training by steps has.
fn run(set: &Drawn, head: Value) -> TrainRun {
    with(set, json!({"head": head}))
}

pub fn with(set: &Drawn, fields: Value) -> TrainRun {
    let mut run = set.run(json!({"freeze": "backbone"}));
    let mut document = json!({
        "dataset": "drawn", "image": {"size": super::SIZE}, "batch_size": 8,
        "backbone": {"weights": "base.safetensors"}, "split": {"val": 0.25},
    });
    for (field, value) in fields.as_object().unwrap() {
        document[field] = value.clone();
    }
    run.spec = crate::domain::spec::JobSpec::parse(&document).unwrap();
    run
}

fn kept(set: &Drawn, name: &str, result: &TrainResult) -> KnownActivations {
    let used = result.activations[0].clone();
    KnownActivations {
        key: used.key,
        path: set.dir(name).file(&used.file.unwrap().file),
    }
}

/// A model that is a head on a frozen backbone, as the weights of another training.
fn beside_its_base(dir: &RunDir, result: &TrainResult) -> WeightsSource {
    WeightsSource::Adapter {
        files: files_of(dir, result),
        origin: "first".to_owned(),
        classes: result.card.classes.clone(),
    }
}

fn used_kept(messages: &[WorkerMessage]) -> bool {
    let said = |message: &WorkerMessage| matches!(message, WorkerMessage::Log { event } if event.message.contains("computed by an earlier job"));
    messages.iter().any(said)
}

#[test]
fn every_strength_is_told_and_the_best_becomes_the_model() {
    let set = set();
    let dir = set.dir("run");
    let attempt = uninterrupted(&run(&set, json!({"solver": "lbfgs"})), &dir);
    let told = epochs(&attempt.messages);
    assert!(
        warnings(&attempt.messages).is_empty(),
        "{:?}",
        warnings(&attempt.messages)
    );
    let result = trained(attempt.result);
    assert_eq!(result.stop_reason, StopReason::Completed);
    assert_eq!(told.len(), 13);
    let strengths: Vec<f64> = told.iter().map(|event| event.l2.unwrap()).collect();
    assert!(
        strengths.windows(2).all(|pair| pair[0] > pair[1]),
        "{strengths:?}"
    );
    assert!(told.iter().all(|event| event.lr.is_none()));
    let losses: Vec<f64> = told.iter().map(|event| event.train_loss).collect();
    assert!(
        losses.windows(2).all(|pair| pair[0] > pair[1] - 1e-6),
        "{losses:?}"
    );
    let best = told.iter().rfind(|event| event.best).unwrap();
    let most = told
        .iter()
        .filter_map(|event| event.val_accuracy)
        .fold(0.0, f64::max);
    assert_eq!(best.val_accuracy, Some(most));
    assert!(most >= 0.8, "{told:?}");
    let metrics = result.card.metrics.as_ref().unwrap();
    assert_eq!((metrics.epoch, metrics.val_loss), (best.epoch, best.val_loss));
    assert_eq!(super::accuracy(&set, Split::Val, &dir, &result), most);
    let card = serde_json::to_value(&result.card).unwrap();
    assert!(
        card.get("head").is_none() && card["spec"].get("epochs").is_none(),
        "{card}"
    );
    assert_eq!(bundle::read_card(&files_of(&dir, &result)).unwrap(), result.card);

    // The strength that was chosen can be given.
    let given = run(&set, json!({"solver": "lbfgs", "l2": best.l2}));
    let again = uninterrupted(&given, &set.dir("given"));
    let told = epochs(&again.messages);
    assert_eq!((told.len(), told[0].l2), (1, best.l2));
    assert!((told[0].val_loss.unwrap() - best.val_loss.unwrap()).abs() < 1e-5);
}

#[test]
fn a_second_job_with_another_strength_or_other_labels_starts_from_kept_features() {
    let set = set();
    let first = trained(uninterrupted(&run(&set, json!({"solver": "lbfgs"})), &set.dir("first")).result);
    let known = kept(&set, "first", &first);
    let mut second = run(&set, json!({"solver": "lbfgs", "l2": 0.5}));
    let alone = trained(uninterrupted(&second, &set.dir("alone")).result);
    second.activations = vec![known.clone()];
    let attempt = uninterrupted(&second, &set.dir("second"));
    assert!(used_kept(&attempt.messages));
    assert_eq!(trained(attempt.result).weights.sha256, alone.weights.sha256);

    // Another version of the dataset: the same images with other labels.
    let mut relabelled = second.clone();
    relabelled.common.dataset = shifted(&set, set.dir("first").file("relabelled.jsonl"));
    let attempt = uninterrupted(&relabelled, &set.dir("relabelled"));
    assert!(used_kept(&attempt.messages));
    let result = trained(attempt.result);
    assert_ne!(result.weights.sha256, alone.weights.sha256);
    relabelled.activations.clear();
    let anew = trained(uninterrupted(&relabelled, &set.dir("anew")).result);
    assert_eq!(result.weights.sha256, anew.weights.sha256);
}

/// The next version, in which each class has the images of another one.
fn shifted(set: &Drawn, file: PathBuf) -> DatasetInput {
    let line = |image: &ManifestImage| {
        let class = image.class.map(|class| (class + 1) % CLASSES.len() as u32);
        serde_json::to_string(&ManifestImage {
            class,
            ..image.clone()
        })
        .unwrap()
            + "\n"
    };
    let lines: String = set.images.iter().map(line).collect();
    fs::write(&file, &lines).unwrap();
    let mut input = set.input.clone();
    input.lineage.version += 1;
    input.manifest = file;
    input.manifest_sha256 = digest::of_bytes(lines.as_bytes());
    input
}

#[test]
fn a_run_that_was_stopped_starts_over_and_ends_with_the_same_bits() {
    let set = set();
    for (name, head) in [
        ("path", json!({"solver": "lbfgs"})),
        (
            "mlp",
            json!({"kind": "mlp", "solver": "lbfgs", "hidden": 6, "l2": 0.01}),
        ),
    ] {
        let mut run = run(&set, head);
        let whole = trained(uninterrupted(&run, &set.dir(&format!("{name}-whole"))).result);
        let stopped = attempt(&run, &set.dir(&format!("{name}-stopped")), |message, stop| {
            if matches!(message, WorkerMessage::Log { event } if event.message.contains("are there after")) {
                stop.set();
            }
        });
        assert!(stopped.result.is_err_and(|error| error.is::<Stopped>()), "{name}");
        run.common.attempt = 2;
        let again = uninterrupted(&run, &set.dir(&format!("{name}-again")));
        let rewound =
            |message: &WorkerMessage| matches!(message, WorkerMessage::Resumed { step: 0, epoch: 0 });
        assert!(again.messages.iter().any(rewound));
        let result = trained(again.result);
        assert_eq!(result.weights.sha256, whole.weights.sha256, "{name}");
        assert_eq!(result.card, whole.card);
    }
}

#[test]
fn every_kind_learns_is_judged_and_can_be_a_base() {
    let set = set();
    for (head, kind, least) in [
        (
            json!({"kind": "mlp", "solver": "lbfgs", "hidden": 16}),
            HeadKind::Mlp,
            0.8,
        ),
        (json!({"kind": "prototype"}), HeadKind::Prototype, 0.5),
        (json!({"kind": "knn", "k": 5}), HeadKind::Knn, 0.5),
    ] {
        let name = kind.as_str();
        let dir = set.dir(name);
        let attempt = uninterrupted(&run(&set, head.clone()), &dir);
        let told = epochs(&attempt.messages);
        assert!(
            warnings(&attempt.messages).is_empty(),
            "{:?}",
            warnings(&attempt.messages)
        );
        let result = trained(attempt.result);
        assert_eq!(result.card.head.kind(), Some(kind));
        let best = told.iter().rfind(|event| event.best).unwrap();
        let reached = best.val_accuracy.unwrap();
        assert!(reached >= least, "{name}: {reached}");
        assert_eq!(
            super::accuracy(&set, Split::Val, &dir, &result),
            reached,
            "{name}"
        );
        let again = trained(uninterrupted(&run(&set, head), &set.dir(&format!("{name}-again"))).result);
        assert_eq!(again.weights.sha256, result.weights.sha256, "{name}");

        let mut next = set.run(json!({"epochs": 1}));
        next.weights = beside_its_base(&dir, &result);
        let attempt = uninterrupted(&next, &set.dir(&format!("{name}-next")));
        let replaced = |message: &WorkerMessage| matches!(message, WorkerMessage::Log { event } if event.message.contains("for 3 classes, is replaced by a new one for 3"));
        assert!(attempt.messages.iter().any(replaced), "{name}");
        assert_eq!(trained(attempt.result).card.head, Head::Linear);
    }
}

#[test]
fn an_mlp_is_trained_step_by_step_too_and_goes_on_from_its_own_head() {
    let set = set();
    let head = json!({"kind": "mlp", "hidden": 16});
    let first = set.run(json!({"freeze": "backbone", "epochs": 4, "head": head, "optimizer": {"lr": 0.1}}));
    let dir = set.dir("first");
    let attempt = uninterrupted(&first, &dir);
    let told = epochs(&attempt.messages);
    let result = trained(attempt.result);
    assert!(told[3].train_loss < told[0].train_loss, "{told:?}");
    assert_eq!(result.card.head, Head::Mlp { hidden: 16 });
    let mut next = first.clone();
    next.weights = beside_its_base(&dir, &result);
    let attempt = uninterrupted(&next, &set.dir("next"));
    let kept = |message: &WorkerMessage| matches!(message, WorkerMessage::Log { event } if event.message.contains("the head of the weights is kept"));
    assert!(attempt.messages.iter().any(kept));
    assert!(epochs(&attempt.messages)[0].train_loss < told[1].train_loss);
}

#[test]
fn what_cannot_be_made_says_what_to_do() {
    let flat = Drawn::flat(12);
    let unvalidated = with(&flat, json!({"head": {"solver": "lbfgs"}, "split": {"val": 0.0}}));
    let (code, message) = failed(uninterrupted(&unvalidated, &flat.dir("run")).result);
    assert_eq!(code, FailureCode::InvalidData);
    assert!(message.contains("give `head.l2`"), "{message}");
    let given = with(
        &flat,
        json!({"head": {"solver": "lbfgs", "l2": 0.1}, "split": {"val": 0.0}}),
    );
    let result = trained(uninterrupted(&given, &flat.dir("given")).result);
    assert_eq!(result.card.metrics.unwrap().val_accuracy, None);

    let few = with(&flat, json!({"head": {"kind": "knn", "k": 50}}));
    let attempt = uninterrupted(&few, &flat.dir("few"));
    assert!(warnings(&attempt.messages).contains(&"small_dataset".to_owned()));
    let Head::Knn { images, k, .. } = trained(attempt.result).card.head else {
        panic!("another head");
    };
    assert_eq!((images, k), (9, 9));
}

#[test]
fn without_room_for_features_they_are_computed_and_the_head_is_the_same() {
    let set = set();
    let mut run = run(&set, json!({"solver": "lbfgs", "l2": 0.1}));
    let [dir, other] = ["kept", "anew"].map(|name| set.dir(name));
    let kept = trained(uninterrupted(&run, &dir).result);
    run.max_activation_bytes = 0;
    let anew = trained(uninterrupted(&run, &other).result);
    assert!(kept.activations.len() == 1 && anew.activations.is_empty());
    let (kept, anew) = (weights(&dir, &kept), weights(&other, &anew));
    let off = (&kept["fc.weight"] - &anew["fc.weight"])
        .abs()
        .max()
        .double_value(&[]);
    assert!(off <= 1e-4, "{off:e}");
}

#[test]
fn rare_classes_weigh_more_if_they_should() {
    let set = Drawn::new(60, resize_to(), |id| match id % 3 {
        2 if id > 12 => Split::Test,
        _ if id % 4 == 3 => Split::Val,
        _ => Split::Train,
    });
    let loss_of = |name: &str, imbalance: &str| {
        let fields = json!({"head": {"solver": "lbfgs", "l2": 1.0}, "loss": {"imbalance": imbalance}});
        let result = trained(uninterrupted(&with(&set, fields), &set.dir(name)).result);
        result.weights.sha256
    };
    assert_ne!(loss_of("plain", "none"), loss_of("weighted", "class_weights"));
}
