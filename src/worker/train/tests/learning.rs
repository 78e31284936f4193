//! What a spec asks of learning, seen on whole runs: stages that thaw, averages, steps of several batches, early ends.

use std::fs;

use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use super::{
    accuracy,
    drawn::{Attempt, Drawn, attempt, base_weights, resize_to, uninterrupted},
    epochs, failed, trained, warnings, weights,
};
use crate::{
    domain::{
        datasets::split::Split,
        jobs::{
            event::LogEvent,
            job::{FailureCode, StopReason},
        },
        spec::{JobSpec, LossSpec, Stage},
    },
    protocol::{RunResult, TrainRun, WorkerMessage},
    worker::{
        files::state::{self, StateDict},
        nets::{Network, tests::images},
        process::run_dir::RunDir,
        train::{
            checkpoints::checkpoint::{self, Checkpoint, SavedBest},
            input::{batch::FeedBatch, mixing::Labels},
            learner::{Learner, MicroBatch},
            loss::Loss,
        },
    },
};

/// Which part of the network a tensor belongs to.
fn part(name: &str) -> &str {
    match name.split('.').next().unwrap() {
        "conv1" | "bn1" => "stem",
        stage => stage,
    }
}

fn logs(messages: &[WorkerMessage]) -> String {
    let text = |message: &WorkerMessage| match message {
        WorkerMessage::Log {
            event: LogEvent { message },
        } => Some(message.clone()),
        _ => None,
    };
    messages.iter().filter_map(text).collect::<Vec<_>>().join("\n")
}

/// The first checkpoint of a run: the one after its first epoch.
fn first_checkpoint(run: &TrainRun, dir: &RunDir) -> (Attempt, Checkpoint) {
    let kept = dir.file("kept.safetensors");
    let (dir_of, path) = (dir.clone(), kept.clone());
    let attempt = attempt(run, dir, move |message, _| {
        if let WorkerMessage::Checkpoint { event } = message
            && !path.exists()
        {
            fs::copy(dir_of.file(&event.file), &path).unwrap();
        }
    });
    let checkpoint = checkpoint::read(&kept, &checkpoint::identity(run).unwrap()).unwrap();
    (attempt, checkpoint)
}

#[test]
fn stages_thaw_one_by_one_and_what_is_frozen_keeps_every_bit() {
    let set = Drawn::flat(16);
    let dir = set.dir("run");
    let run = set.run(json!({"freeze": {"gradual": 1}, "epochs": 3, "split": {"val": 0.0}}));
    let (attempt, saved) = first_checkpoint(&run, &dir);
    let told = logs(&attempt.messages);
    let (before, after) = (
        state::read(&base_weights()).unwrap(),
        weights(&dir, &trained(attempt.result)),
    );
    for (name, tensor) in &after {
        let frozen = ["stem", "layer1", "layer2"].contains(&part(name));
        let same = before[name].size() == tensor.size() && before[name].equal(tensor);
        assert_eq!(same, frozen, "{name}");
    }
    // Two steps an epoch, counted by BatchNorm from the epoch on in which its stage learns.
    let steps = |name: &str| after[name].int64_value(&[]);
    assert_eq!(steps("layer4.1.bn2.num_batches_tracked"), 4);
    assert_eq!(steps("layer3.1.bn2.num_batches_tracked"), 2);
    assert!(
        told.contains("from epoch 2 on, everything after layer3 is trained"),
        "{told}"
    );

    // After the first epoch only the head has learned, and only the head has a momentum.
    assert_eq!(saved.position.epoch, 2);
    let moved = saved
        .model
        .iter()
        .filter(|(name, tensor)| part(name) != "fc" && !before[*name].equal(tensor));
    assert_eq!(moved.count(), 0);
    assert_eq!(
        saved.optimizer.keys().collect::<Vec<_>>(),
        ["momentum.fc.bias", "momentum.fc.weight"]
    );
}

