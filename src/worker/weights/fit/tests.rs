use tch::{Device, Kind, Tensor};

use super::*;
use crate::worker::{
    import::detect,
    nets::{
        HeadOrigin, Network,
        tests::{by_formula, one_of_each_family, usual_side, values},
    },
};

const ARCHITECTURE: Architecture = Architecture::Resnet20;
const CLASSES: usize = 3;

/// The tensors of a network, renamed.
fn renamed(rename: &dyn Fn(&str) -> String) -> StateDict {
    let network = Network::drawn(ARCHITECTURE, CLASSES, 5, Device::Cpu);
    let state = network.state().iter();
    state
        .map(|(name, tensor)| (rename(name), tensor.copy()))
        .collect()
}

/// Fits them and checks that it is the network that they came from.
fn whole(state: StateDict) -> Fitted {
    let fitted = fitted(state, ARCHITECTURE);
    let (network, head) = Network::fine_tuned(ARCHITECTURE, CLASSES, &fitted.state, 1, Device::Cpu)
        .unwrap_or_else(|fault| panic!("{fault}; {:?}", fitted.told));
    assert_eq!(head, HeadOrigin::Weights, "{:?}", fitted.told);
    for (name, tensor) in renamed(&str::to_owned) {
        assert!(network.state()[&name].equal(&tensor), "{name}");
    }
    fitted
}

/// Fits them where only the backbone can be used.
fn backbone(state: StateDict) -> Fitted {
    let fitted = fitted(state, ARCHITECTURE);
    let (_, head) = Network::fine_tuned(ARCHITECTURE, CLASSES, &fitted.state, 1, Device::Cpu)
        .unwrap_or_else(|fault| panic!("{fault}; {:?}", fitted.told));
    assert_eq!(head, HeadOrigin::Drawn { left_out: None });
    fitted
}

fn floats(shape: &[i64]) -> Tensor {
    Tensor::ones(shape, (Kind::Float, Device::Cpu))
}

#[test]
fn any_common_prefix_is_taken_off_and_told() {
    for prefix in [
        "module.",
        "model.",
        "backbone.",
        "_orig_mod.",
        "net.",
        "encoder.",
        "module.encoder_q.",
        "_orig_mod.module.",
        "model.backbone.net.",
        "something_of_mine.",
        "0.",
    ] {
        let fitted = whole(renamed(&|name| format!("{prefix}{name}")));
        assert!(
            fitted.told[0].contains(&format!("`{prefix}`")),
            "{:?}",
            fitted.told
        );
        assert!(!fitted.guessed);
    }
    assert!(whole(renamed(&str::to_owned)).told.is_empty());
}

#[test]
fn wrappers_within_names_are_taken_out() {
    for wrapper in [
        "_orig_mod",
        "_fsdp_wrapped_module",
        "_checkpoint_wrapped_module",
        "module",
    ] {
        let inner = |name: &str| match name.split_once('.') {
            Some((first, rest)) if first.starts_with("layer") => format!("{first}.{wrapper}.{rest}"),
            _ => name.to_owned(),
        };
        assert!(whole(renamed(&inner)).told[0].contains(wrapper));
        assert_eq!(
            whole(renamed(&|name| format!("model.{}", inner(name))))
                .told
                .len(),
            2
        );
    }
}

#[test]
fn the_head_is_found_under_other_names() {
    for head in [
        "linear.1",
        "fc",
        "fc.1",
        "head.fc",
        "classifier",
        "classifier.1",
        "last_linear",
        "heads.head",
    ] {
        for prefix in ["", "model.", "module.encoder_q."] {
            let state = renamed(&|name| match name.strip_prefix("linear.") {
                Some(part) => format!("{prefix}{head}.{part}"),
                None => format!("{prefix}{name}"),
            });
            let fitted = whole(state);
            assert!(
                fitted
                    .told
                    .last()
                    .unwrap()
                    .contains(&format!("`{head}` is the head")),
                "{:?}",
                fitted.told
            );
        }
    }
    // Beside the backbone, as in many trainers.
    for head in ["head", "fc", "model.classifier.1"] {
        whole(renamed(&|name| match name.strip_prefix("linear.") {
            Some(part) => format!("{head}.{part}"),
            None => format!("model.backbone.{name}"),
        }));
    }
}

