use serde_json::{Value, json};

use super::*;
use crate::domain::{
    architecture::Architecture,
    spec::{Freeze, JobSpec, OptimizerName, Solver, Spec},
};

fn parsed(mut document: Value) -> Result<JobSpec, Vec<String>> {
    document["dataset"] = json!("d");
    let told = |faults: Vec<FieldError>| {
        let told = |fault: FieldError| format!("{} {}: {}", fault.pointer, fault.code, fault.message);
        faults.into_iter().map(told).collect()
    };
    JobSpec::parse(&document).map_err(told)
}

#[test]
fn tutorial_is_what_there_is_without_a_preset() {
    let with = parsed(json!({"preset": "tutorial"})).unwrap();
    assert_eq!(with.preset, Some(Preset::Tutorial));
    assert_eq!(JobSpec { preset: None, ..with }, parsed(json!({})).unwrap());
}

#[test]
fn quick_solves_a_head_on_a_frozen_backbone() {
    let quick = parsed(json!({"preset": "quick"})).unwrap();
    assert_eq!(
        (quick.freeze, quick.head.solver),
        (Freeze::Backbone, Some(Solver::Lbfgs))
    );
    let mlp = parsed(json!({"preset": "quick", "head": {"kind": "mlp", "hidden": 9}})).unwrap();
    assert_eq!((mlp.head.hidden, mlp.head.solver), (Some(9), Some(Solver::Lbfgs)));
    let knn = parsed(json!({"preset": "quick", "head": {"kind": "knn"}})).unwrap();
    assert_eq!(knn.head.solver, None, "nothing is solved");
}

#[test]
fn strong_trains_all_layers_as_the_authors_of_each_network_do() {
    let strong = |architecture: &str| {
        let backbone = json!({"architecture": architecture, "weights": "own.pth"});
        parsed(json!({"preset": "strong", "backbone": backbone})).unwrap()
    };
    for (architecture, optimizer, layer_decay) in [
        ("resnet18", OptimizerName::Sgd, 1.0),
        ("vgg16", OptimizerName::Sgd, 1.0),
        ("convnext_tiny", OptimizerName::Adamw, 0.8),
        ("vit_b_16", OptimizerName::Adamw, 0.75),
    ] {
        let spec = strong(architecture);
        assert_eq!(
            (spec.optimizer.name, spec.optimizer.layer_decay),
            (optimizer, layer_decay),
            "{architecture}"
        );
        assert_eq!(
            (spec.freeze, spec.optimizer.backbone_lr_multiplier),
            (Freeze::None, 1.0)
        );
        assert!(
            spec.ema_decay.is_some() && spec.early_stopping.is_some() && spec.augment.rand_augment.is_some()
        );
    }
    assert!(
        strong("vgg16").optimizer.lr < strong("vgg16_bn").optimizer.lr,
        "batch normalisation allows more"
    );
}

#[test]
fn every_preset_fits_every_architecture() {
    for architecture in Architecture::ALL {
        for (preset, weights) in [
            ("strong", "own.pth"),
            ("strong", "none"),
            ("quick", "own.pth"),
            ("tutorial", "own.pth"),
        ] {
            let document =
                json!({"preset": preset, "backbone": {"architecture": architecture, "weights": weights}});
            let spec = parsed(document).unwrap();
            let written = serde_json::to_value(&spec).unwrap();
            assert_eq!(
                JobSpec::parse(&written).unwrap(),
                spec,
                "a resolved spec is itself a spec"
            );
        }
    }
}

#[test]
fn a_field_that_is_given_wins() {
    let spec = parsed(json!({
        "preset": "strong", "epochs": 7, "optimizer": {"lr": 0.02}, "freeze": "backbone", "loss": null, "backbone": {"weights": "own.pth"},
    }))
    .unwrap();
    assert_eq!(
        (spec.epochs, spec.optimizer.lr, spec.freeze),
        (7, 0.02, Freeze::Backbone)
    );
    assert_eq!(
        (spec.optimizer.nesterov, spec.loss.label_smoothing),
        (true, 0.1),
        "null is not given"
    );
    // Another optimiser has other parameters.
    let spec = parsed(json!({"preset": "strong", "optimizer": {"name": "adamw"}})).unwrap();
    let usual = parsed(json!({"freeze": "none", "optimizer": {"name": "adamw"}})).unwrap();
    assert_eq!(spec.optimizer, usual.optimizer);
}

