//! Networks whose head or blocks are unlike those of a ResNet, trained as the server sees it.

use serde_json::{Value, json};

use super::{
    drawn::{Drawn, base_weights_of, uninterrupted},
    epochs, heads, trained, warnings, weights,
};
use crate::{
    domain::{
        architecture::{Architecture, HeadKind},
        datasets::split::Split,
        spec::JobSpec,
    },
    protocol::{KnownActivations, TrainRun},
    worker::files::state,
};

fn squeezenet(set: &Drawn, head: Value, more: Value) -> TrainRun {
    let backbone = json!({"architecture": "squeezenet1_1", "weights": "base.safetensors"});
    let mut document = json!({
        "dataset": "drawn", "backbone": backbone, "freeze": "backbone", "head": head, "image": {"size": 64},
        "batch_size": 8, "split": {"val": 0.25},
    });
    for (field, value) in more.as_object().unwrap() {
        document[field] = value.clone();
    }
    let spec = JobSpec::parse(&document).unwrap();
    TrainRun {
        spec,
        ..set.run(json!({"backbone": backbone}))
    }
}

#[test]
fn heads_of_every_kind_learn_from_the_maps_of_a_squeezenet() {
    let set = heads::set();
    // Its ReLU would soon be 0 everywhere at a higher rate: the features of a drawn network are large.
    let by_steps = json!({"epochs": 2, "optimizer": {"lr": 0.00001}});
    let mut known: Vec<KnownActivations> = Vec::new();
    for (head, more, kind) in [
        (json!({"dropout": 0}), by_steps, HeadKind::Linear),
        (
            json!({"kind": "mlp", "solver": "lbfgs", "hidden": 16}),
            json!({}),
            HeadKind::Mlp,
        ),
        (json!({"kind": "prototype"}), json!({}), HeadKind::Prototype),
        (json!({"kind": "knn", "k": 5}), json!({}), HeadKind::Knn),
    ] {
        let mut run = squeezenet(&set, head, more);
        run.activations = known.clone();
        let dir = set.dir(kind.as_str());
        let attempt = uninterrupted(&run, &dir);
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
        assert!(kind != HeadKind::Mlp || reached > 0.5, "{kind:?}: {reached}");
        assert_eq!(
            super::accuracy(&set, Split::Val, &dir, &result),
            reached,
            "{kind:?}"
        );
        if kind == HeadKind::Linear {
            assert_eq!(
                weights(&dir, &result)["classifier.1.weight"].size(),
                [3, 512, 1, 1]
            );
            let used = result.activations[0].clone();
            let path = dir.file(&used.file.unwrap().file);
            known.push(KnownActivations { key: used.key, path });
        } else {
            assert_eq!(
                result.activations[0].file, None,
                "{kind:?} starts from what the first left"
            );
        }
    }
}

#[test]
fn the_last_blocks_of_a_swin_transformer_learn_and_a_run_can_be_repeated() {
    let set = Drawn::flat(12);
    let run = set.run(json!({
        "backbone": {"architecture": "swin_t", "weights": "base.safetensors"}, "freeze": {"until": "block10"}, "epochs": 1,
        "image": {"size": 64}, "optimizer": {"name": "adamw", "lr": 0.0001, "layer_decay": 0.8, "backbone_lr_multiplier": 1.0},
        "split": {"val": 0.0},
    }));
    let dir = set.dir("run");
    let result = trained(uninterrupted(&run, &dir).result);
    let before = state::read(&base_weights_of(Architecture::SwinT)).unwrap();
    // The last two blocks, what pools their output, and the head.
    let learns = |name: &str| {
        ["features.6.", "features.7.", "norm.", "head."]
            .iter()
            .any(|part| name.starts_with(part))
            && !name.ends_with("relative_position_index")
    };
    for (name, tensor) in &weights(&dir, &result) {
        let same = before[name].size() == tensor.size() && before[name].equal(tensor);
        assert_eq!(same, !learns(name), "{name}");
    }
    let again = trained(uninterrupted(&run, &set.dir("again")).result);
    assert_eq!(again.weights.sha256, result.weights.sha256);
}