#[test]
fn everything_learns_from_an_epoch_on_with_its_pixels_carried_through_anew() {
    let part = |id| if id % 4 == 3 { Split::Val } else { Split::Train };
    let set = Drawn::new(24, resize_to(), part);
    let dir = set.dir("run");
    let run = set.run(json!({
        "freeze": "backbone", "unfreeze_at_epoch": 2, "epochs": 3, "early_stopping": {"monitor": "val_loss"}, "optimizer": {"lr": 0.01},
    }));
    let attempt = uninterrupted(&run, &dir);
    let told = logs(&attempt.messages);
    assert!(
        told.contains("activations are kept") && told.contains("from epoch 2 on, all layers are trained"),
        "{told}"
    );
    let result = trained(attempt.result);
    let (before, after) = (state::read(&base_weights()).unwrap(), weights(&dir, &result));
    let best = result.card.metrics.as_ref().unwrap().epoch;
    assert_eq!(before["conv1.weight"].equal(&after["conv1.weight"]), best == 1);
    // The model is that of the best epoch, whichever stages it has changed.
    let reached = result.card.metrics.as_ref().unwrap().val_accuracy.unwrap();
    assert_eq!(accuracy(&set, Split::Val, &dir, &result), reached);
}

#[test]
fn frozen_stages_have_no_gradients_and_a_step_that_fails_leaves_no_trace() {
    let spec = json!({"dataset": "d", "freeze": {"until": "layer2"}, "optimizer": {"name": "adamw"}});
    let spec = JobSpec::parse(&spec).unwrap();
    let network = Network::drawn(spec.backbone.architecture, 3, 1, Device::Cpu);
    let loss = Loss::new(&LossSpec::default(), &[], 3, None, Device::Cpu);
    let mut learner = Learner::new(network, &spec, loss, 1).unwrap();
    for parameter in learner.network.parameters() {
        let learns = learner.network.is_after(&parameter.name, Some(Stage::layer(2)));
        assert_eq!(parameter.tensor.requires_grad(), learns, "{}", parameter.name);
    }
    let boundary = learner.boundary(&images(4)).unwrap();
    assert!(!boundary.requires_grad());
    let before = learner.trainable_weights();
    let part = MicroBatch {
        step: 0,
        first_row: 0,
        step_weight: 4.0,
        share: 1.0,
    };
    // Class 7 of 3 is found out by the loss, when BatchNorm has moved its statistics already.
    let labels = Labels::new(Tensor::from_slice(&[0i64, 1, 2, 7]), None);
    let fault = learner.accumulate(&FeedBatch::new(boundary, labels), part);
    assert!(fault.is_err());
    for (name, tensor) in &before {
        assert!(tensor.equal(&learner.network.state()[name]), "{name}");
    }
    // Taking the step has nothing to apply.
    let norm = learner.step(0.1, 0).double_value(&[]);
    assert_eq!(norm, 0.0);
    assert!(learner.optimizer.state().is_empty());
    for (name, tensor) in &before {
        assert!(tensor.equal(&learner.network.state()[name]), "{name}");
    }
}

