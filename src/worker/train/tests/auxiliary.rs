//! Trainings with auxiliary heads: they teach, they are no part of the model, and they survive a stop.

use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use super::{
    drawn::{Attempt, Drawn, base_weights_of, uninterrupted},
    epochs, resume, trained, weights,
};
use crate::{
    domain::{architecture::Architecture, spec::JobSpec},
    protocol::{TrainRun, WeightsSource, WorkerMessage},
    worker::{files::state, nets::aside::Aside},
};

/// Of GoogLeNet, the smaller of the networks that have such heads.
fn run(set: &Drawn, more: Value) -> TrainRun {
    let backbone = json!({"architecture": "googlenet", "weights": "base.safetensors"});
    let mut document = json!({
        "dataset": "drawn", "backbone": backbone, "freeze": "none", "image": {"size": 64}, "batch_size": 12, "epochs": 2,
        "split": {"val": 0.25}, "optimizer": {"lr": 0.002, "backbone_lr_multiplier": 1.0},
        "loss": {"auxiliary_weight": 0.3},
    });
    for (field, value) in more.as_object().unwrap() {
        document[field] = value.clone();
    }
    TrainRun {
        spec: JobSpec::parse(&document).unwrap(),
        ..set.run(json!({"backbone": backbone}))
    }
}

fn logs(attempt: &Attempt) -> String {
    let line = |message: &WorkerMessage| match message {
        WorkerMessage::Log { event } => Some(event.message.clone() + "\n"),
        _ => None,
    };
    attempt.messages.iter().filter_map(line).collect()
}

#[test]
fn they_teach_the_layers_before_them_and_are_no_part_of_the_model() {
    let set = Drawn::new(16, 73, |_| crate::domain::datasets::split::Split::Train);
    let train = |name: &str, more| {
        let dir = set.dir(name);
        let attempt = uninterrupted(&run(&set, more), &dir);
        let (told, first_loss) = (logs(&attempt), epochs(&attempt.messages)[0].train_loss);
        let result = trained(attempt.result);
        (weights(&dir, &result), told, first_loss)
    };
    let (plain, told, plain_loss) = train("plain", json!({"loss": {}}));
    assert!(!told.contains("auxiliary"), "{told}");
    let (taught, told, taught_loss) = train("taught", json!({}));
    assert!(told.contains("auxiliary heads (aux1, aux2) learn"), "{told}");
    assert!(told.contains("newly initialised"), "{told}");
    assert_eq!(
        plain.keys().collect::<Vec<_>>(),
        taught.keys().collect::<Vec<_>>()
    );
    let (first, last) = ("conv1.conv.weight", "inception5b.branch1.conv.weight");
    for name in [first, last] {
        assert!(!plain[name].equal(&taught[name]), "{name} learned the same");
    }
    // It is that of the model's head alone: that of three would be half as large again.
    assert!(
        (plain_loss - taught_loss).abs() < 0.3 * plain_loss,
        "{plain_loss} {taught_loss}"
    );
}

#[test]
fn those_of_the_weights_are_kept_but_for_their_last_layer() {
    let set = Drawn::new(16, 73, |_| crate::domain::datasets::split::Split::Train);
    let mut given = state::read(&base_weights_of(Architecture::Googlenet)).unwrap();
    for head in Architecture::Googlenet.auxiliary_heads(10) {
        let layers = Aside::drawn(&head.layer, 5, Device::Cpu);
        let tensors = layers.state().iter();
        given.extend(tensors.map(|(name, tensor)| (name.clone(), tensor.shallow_clone())));
    }
    let dir = set.dir("given");
    let path = dir.file("with-heads.safetensors");
    state::write(&path, &given, &Default::default()).unwrap();
    let from = |given: &std::path::Path| {
        let mut run = run(&set, json!({"epochs": 1}));
        run.weights = WeightsSource::File {
            path: given.to_owned(),
            origin: "with-heads.safetensors".into(),
            sha256: None,
            classes: None,
        };
        uninterrupted(&run, &dir)
    };
    let told = logs(&from(&path));
    assert!(told.contains("the weights have aux1, aux2"), "{told}");
    assert!(told.contains("no part of the model"), "{told}");

    // Of another size they are not taken over.
    let other = Tensor::zeros([1024, 7], (Kind::Float, Device::Cpu));
    given.insert("aux1.fc1.weight".into(), other);
    state::write(&path, &given, &Default::default()).unwrap();
    let told = logs(&from(&path));
    assert!(told.contains("the weights have aux2"), "{told}");
}

#[test]
fn a_training_that_is_stopped_after_every_step_ends_with_the_same_bits() {
    let set = Drawn::new(24, 73, |_| crate::domain::datasets::split::Split::Train);
    // In the first epoch there is nobody to teach.
    let thawing = json!({"freeze": "backbone", "unfreeze_at_epoch": 2});
    for more in [json!({}), thawing] {
        let points = resume::stopped_after_every_step(&set, run(&set, more));
        assert!(points.len() >= 2, "{points:?}");
    }
}
