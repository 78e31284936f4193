//! Training as the server sees it: files in, messages out, a model or a reason. On drawn images of 32 pixels.

mod auxiliary;
mod batch_predict;
mod compare;
mod cross_validate;
pub(crate) mod drawn;
mod families;
mod golden;
mod heads;
mod images;
mod kept;
mod label_check;
mod learning;
mod measure;
mod parity;
mod published;
mod resume;
mod several;
mod tasks;
mod transfer;

use std::{fs, path::Path};

use serde_json::json;
use tch::{Device, Tensor};

use self::drawn::{Drawn, SIZE, base_weights, resize_to, uninterrupted};
use crate::{
    domain::{
        datasets::split::Split,
        jobs::{
            event::EpochEvent,
            job::{FailureCode, StopReason},
        },
        models::model::ModelCard,
    },
    protocol::{
        RunResult, TrainResult, WeightsSource, WorkerMessage,
        frames::{BaseFile, ModelFiles},
    },
    worker::{
        files::{
            bundle,
            state::{self, StateDict},
        },
        nets::{Network, input},
        pixels,
        process::run_dir::RunDir,
    },
};

fn trained(result: anyhow::Result<RunResult>) -> TrainResult {
    match result.unwrap() {
        RunResult::Trained(result) => *result,
        other => panic!("{other:?}"),
    }
}

fn failed(result: anyhow::Result<RunResult>) -> (FailureCode, String) {
    match result.unwrap() {
        RunResult::Failed(error) => (error.code, error.message),
        other => panic!("{other:?}"),
    }
}

fn epochs(messages: &[WorkerMessage]) -> Vec<EpochEvent> {
    let epoch = |message: &WorkerMessage| match message {
        WorkerMessage::Epoch { event, .. } => Some(event.clone()),
        _ => None,
    };
    messages.iter().filter_map(epoch).collect()
}

fn warnings(messages: &[WorkerMessage]) -> Vec<String> {
    let code = |message: &WorkerMessage| match message {
        WorkerMessage::Warning { event } => Some(event.code.clone()),
        _ => None,
    };
    messages.iter().filter_map(code).collect()
}

/// What a training left in its directory, as the server would name it.
fn files_of(dir: &RunDir, result: &TrainResult) -> ModelFiles {
    let base = result.base.as_ref();
    ModelFiles {
        sha256: result.weights.sha256.clone(),
        weights: dir.file(&result.weights.file),
        card: dir.file(&result.card_file.file),
        card_sha256: result.card_file.sha256.clone(),
        base: base.map(|base| BaseFile {
            path: dir.file(&base.file),
            sha256: base.sha256.clone(),
        }),
    }
}

fn weights(dir: &RunDir, result: &TrainResult) -> StateDict {
    bundle::read_weights(&files_of(dir, result)).unwrap()
}

/// Share of the set's images of one part that a published model gets right, each image prepared from its file as prediction does it.
fn accuracy(set: &Drawn, part: Split, dir: &RunDir, result: &TrainResult) -> f64 {
    let card: ModelCard = bundle::read_card(&files_of(dir, result)).unwrap();
    let network = Network::loaded(
        card.architecture,
        card.outputs(),
        &weights(dir, result),
        Device::Cpu,
    )
    .unwrap();
    let images: Vec<_> = set.images.iter().filter(|image| image.split == part).collect();
    let right = images.iter().filter(|image| {
        let prepared = pixels::prepare(&set.file(image), &card.preprocessing, 1 << 20).unwrap();
        let side = i64::from(card.preprocessing.crop);
        let batch = Tensor::from_slice(&prepared.rgb).view([1, side, side, 3]);
        let logits = network.logits(&input::normalised(&batch, &card.preprocessing, Device::Cpu));
        logits.argmax(1, false).int64_value(&[0]) == i64::from(image.class.unwrap())
    });
    right.count() as f64 / images.len() as f64
}

