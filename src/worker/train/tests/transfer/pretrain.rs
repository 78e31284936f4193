//! Backbones that learn without labels: what they tell and leave, that they go on after an interruption, and what trainings make of them.

use serde_json::{Value, json};

use super::{
    drawn::{Drawn, uninterrupted},
    epochs, files_of,
    resume::stopped_after_every_step,
    trained, warnings, weights,
};
use crate::{
    domain::{architecture::Head, datasets::split::Split, spec::PretrainMethod},
    protocol::{TrainRun, WeightsSource, WorkerMessage},
    worker::{
        autograd::without_gradients,
        files::{bundle, state},
        nets::Network,
    },
};

fn set() -> Drawn {
    Drawn::new(40, 32, |id| if id % 4 == 3 { Split::Val } else { Split::Train })
}

/// Epochs of resnet20 from scratch on two views of each image, with these fields.
fn run(set: &Drawn, method: PretrainMethod, fields: Value) -> TrainRun {
    let augment = json!({"random_resized_crop": [0.3, 1], "horizontal_flip": true, "color_jitter": 0.4, "grayscale": 0.2, "blur": 0.5});
    let mut spec = json!({
        "backbone": {"architecture": "resnet20", "weights": "none"}, "batch_size": 12, "augment": augment,
        "optimizer": {"lr": 0.05, "backbone_lr_multiplier": 1.0},
    });
    for (field, value) in fields.as_object().unwrap() {
        spec[field] = value.clone();
    }
    if method == PretrainMethod::Dino {
        spec["ema_decay"] = json!(0.9);
    }
    TrainRun {
        pretraining: Some(method),
        ..set.run(spec)
    }
}

#[test]
fn a_backbone_learns_without_labels_and_has_no_head() {
    let set = set();
    for method in PretrainMethod::ALL {
        let dir = set.dir(method.as_str());
        let attempt = uninterrupted(&run(&set, method, json!({"epochs": 4, "seed": 3})), &dir);
        let told = epochs(&attempt.messages);
        assert_eq!(told.len(), 4);
        assert!(told.iter().all(|epoch| {
            epoch.train_accuracy.is_none() && epoch.val_loss.is_none() && epoch.knn_accuracy.is_some()
        }));
        assert!(told[3].train_loss < told[0].train_loss, "{method:?}: {told:?}");
        let result = trained(attempt.result);
        assert_eq!(result.evaluation, None);
        let card = &result.card;
        assert_eq!(
            (card.head, card.classes.len(), card.metrics.as_ref()),
            (Head::None, 0, None)
        );
        let about = card.pretraining.as_ref().unwrap();
        assert_eq!((about.epochs, about.images), (4, 30));
        assert_eq!(
            (about.loss, about.knn_accuracy),
            (told[3].train_loss, told[3].knn_accuracy)
        );
        assert!(about.feature_spread > 0.0 && about.feature_spread <= 1.0);
        let weights = weights(&dir, &result);
        assert!(
            weights.keys().all(|name| !name.starts_with("linear")),
            "{:?}",
            weights.keys()
        );
        let files = files_of(&dir, &result);
        let loaded = bundle::read_weights(&files).unwrap();
        let network = Network::loaded(card.architecture, card.outputs(), &loaded, tch::Device::Cpu).unwrap();
        let images = tch::Tensor::zeros([2, 3, 32, 32], (tch::Kind::Float, tch::Device::Cpu));
        assert_eq!(network.logits(&images).size(), [2, 64]);
    }
}

#[test]
fn images_without_labels_are_enough_and_labels_change_nothing() {
    let with = set();
    let fields = json!({"epochs": 1, "split": {"val": 0}});
    let method = PretrainMethod::Simsiam;
    let digest = |set: &Drawn, name: &str| {
        let attempt = uninterrupted(&run(set, method, fields.clone()), &set.dir(name));
        let measured = epochs(&attempt.messages)[0].knn_accuracy;
        (trained(attempt.result).weights.sha256, measured.is_some())
    };
    let labelled = digest(&with, "with");
    let unlabelled = digest(&set().unlabelled(), "without");
    assert_eq!((labelled.1, unlabelled.1), (true, false));
    assert_eq!(labelled.0, unlabelled.0);
}

#[test]
fn stopped_after_every_step_it_ends_with_the_same_bits() {
    for (method, accumulated) in [(PretrainMethod::Simsiam, 2), (PretrainMethod::Dino, 1)] {
        let set = set();
        let fields = json!({"epochs": 2, "gradient_accumulation_steps": accumulated});
        stopped_after_every_step(&set, run(&set, method, fields));
    }
}

#[test]
fn features_that_have_collapsed_are_told() {
    let set = set();
    let mut run = run(
        &set,
        PretrainMethod::Simsiam,
        json!({"epochs": 1, "optimizer": {"lr": 1e-9}}),
    );
    // A first layer that sees nothing.
    let blind = Network::drawn(run.spec.backbone.architecture, 3, 1, tch::Device::Cpu);
    let _ = without_gradients(|| blind.state()["conv1.weight"].shallow_clone().zero_());
    let path = set.dir("weights").file("blind.safetensors");
    state::write(&path, blind.state(), &Default::default()).unwrap();
    run.weights = WeightsSource::File {
        path,
        origin: "blind".to_owned(),
        sha256: None,
        classes: None,
    };
    let attempt = uninterrupted(&run, &set.dir("collapsed"));
    assert_eq!(warnings(&attempt.messages), ["collapsed"]);
    assert!(epochs(&attempt.messages)[0].feature_spread.unwrap() < 0.01);
}

#[test]
fn a_training_begins_with_it_and_draws_a_head() {
    let set = set();
    let dir = set.dir("backbone");
    let backbone =
        trained(uninterrupted(&run(&set, PretrainMethod::Simsiam, json!({"epochs": 1})), &dir).result);
    let files = files_of(&dir, &backbone);
    let mut training = set.run(json!({"backbone": {"architecture": "resnet20", "weights": "mdl"}, "freeze": "backbone", "epochs": 1}));
    training.weights = WeightsSource::File {
        path: files.weights.clone(),
        origin: "mdl".to_owned(),
        sha256: Some(files.sha256.clone()),
        classes: Some(Vec::new()),
    };
    let own_dir = set.dir("training");
    let attempt = uninterrupted(&training, &own_dir);
    let logged = attempt.messages.iter().any(|message| {
        matches!(message, WorkerMessage::Log { event } if event.message.contains("the weights have no head"))
    });
    assert!(logged, "{:?}", attempt.messages);
    let result = trained(attempt.result);
    let (before, after) = (weights(&dir, &backbone), weights(&own_dir, &result));
    assert!(after["conv1.weight"].equal(&before["conv1.weight"]));
    assert_eq!(after["linear.weight"].size(), [3, 64]);
}