#[test]
fn a_head_of_several_layers_is_left_out_and_told() {
    for prefix in ["", "module.encoder_q."] {
        for head in ["linear", "fc", "projection_head"] {
            let mut state = renamed(&|name| format!("{prefix}{name}"));
            state.retain(|name, _| !name.contains("linear."));
            for (layer, outputs) in [("0", 64), ("2", 16)] {
                state.insert(format!("{prefix}{head}.{layer}.weight"), floats(&[outputs, 64]));
                state.insert(format!("{prefix}{head}.{layer}.bias"), floats(&[outputs]));
            }
            let fitted = backbone(state);
            assert!(
                fitted.told.last().unwrap().contains("left out"),
                "{:?}",
                fitted.told
            );
        }
    }
}

#[test]
fn of_several_networks_the_one_that_is_trained_is_used_and_the_choice_told() {
    for (trained, follower) in [
        ("module.encoder_q.", "module.encoder_k."),
        ("student.backbone.", "teacher.backbone."),
        ("online.", "target."),
        ("model.", "ema_model."),
        ("model.", "model_ema."),
    ] {
        let mut state = renamed(&|name| format!("{trained}{name}"));
        for (name, tensor) in renamed(&|name| format!("{follower}{name}")) {
            let shape = tensor.size();
            state.insert(name, tensor.zeros_like().reshape(shape));
        }
        state.insert("module.queue".into(), floats(&[64, 100]));
        let fitted = whole(state);
        assert!(
            fitted.guessed && fitted.told[0].contains(follower),
            "{:?}",
            fitted.told
        );
    }
}

#[test]
fn counters_may_be_missing_or_there_without_need() {
    let mut without = renamed(&str::to_owned);
    without.retain(|name, _| !name.ends_with("num_batches_tracked"));
    let fitted = fitted(without, ARCHITECTURE);
    assert!(Network::loaded(ARCHITECTURE, CLASSES, &fitted.state, Device::Cpu).is_ok());
    for more in [
        "num_batches_tracked",
        "layer9.bn.num_batches_tracked",
        "n_averaged",
    ] {
        let mut with = renamed(&str::to_owned);
        with.insert(more.into(), Tensor::from(7i64));
        whole(with);
    }
    let mut averaged = renamed(&|name| format!("module.{name}"));
    averaged.insert("n_averaged".into(), Tensor::from(7i64));
    whole(averaged);
}

#[test]
fn a_head_without_a_bias_has_one_of_zeros() {
    let mut state = renamed(&|name| format!("model.{name}"));
    state.remove("model.linear.bias");
    let fitted = fitted(state, ARCHITECTURE);
    let network = Network::loaded(ARCHITECTURE, CLASSES, &fitted.state, Device::Cpu).unwrap();
    assert!(network.state()["linear.bias"].equal(&Tensor::zeros([3], (Kind::Float, Device::Cpu))));
}

#[test]
fn what_does_not_fit_is_not_bent_until_it_does() {
    let mut missing = renamed(&|name| format!("model.{name}"));
    missing.remove("model.layer1.0.conv1.weight");
    let mut extra = renamed(&str::to_owned);
    extra.insert("layer1.0.conv9.weight".into(), floats(&[16, 16, 3, 3]));
    let mut lone = renamed(&str::to_owned);
    lone.insert("extra".into(), floats(&[1]));
    for (state, word) in [
        (missing, "1 missing (`layer1.0.conv1.weight`"),
        (extra, "unexpected (`layer1.0.conv9.weight`"),
        (lone, "unexpected (`extra`"),
    ] {
        let fitted = fitted(state, ARCHITECTURE);
        let fault = Network::loaded(ARCHITECTURE, CLASSES, &fitted.state, Device::Cpu).unwrap_err();
        assert!(fault.to_string().contains(word), "{fault}");
    }
}

#[test]
fn a_network_is_found_among_others_by_its_prefix() {
    let state = renamed(&|name| format!("module.encoder_q.{name}"));
    let found = candidates(&state);
    assert!(found.iter().any(|state| state.contains_key("conv1.weight")));
}