#[test]
fn a_step_whose_gradients_are_too_large_for_fp16_is_left_out_and_the_next_is_scaled_less() {
    let spec = json!({"dataset": "d", "backbone": {"architecture": "resnet20"}, "precision": "fp16"});
    let spec = JobSpec::parse(&spec).unwrap();
    let network = Network::drawn(spec.backbone.architecture, 3, 1, Device::Cpu).computing_in(Kind::Half);
    let mut learner = Learner::new(
        network,
        &spec,
        Loss::new(&LossSpec::default(), &[], 3, None, Device::Cpu),
        1,
    )
    .unwrap();
    let labels = Labels::new(Tensor::from_slice(&[0i64, 1, 2, 0]), None);
    let batch = FeedBatch::new(images(4), labels);
    let part = MicroBatch {
        step: 0,
        first_row: 0,
        step_weight: 4.0,
        share: 1.0,
    };
    let before = learner.trainable_weights();
    let (mut left_out, mut norm) = (0, 0.0);
    // Scaled so far that gradients overflow.
    while learner.loss_scale.unwrap().factor() < 1e9 {
        (0..2000).for_each(|_| assert!(learner.loss_scale.as_mut().unwrap().follow(true)));
    }
    while norm == 0.0 {
        learner.accumulate(&batch, part).unwrap();
        norm = learner.step(0.1, 0).double_value(&[]);
        let weights = learner.network.parameters();
        let same = weights
            .iter()
            .all(|parameter| parameter.tensor.equal(&before[&parameter.name]));
        assert_eq!(same, norm == 0.0);
        left_out += usize::from(same);
    }
    assert!(left_out > 0 && norm.is_finite(), "{left_out} {norm}");
    // What was learned in the end is what 32 bits would have learned, nearly.
    let network = Network::drawn(spec.backbone.architecture, 3, 1, Device::Cpu);
    let mut full = Learner::new(
        network,
        &spec,
        Loss::new(&LossSpec::default(), &[], 3, None, Device::Cpu),
        1,
    )
    .unwrap();
    full.accumulate(&batch, part).unwrap();
    let expected = full.step(0.1, 0).double_value(&[]);
    assert!((norm - expected).abs() < 0.02 * expected, "{norm} {expected}");
}

#[test]
fn a_step_of_several_batches_is_the_step_of_one_large_batch() {
    let set = Drawn::flat(22);
    let run = |fields: Value| {
        let mut document = json!({
            "freeze": "backbone", "epochs": 3, "split": {"val": 0.0}, "optimizer": {"lr": 0.1}, "head": {"dropout": 0.3},
            "loss": {"imbalance": "class_weights", "label_smoothing": 0.1},
        });
        for (name, value) in fields.as_object().unwrap() {
            document[name] = value.clone();
        }
        let dir = set.dir(&format!("run-{}", document["batch_size"]));
        let attempt = uninterrupted(&set.run(document), &dir);
        let events = epochs(&attempt.messages);
        (events, weights(&dir, &trained(attempt.result)))
    };
    // 22 images are steps of 8, 8 and 6, the last one of batches of 4 and 2.
    let (one_by_one, gathered) = (
        run(json!({"batch_size": 8})),
        run(json!({"batch_size": 4, "gradient_accumulation_steps": 2})),
    );
    for (large, small) in one_by_one.0.iter().zip(&gathered.0) {
        assert_eq!(large.step, small.step);
        assert!(
            (large.train_loss - small.train_loss).abs() < 1e-5,
            "{large:?} {small:?}"
        );
    }
    let off = (&one_by_one.1["fc.weight"] - &gathered.1["fc.weight"])
        .abs()
        .max()
        .double_value(&[]);
    assert!(off <= 1e-5, "{off:e}");
}

#[test]
fn the_average_of_the_weights_is_what_is_validated_and_what_becomes_the_model() {
    let part = |id| if id % 4 == 3 { Split::Val } else { Split::Train };
    let set = Drawn::new(32, resize_to(), part);
    let dir = set.dir("run");
    let run = set.run(json!({"epochs": 2, "freeze": {"until": "layer3"}, "ema_decay": 0.9}));
    let (attempt, saved) = first_checkpoint(&run, &dir);
    let result = trained(attempt.result);
    let reached = result.card.metrics.as_ref().unwrap().val_accuracy.unwrap();
    assert_eq!(accuracy(&set, Split::Val, &dir, &result), reached);
    assert!(!saved.average["fc.weight"].equal(&saved.model["fc.weight"]));
    assert!(saved.average["layer4.1.bn2.running_mean"].equal(&saved.model["layer4.1.bn2.running_mean"]));
    assert!(
        saved
            .average
            .keys()
            .all(|name| name.starts_with("layer4.") || name.starts_with("fc."))
    );
}

