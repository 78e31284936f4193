//! Trainings of an adapter: what learns, what is written, and what the model is with its base.

use serde_json::{Value, json};
use tch::Device;

use super::{
    drawn::{Drawn, base_weights_of, resize_to, uninterrupted},
    epochs, files_of,
    resume::stopped_after_every_step,
    trained, warnings, weights,
};
use crate::{
    domain::{architecture::Architecture, datasets::split::Split, spec::Adapt},
    protocol::{TrainResult, TrainRun, WeightsSource},
    worker::{
        files::{
            adapters,
            bundle::{self, BundleFault},
            state,
        },
        nets::Network,
        process::{run_dir::RunDir, stored::tests::flipping},
    },
};

fn run(set: &Drawn, architecture: &str, adapt: Value, fields: Value) -> TrainRun {
    let mut spec = json!({
        "backbone": {"architecture": architecture, "weights": "base.safetensors"}, "adapt": adapt, "batch_size": 12,
        "optimizer": {"name": "adamw", "lr": 0.003},
    });
    for (name, value) in fields.as_object().unwrap() {
        spec[name] = value.clone();
    }
    set.run(spec)
}

fn lora() -> Value {
    json!({"lora": {"rank": 4}})
}

/// Architecture, adapter, a tensor that learns, and one that does not.
fn kinds() -> [(&'static str, Value, &'static str, &'static str); 4] {
    [
        (
            "resnet20",
            json!("norm_only"),
            "layer2.0.bn1.weight",
            "layer2.0.conv1.weight",
        ),
        (
            "resnet20",
            json!("bias_only"),
            "layer2.0.bn1.bias",
            "layer2.0.bn1.weight",
        ),
        (
            "vit_tiny_patch16_224",
            json!("bias_only"),
            "blocks.3.mlp.fc1.bias",
            "blocks.3.mlp.fc1.weight",
        ),
        (
            "vit_tiny_patch16_224",
            lora(),
            "blocks.3.attn.qkv.weight.lora_B",
            "blocks.3.attn.qkv.weight",
        ),
    ]
}

#[test]
fn only_the_adapter_and_the_head_are_trained_and_stored() {
    let part = |id| if id % 4 == 3 { Split::Val } else { Split::Train };
    let set = Drawn::new(48, resize_to(), part);
    for (architecture, adapt, learns, stays) in kinds() {
        let dir = set.dir(&format!("{architecture}-{}", adapt.as_str().unwrap_or("lora")));
        let run = run(&set, architecture, adapt, json!({"epochs": 3}));
        let attempt = uninterrupted(&run, &dir);
        assert!(
            warnings(&attempt.messages).is_empty(),
            "{:?}",
            warnings(&attempt.messages)
        );
        let told = epochs(&attempt.messages);
        let result = trained(attempt.result);
        assert!(told[2].train_loss < told[0].train_loss, "{told:?}");

        let given = state::read(&base_weights_of(run.spec.backbone.architecture)).unwrap();
        let files = files_of(&dir, &result);
        let own = bundle::read_own_weights(&files).unwrap();
        let base = bundle::read_base(files.base.as_ref().unwrap()).unwrap();
        assert!(
            own.contains_key(learns) && !own.contains_key(stays),
            "{:?}",
            own.keys()
        );
        assert!(own.keys().all(|name| !base.contains_key(name)));
        for (name, tensor) in &base {
            assert!(given[name].equal(tensor), "{name}");
        }
        let adapter = result.card.adapter.as_deref().unwrap();
        assert_eq!(
            (adapter.adapt, &adapter.base_sha256),
            (run.spec.adapt, &files.base.as_ref().unwrap().sha256)
        );
        assert_eq!(adapter.base_bytes, result.base.as_ref().unwrap().bytes);
        assert!(
            result.weights.bytes * 4 < adapter.base_bytes,
            "{}",
            result.weights.bytes
        );
        let parameters: u64 = (own.iter())
            .filter(|(name, _)| {
                !name.contains("running") && !name.contains("num_batches") && !name.ends_with("scale")
            })
            .map(|(_, tensor)| tensor.numel() as u64)
            .sum();
        assert_eq!(adapter.parameters, parameters);
        // What was told of the best epoch is what the whole network does.
        let best = result.card.metrics.as_ref().unwrap().val_accuracy.unwrap();
        assert_eq!(super::accuracy(&set, Split::Val, &dir, &result), best);
        let whole = weights(&dir, &result);
        assert!(whole.keys().all(|name| adapters::weight_of(name).is_none()));
        Network::loaded(
            run.spec.backbone.architecture,
            result.card.outputs(),
            &whole,
            Device::Cpu,
        )
        .unwrap();
    }
}

#[test]
fn adapters_of_the_same_weights_share_one_base() {
    let set = Drawn::flat(24);
    let made = |seed: u64| {
        let dir = set.dir(&format!("seed-{seed}"));
        let run = run(
            &set,
            "vit_tiny_patch16_224",
            lora(),
            json!({"epochs": 1, "seed": seed}),
        );
        trained(uninterrupted(&run, &dir).result)
    };
    let (one, other) = (made(1), made(2));
    assert_eq!(one.base, other.base);
    assert_ne!(one.weights.sha256, other.weights.sha256);
}

#[test]
fn an_adapter_that_is_interrupted_has_the_same_bits() {
    let set = Drawn::flat(32);
    stopped_after_every_step(
        &set,
        run(&set, "vit_tiny_patch16_224", lora(), json!({"ema_decay": 0.9})),
    );
    let set = Drawn::flat(32);
    stopped_after_every_step(
        &set,
        run(
            &set,
            "resnet20",
            json!("norm_only"),
            json!({"freeze": {"until": "stem"}}),
        ),
    );
}

fn adapted(set: &Drawn) -> (RunDir, TrainResult) {
    let dir = set.dir("adapter");
    let run = run(set, "vit_tiny_patch16_224", lora(), json!({"epochs": 2}));
    let result = trained(uninterrupted(&run, &dir).result);
    (dir, result)
}

#[test]
fn a_training_begins_with_the_whole_network_of_an_adapter() {
    let set = Drawn::flat(24);
    let (dir, adapter) = adapted(&set);
    let mut next = run(
        &set,
        "vit_tiny_patch16_224",
        Value::Null,
        json!({"freeze": "backbone", "epochs": 1}),
    );
    assert_eq!(next.spec.adapt, None::<Adapt>);
    next.weights = WeightsSource::Adapter {
        files: files_of(&dir, &adapter),
        origin: "mdl".to_owned(),
        classes: adapter.card.classes.clone(),
    };
    let next_dir = set.dir("next");
    let result = trained(uninterrupted(&next, &next_dir).result);
    let (before, after) = (weights(&dir, &adapter), weights(&next_dir, &result));
    // It is a head beside a base of its own.
    assert_eq!(result.card.adapter.as_ref().unwrap().adapt, None);
    assert_ne!(
        result.base.as_ref().unwrap().sha256,
        adapter.base.as_ref().unwrap().sha256
    );
    assert!(after["blocks.3.attn.qkv.weight"].equal(&before["blocks.3.attn.qkv.weight"]));
    let given = state::read(&base_weights_of(Architecture::VitTinyPatch16)).unwrap();
    assert!(!after["blocks.3.attn.qkv.weight"].equal(&given["blocks.3.attn.qkv.weight"]));
}

#[test]
fn a_flipped_bit_of_the_base_is_found() {
    let set = Drawn::flat(24);
    let (dir, adapter) = adapted(&set);
    let files = files_of(&dir, &adapter);
    flipping(&files.base.as_ref().unwrap().path, 7, || {
        let fault = bundle::read_weights(&files).unwrap_err();
        assert!(matches!(fault, BundleFault::Damaged(_)), "{fault}");
    });
    assert!(bundle::read_weights(&files).is_ok());
}