#[test]
fn a_preset_that_does_not_fit_says_what_it_sets() {
    let faults = parsed(json!({"preset": "quick", "epochs": 5})).unwrap_err();
    assert_eq!(faults.len(), 1);
    assert!(faults[0].starts_with("/epochs conflict"), "{faults:?}");
    assert!(
        faults[0].ends_with("The preset `quick` sets `freeze`, `head.solver`"),
        "{faults:?}"
    );
    let faults = parsed(json!({"preset": "quick", "backbone": {"weights": "none"}})).unwrap_err();
    assert!(
        faults
            .iter()
            .any(|fault| fault.starts_with("/backbone/weights conflict")),
        "{faults:?}"
    );
    assert!(
        faults
            .iter()
            .all(|fault| fault.contains("The preset `quick` sets")),
        "{faults:?}"
    );
    let faults = parsed(json!({"preset": "strong", "head": {"solver": "lbfgs"}})).unwrap_err();
    assert!(
        faults.iter().all(|fault| fault.contains("preset `strong` sets")),
        "{faults:?}"
    );
    let faults = parsed(json!({"preset": "fast"})).unwrap_err();
    assert!(faults[0].starts_with("/preset range"), "{faults:?}");
    let faults = parsed(json!({"preset": 7})).unwrap_err();
    assert!(faults[0].starts_with("/preset type"), "{faults:?}");
    let evaluate = json!({"kind": "evaluate", "dataset": "d", "model": "m", "preset": "quick"});
    assert_eq!(Spec::parse(&evaluate).unwrap_err()[0].pointer, "/preset");
}

#[test]
fn auto_chooses_by_images_and_device_and_says_why() {
    let auto = |train_images, has_gpu, extra: Value| {
        let mut document = json!({"preset": "auto", "dataset": "d"});
        document
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        let circumstances = Circumstances {
            train_images,
            has_gpu,
        };
        let spec = Spec::parse_in(&document, Some(&circumstances))?;
        let spec = spec.training().unwrap().clone();
        Ok::<_, Vec<FieldError>>((spec.preset.unwrap(), spec.preset_reason.clone().unwrap(), spec))
    };
    let chosen = |train_images, has_gpu, extra| {
        let (preset, reason, spec) = auto(Some(train_images), has_gpu, extra).unwrap();
        assert_eq!(
            JobSpec::parse(&serde_json::to_value(&spec).unwrap()).unwrap(),
            spec
        );
        (preset, reason)
    };
    let (preset, reason) = chosen(240, true, json!({}));
    assert!(
        preset == Preset::Quick && reason.contains("240 training images"),
        "{reason}"
    );
    let (preset, reason) = chosen(5000, false, json!({}));
    assert!(
        preset == Preset::Quick && reason.contains("without a GPU"),
        "{reason}"
    );
    let (preset, reason) = chosen(5000, true, json!({}));
    assert!(preset == Preset::Strong && reason.contains("5000"), "{reason}");
    let (preset, _) = chosen(5000, true, json!({"device": "cpu"}));
    assert_eq!(preset, Preset::Quick);
    let (preset, reason) = chosen(50, false, json!({"backbone": {"weights": "none"}}));
    assert!(
        preset == Preset::Strong && reason.contains("without pretrained weights"),
        "{reason}"
    );
    let faults = auto(None, false, json!({})).unwrap_err();
    assert_eq!(faults[0].pointer, "/preset");
    assert!(
        faults[0].message.contains("has not been read yet"),
        "{}",
        faults[0].message
    );
}