#[test]
fn training_ends_when_nothing_becomes_better_and_the_best_epoch_is_the_model() {
    let set = Drawn::flat(16);
    let run = set.run(json!({
        "freeze": "backbone", "epochs": 9, "optimizer": {"lr": 1e-6},
        "early_stopping": {"monitor": "val_loss", "patience": 2, "min_delta": 0.5},
    }));
    let dir = set.dir("run");
    let attempt = uninterrupted(&run, &dir);
    let events = epochs(&attempt.messages);
    let result = trained(attempt.result);
    assert_eq!((result.stop_reason, events.len()), (StopReason::EarlyStopped, 3));
    let lowest = events
        .iter()
        .min_by(|a, b| a.val_loss.unwrap().total_cmp(&b.val_loss.unwrap()));
    assert_eq!(
        result.card.metrics.as_ref().unwrap().val_loss,
        lowest.unwrap().val_loss
    );
}

#[test]
fn what_follows_validation_is_refused_where_there_is_none() {
    let set = Drawn::flat(12);
    for (fields, named) in [
        (json!({"early_stopping": {}}), "early_stopping"),
        (json!({"schedule": {"name": "plateau"}}), "plateau"),
    ] {
        let mut spec = fields;
        spec["split"] = json!({"val": 0.0});
        let (code, message) = failed(uninterrupted(&set.run(spec), &set.dir("run")).result);
        assert_eq!(code, FailureCode::InvalidData);
        assert!(
            message.contains(named) && message.contains("split.val"),
            "{message}"
        );
    }
}

#[test]
fn after_a_useful_epoch_a_loss_that_is_no_number_keeps_that_epochs_model() {
    let set = Drawn::flat(48);
    let dir = set.dir("first");
    let mut run =
        set.run(json!({"freeze": "backbone", "epochs": 3, "batch_size": 4, "optimizer": {"lr": 0.05}}));
    let (_, mut saved) = first_checkpoint(&run, &dir);
    let best = saved.best.take().unwrap();
    assert!(best.metrics.val_loss.unwrap() < 3f64.ln(), "{:?}", best.metrics);
    // As if a later step had gone wrong.
    let head = saved.model.iter().filter(|(name, _)| part(name) == "fc");
    let good: StateDict = head.map(|(name, tensor)| (name.clone(), tensor.copy())).collect();
    let _ = saved.model["fc.weight"].shallow_clone().fill_(1e38);
    let path = dir.file("poisoned.safetensors");
    let expected = good["fc.weight"].copy();
    let mut poisoned = |useful: bool| {
        let mut metrics = best.metrics.clone();
        if !useful {
            metrics.val_loss = Some(9.0);
        }
        saved.best = Some(SavedBest {
            metrics,
            weights: Some(
                good.iter()
                    .map(|(name, tensor)| (name.clone(), tensor.copy()))
                    .collect(),
            ),
        });
        checkpoint::write(&path, &saved).unwrap();
        run.checkpoints = vec![path.clone()];
        run.common.attempt = 2;
        let dir = set.dir("second");
        (uninterrupted(&run, &dir), dir)
    };
    let (attempt, second) = poisoned(true);
    assert_eq!(warnings(&attempt.messages), ["diverged"]);
    let result = trained(attempt.result);
    assert_eq!(
        (result.stop_reason, result.card.metrics.as_ref().unwrap().epoch),
        (StopReason::Diverged, 1)
    );
    assert!(weights(&second, &result)["fc.weight"].equal(&expected));

    // A model that is worse than guessing is none.
    let (attempt, _) = poisoned(false);
    assert!(matches!(&attempt.result, Ok(RunResult::Failed(error)) if error.code == FailureCode::Diverged));
    let (_, message) = failed(attempt.result);
    assert!(message.contains("at step 10 "), "{message}");
}