#[test]
fn a_run_learns_tells_and_leaves_a_model_that_does_what_it_told() {
    let part = |id| if id % 5 == 4 { Split::Val } else { Split::Train };
    let set = Drawn::new(60, resize_to(), part);
    let dir = set.dir("run");
    let mut run = set.run(json!({
        "backbone": {"weights": "none"}, "epochs": 3, "optimizer": {"lr": 0.002}, "augment": {"horizontal_flip": true},
    }));
    run.weights = WeightsSource::None;
    let attempt = uninterrupted(&run, &dir);
    let result = trained(attempt.result);

    let epochs = epochs(&attempt.messages);
    assert_eq!(
        epochs.iter().map(|event| event.epoch).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert!(epochs[2].train_loss < epochs[0].train_loss);
    let best = epochs.iter().rfind(|event| event.best).unwrap();
    assert!(best.val_accuracy.unwrap() >= 0.9, "{epochs:?}");

    assert_eq!(result.stop_reason, StopReason::Completed);
    assert_eq!(result.card.metrics.as_ref().unwrap().epoch, best.epoch);
    assert_eq!(
        result.card.metrics.as_ref().unwrap().val_accuracy,
        best.val_accuracy
    );
    assert_eq!(
        (
            result.card.metrics.as_ref().unwrap().train_images,
            result.card.metrics.as_ref().unwrap().val_images
        ),
        (48, 12)
    );
    assert_eq!(
        accuracy(&set, Split::Val, &dir, &result),
        best.val_accuracy.unwrap()
    );

    let left = std::fs::read_dir(dir.file("")).unwrap();
    let checkpoints = left.filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with("checkpoint-")
    });
    assert!(checkpoints.count() <= 2, "only the last two are kept");

    let last = attempt.messages.iter().rev().find_map(|message| match message {
        WorkerMessage::Step { event, progress } => Some((event.step, progress.steps, progress.epochs)),
        _ => None,
    });
    assert_eq!(
        last,
        Some((18, 18, 3)),
        "the last step of an epoch is always told"
    );
    assert!(
        attempt
            .messages
            .iter()
            .any(|message| matches!(message, WorkerMessage::Checkpoint { .. }))
    );
}

#[test]
fn frozen_stages_keep_every_bit_and_the_others_learn() {
    let set = Drawn::flat(16);
    let dir = set.dir("run");
    let run = set.run(json!({"freeze": {"until": "layer2"}, "epochs": 1, "split": {"val": 0.0}}));
    let attempt = uninterrupted(&run, &dir);
    let result = trained(attempt.result);
    let (before, after) = (state::read(&base_weights()).unwrap(), weights(&dir, &result));
    for (name, tensor) in &after {
        let frozen = ["conv1", "bn1", "layer1", "layer2"].contains(&name.split('.').next().unwrap());
        let same = before[name].size() == tensor.size() && before[name].equal(tensor);
        assert_eq!(same, frozen, "{name}");
    }
    assert_eq!(after["layer4.1.bn2.num_batches_tracked"].int64_value(&[]), 2);
    assert_eq!(warnings(&attempt.messages), ["no_validation"]);
    assert_eq!(result.card.metrics.as_ref().unwrap().val_accuracy, None);
}

#[test]
fn only_the_head_learns_where_the_backbone_is_frozen() {
    let part = |id| if id % 4 == 3 { Split::Val } else { Split::Train };
    let set = Drawn::new(16, resize_to(), part);
    let dir = set.dir("run");
    let run = set.run(json!({"freeze": "backbone", "epochs": 2, "optimizer": {"lr": 0.1}}));
    let result = trained(uninterrupted(&run, &dir).result);
    let (before, after) = (state::read(&base_weights()).unwrap(), weights(&dir, &result));
    let backbone = after.iter().filter(|(name, _)| !name.starts_with("fc."));
    for (name, tensor) in backbone {
        assert!(before[name].equal(tensor), "{name}");
    }
    assert_eq!(after["fc.weight"].size(), [3, 512]);
    // Trained on kept activations, judged on images.
    let best = result.card.metrics.as_ref().unwrap().val_accuracy.unwrap();
    assert_eq!(accuracy(&set, Split::Val, &dir, &result), best);
}

#[test]
fn a_dataset_packed_at_another_size_gives_the_same_model() {
    let one_epoch = json!({"epochs": 1, "freeze": {"until": "layer3"}});
    let fits = Drawn::new(18, resize_to(), |_| Split::Train);
    let mut model = Vec::new();
    for pack_side in [resize_to(), 24] {
        let set = Drawn::new(18, pack_side, |_| Split::Train);
        let mut run = set.run(one_epoch.clone());
        run.common.dataset.lineage = fits.input.lineage.clone();
        let dir = set.dir("run");
        model.push(trained(uninterrupted(&run, &dir).result).weights.sha256);
    }
    assert_eq!(model[0], model[1]);
}

#[test]
fn a_loss_that_is_no_number_ends_the_job_with_the_step() {
    let set = Drawn::flat(16);
    let run =
        set.run(json!({"optimizer": {"lr": 100.0, "momentum": 0.0, "weight_decay": 1.0}, "epochs": 50}));
    let (code, message) = failed(uninterrupted(&run, &set.dir("run")).result);
    assert_eq!(code, FailureCode::Diverged);
    assert!(
        message.contains("at step") && message.contains("optimizer.lr"),
        "{message}"
    );
}

#[test]
fn data_that_cannot_train_is_refused_in_words() {
    let refusal = |set: &Drawn, spec| failed(uninterrupted(&set.run(spec), &set.dir("run")).result);
    let nothing = Drawn::new(6, resize_to(), |_| Split::Val);
    let (code, message) = refusal(&nothing, json!({}));
    assert_eq!(code, FailureCode::InvalidData);
    assert!(message.contains("no training images"), "{message}");
    let one_class = Drawn::new(6, resize_to(), |id| {
        if id % 3 == 0 { Split::Train } else { Split::Val }
    });
    let (code, message) = refusal(&one_class, json!({}));
    assert_eq!(code, FailureCode::InvalidData);
    assert!(message.contains("discs"), "{message}");
    let (code, message) = refusal(&Drawn::flat(6), json!({"batch_size": 1}));
    assert_eq!(code, FailureCode::InvalidData);
    assert!(message.contains("batch_size"), "{message}");
}