#[test]
fn timms_names_are_replaced_and_the_network_computes_the_same() {
    for architecture in one_of_each_family() {
        if architecture.twins(1).is_none() {
            continue;
        }
        let network = by_formula(architecture, CLASSES);
        let side = usual_side(architecture);
        let images = values("timm", &[2, 3, side, side]).to_kind(Kind::Float);
        let expected = network.logits(&images);
        let theirs = timm_names::into_timm(network.state(), architecture);
        assert_ne!(
            theirs.keys().collect::<Vec<_>>(),
            network.state().keys().collect::<Vec<_>>()
        );
        for prefix in ["", "model."] {
            let named = theirs
                .iter()
                .map(|(name, tensor)| (format!("{prefix}{name}"), tensor.copy()));
            let named: StateDict = named.collect();
            let found = candidates(&named);
            assert_eq!(found.iter().find_map(detect::architecture), Some(architecture));
            let fitted = fitted(named, architecture);
            assert!(
                !fitted.guessed && fitted.told.last().unwrap().contains("timm's"),
                "{:?}",
                fitted.told
            );
            let loaded = Network::loaded(architecture, CLASSES, &fitted.state, Device::Cpu);
            let loaded = loaded.unwrap_or_else(|fault| panic!("{fault}; {:?}", fitted.told));
            let off = (loaded.logits(&images) - &expected).abs().max().double_value(&[]);
            let largest = expected.abs().max().double_value(&[]);
            assert!(off <= 1e-5 * largest, "{architecture}: {off:e} of {largest:e}");
        }
    }
}

#[test]
fn what_follows_from_a_network_is_left_out_of_its_weights_and_checked_where_it_belongs() {
    let architecture = Architecture::SwinT;
    let network = by_formula(architecture, CLASSES);
    let mut theirs = timm_names::into_timm(network.state(), architecture);
    assert!(
        theirs
            .keys()
            .all(|name| !name.ends_with("relative_position_index"))
    );
    for (layer, blocks) in [(0, 2), (2, 6)] {
        for block in 0..blocks {
            let name = |tensor: &str| format!("layers.{layer}.blocks.{block}.{tensor}");
            theirs.insert(name("attn.relative_position_index"), floats(&[49, 49]));
            theirs.insert(name("attn_mask"), floats(&[64, 49, 49]));
        }
    }
    assert_eq!(detect::architecture(&theirs), Some(architecture));
    let fitted = fitted(theirs, architecture);
    let loaded = Network::loaded(architecture, CLASSES, &fitted.state, Device::Cpu).unwrap();
    assert!(loaded.state().keys().eq(network.state().keys()));

    let shared = |(name, tensor): (&String, &Tensor)| (name.clone(), tensor.shallow_clone());
    let mut other: StateDict = loaded.state().iter().map(shared).collect();
    let name = "features.1.0.attn.relative_position_index";
    other.insert(name.to_owned(), &loaded.state()[name] + 1i64);
    let fault = Network::loaded(architecture, CLASSES, &other, Device::Cpu).unwrap_err();
    assert!(fault.to_string().contains("a window of 7 × 7"), "{fault}");
}

#[test]
fn without_its_head_a_network_of_timm_is_a_backbone() {
    let architecture = Architecture::MobilenetV3Small;
    let network = Network::drawn(architecture, CLASSES, 5, Device::Cpu);
    let mut theirs = timm_names::into_timm(network.state(), architecture);
    theirs.retain(|name, _| !name.starts_with("classifier."));
    let fitted = fitted(theirs, architecture);
    let (_, head) = Network::fine_tuned(architecture, 7, &fitted.state, 1, Device::Cpu).unwrap();
    assert_eq!(head, HeadOrigin::Drawn { left_out: None });
}

#[test]
fn auxiliary_heads_are_set_aside_and_told() {
    let architecture = Architecture::InceptionV3;
    let network = Network::drawn(architecture, CLASSES, 5, Device::Cpu);
    let mut state: StateDict = (network.state().iter())
        .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
        .collect();
    state.insert("AuxLogits.conv0.conv.weight".into(), floats(&[128, 768, 1, 1]));
    state.insert("AuxLogits.fc.weight".into(), floats(&[CLASSES as i64, 768]));
    state.insert("AuxLogits.fc.bias".into(), floats(&[CLASSES as i64]));
    assert_eq!(detect::architecture(&state), Some(architecture));
    let fitted = fitted(state, architecture);
    assert!(
        fitted.told[0].contains("3 tensors of auxiliary heads"),
        "{:?}",
        fitted.told
    );
    assert_eq!(fitted.auxiliary.len(), 3);
    assert!(Network::loaded(architecture, CLASSES, &fitted.state, Device::Cpu).is_ok());
}