#[test]
fn weights_that_cannot_be_used_are_refused_by_name_and_leave_no_model() {
    let set = Drawn::flat(6);
    let refusal = |architecture: &str, path: &Path| {
        let dir = set.dir(architecture);
        let backbone = json!({"architecture": architecture, "weights": "base.safetensors"});
        let mut run = set.run(json!({"backbone": backbone}));
        run.weights = WeightsSource::File {
            path: path.to_owned(),
            origin: "base.safetensors".into(),
            sha256: None,
            classes: None,
        };
        let (code, message) = failed(uninterrupted(&run, &dir).result);
        assert_eq!(code, FailureCode::WeightsUnavailable);
        assert!(!dir.file(bundle::WEIGHTS_FILE).exists() && !dir.file(bundle::CARD_FILE).exists());
        message
    };
    let deeper = refusal("resnet34", &base_weights());
    assert!(
        deeper.contains("resnet34")
            && deeper.contains("layer1.2.bn1.weight")
            && deeper.contains("80 missing (")
            && deeper.contains(", …)"),
        "{deeper}"
    );
    assert!(
        deeper.contains("these are weights of resnet18")
            && deeper.contains("`backbone.architecture` to `resnet18`")
    );
    let wider = refusal("wide_resnet50_2", &base_weights());
    let kernel = "`layer1.0.conv1.weight` has shape [64, 64, 3, 3] instead of [128, 64, 1, 1]";
    assert!(wider.contains(kernel), "{wider}");
    let small = refusal("resnet20", &base_weights());
    assert!(
        small.contains("`conv1.weight` has shape [64, 3, 7, 7] instead of [16, 3, 3, 3]")
            && small.contains("backbone.architecture"),
        "{small}"
    );
    let cut = tempfile::NamedTempFile::new().unwrap();
    let whole = fs::read(base_weights()).unwrap();
    fs::write(cut.path(), &whole[..whole.len() / 2]).unwrap();
    let cut = refusal("resnet18", cut.path());
    assert!(
        cut.contains("`base.safetensors` cannot be used") && cut.contains("bytes of data"),
        "{cut}"
    );
}

#[test]
fn a_network_for_small_images_trains_from_its_own_stages() {
    let set = Drawn::new(24, SIZE, |_| Split::Train);
    let backbone = json!({"architecture": "resnet20", "weights": "none"});
    let mut run = set.run(json!({"backbone": backbone, "epochs": 3, "image": {}, "split": {"val": 0.0}}));
    run.weights = WeightsSource::None;
    let attempt = uninterrupted(&run, &set.dir("first"));
    let first = trained(attempt.result);
    assert_eq!(
        (first.card.preprocessing.resize_to, first.card.preprocessing.crop),
        (SIZE, SIZE)
    );
    let told = epochs(&attempt.messages);
    assert!(told[2].train_loss < told[0].train_loss, "{told:?}");

    let base = weights(&set.dir("first"), &first);
    let backbone = json!({"architecture": "resnet20", "weights": "own.safetensors"});
    let mut run = set.run(json!({"backbone": backbone, "epochs": 1, "image": {}, "freeze": "backbone"}));
    run.weights = WeightsSource::File {
        path: set.dir("first").file(&first.weights.file),
        origin: "own.safetensors".into(),
        sha256: Some(first.weights.sha256.clone()),
        // The head is kept only where its classes are known.
        classes: Some(first.card.classes.clone()),
    };
    let second = trained(uninterrupted(&run, &set.dir("second")).result);
    let after = weights(&set.dir("second"), &second);
    for (name, tensor) in &after {
        assert_eq!(base[name].equal(tensor), !name.starts_with("linear."), "{name}");
    }
}

#[test]
fn when_the_time_is_over_the_best_epoch_so_far_is_the_model() {
    let set = Drawn::flat(16);
    let mut run = set.run(json!({"max_seconds": 100, "epochs": 9, "freeze": "backbone"}));
    // Earlier attempts have used it all; a job still gets as far as one judged epoch, cut short after its first step.
    run.common.seconds_used = 100.0;
    let attempt = uninterrupted(&run, &set.dir("run"));
    let result = trained(attempt.result);
    assert_eq!(result.stop_reason, StopReason::Budget);
    let epochs = epochs(&attempt.messages);
    assert_eq!(
        epochs
            .iter()
            .map(|event| (event.epoch, event.step))
            .collect::<Vec<_>>(),
        [(1, 1)]
    );
    assert!(epochs[0].val_accuracy.is_some());
}
