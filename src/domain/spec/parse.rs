//! From a caller's JSON to a [`JobSpec`], or to the list of everything that is wrong with it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    Architecture, Augment, Backbone, DeviceChoice, Freeze, ImageSpec, JobKind, JobSpec, OptimizerName,
    OptimizerSpec, Stage, Weights,
    fields::{Faults, Fields},
};
use crate::{
    domain::{name::Name, preprocessing::Resize, split::SplitSpec},
    error::FieldError,
};

/// Fields of the contract that are not built yet.
const PLANNED: &[&str] = &[
    "unfreeze_at_epoch",
    "head",
    "schedule",
    "loss",
    "clip_grad_norm",
    "ema_decay",
    "early_stopping",
    "domain_adaptation",
    "precision",
];
const PLANNED_AUGMENT: &[&str] = &[
    "vertical_flip",
    "rotation_degrees",
    "random_resized_crop",
    "color_jitter",
    "random_erasing",
    "mixup",
    "cutmix",
];

impl JobSpec {
    /// Checks a caller's spec and fills in its defaults.
    ///
    /// # Errors
    /// Every fault of the document, in the order of its fields.
    pub fn parse(document: &Value) -> Result<JobSpec, Vec<FieldError>> {
        let faults = Faults::default();
        let mut root = Fields::root(document, &faults);
        let backbone = parse_backbone(root.object("backbone"));
        let spec = JobSpec {
            kind: root.choice("kind", JobKind::Train, &[("train", JobKind::Train)]),
            name: parse_name(&mut root),
            dataset: parse_dataset(&mut root),
            metadata: parse_metadata(&mut root),
            freeze: parse_freeze(&mut root, &backbone.weights),
            image: parse_image(root.object("image")),
            augment: parse_augment(root.object("augment")),
            split: parse_split(root.object("split")),
            epochs: root.integer("epochs", 10, 1, 10_000) as u32,
            batch_size: root.integer("batch_size", 32, 1, 4096) as u32,
            optimizer: parse_optimizer(root.object("optimizer"), &backbone.weights),
            device: parse_device(&mut root),
            seed: root.integer("seed", 0, 0, i64::MAX) as u64,
            priority: root.integer("priority", 0, -100, 100) as i32,
            max_seconds: root
                .optional_integer("max_seconds", 1, 365 * 86_400)
                .map(|seconds| seconds as u64),
            max_attempts: root.integer("max_attempts", 3, 1, 10) as u32,
            backbone,
        };
        root.finish(PLANNED);
        let faults = faults.into_inner();
        if faults.is_empty() { Ok(spec) } else { Err(faults) }
    }
}

fn parse_name(root: &mut Fields) -> Option<Name> {
    let text = root.text("name")?;
    Name::parse(text)
        .inspect_err(|fault| root.fault("name", "range", fault.to_string()))
        .ok()
}

fn parse_dataset(root: &mut Fields) -> String {
    match root.raw("dataset") {
        None => root.fault(
            "dataset",
            "missing",
            "name the dataset to train on, by its id or its name",
        ),
        Some(Value::String(text)) if (1..=Name::MAX).contains(&text.len()) => return text.clone(),
        Some(_) => root.fault("dataset", "type", "must be the id or the name of a dataset"),
    }
    String::new()
}

fn parse_metadata(root: &mut Fields) -> BTreeMap<String, String> {
    let Some(value) = root.raw("metadata") else {
        return BTreeMap::new();
    };
    let pairs = value.as_object().map(|object| {
        object
            .iter()
            .map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect::<Option<BTreeMap<_, _>>>()
    });
    let short = |pairs: &BTreeMap<String, String>| {
        pairs.len() <= 16
            && pairs
                .iter()
                .all(|(key, value)| key.len() <= 64 && value.len() <= 512)
    };
    match pairs.flatten().filter(short) {
        Some(pairs) => pairs,
        None => {
            let rule = "must be an object of up to 16 texts, names up to 64 bytes, texts up to 512";
            root.fault("metadata", "type", rule);
            BTreeMap::new()
        }
    }
}

fn parse_backbone(mut fields: Fields) -> Backbone {
    let architectures = Architecture::ALL.map(|architecture| (architecture.as_str(), architecture));
    let architecture = fields.choice("architecture", Architecture::default(), &architectures);
    let weights = match fields.text("weights") {
        None => Weights::Imagenet,
        Some(text) => parse_weights(text).unwrap_or_else(|rule| {
            fields.fault("weights", "range", rule);
            Weights::Imagenet
        }),
    };
    fields.finish(&[]);
    Backbone {
        architecture,
        weights,
    }
}

fn parse_weights(text: &str) -> Result<Weights, &'static str> {
    let weights = Weights::from(text.to_owned());
    let plain = |name: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@');
        (1..=200).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(allowed)
    };
    match &weights {
        Weights::File(name) if !plain(name) => {
            Err("must be the plain name of a file in the server's weights folder")
        }
        Weights::Model(name) if !plain(name) => Err(
            "must be `none`, `imagenet`, a model's id or name, or the name of a `.safetensors` file in the server's weights folder",
        ),
        _ => Ok(weights),
    }
}

fn parse_freeze(root: &mut Fields, weights: &Weights) -> Freeze {
    let default = if *weights == Weights::None {
        Freeze::None
    } else {
        Freeze::Backbone
    };
    let Some(value) = root.raw("freeze") else {
        return default;
    };
    let stage_of = |text: &str| Stage::ALL.into_iter().find(|stage| stage.as_str() == text);
    let freeze = match value {
        Value::String(text) if text == "backbone" => Some(Freeze::Backbone),
        Value::String(text) if text == "none" => Some(Freeze::None),
        Value::Object(object) if object.len() == 1 => object
            .get("until")
            .and_then(Value::as_str)
            .and_then(stage_of)
            .map(Freeze::Until),
        _ => None,
    };
    if *weights == Weights::None && freeze.is_some_and(|freeze| freeze != Freeze::None) {
        root.fault(
            "freeze",
            "conflict",
            "layers that start from random weights must learn; use `none` or give weights",
        );
    }
    freeze.unwrap_or_else(|| {
        let stages: Vec<_> = Stage::ALL.iter().map(|stage| stage.as_str()).collect();
        let rule = format!(
            "must be `backbone`, `none` or {{\"until\": one of {}}}",
            stages.join(", ")
        );
        root.fault("freeze", "range", rule);
        default
    })
}

fn parse_image(mut fields: Fields) -> ImageSpec {
    let image = ImageSpec {
        size: fields.integer("size", 224, 32, 1024) as u32,
        resize: parse_resize(&mut fields),
    };
    fields.finish(&[]);
    image
}

fn parse_resize(fields: &mut Fields) -> Resize {
    if let Some(text @ ("squash" | "letterbox")) = fields.raw("resize").and_then(Value::as_str) {
        fields.fault(
            "resize",
            "not_supported",
            format!("this version cannot `{text}` yet; use `shortest_crop`"),
        );
        return Resize::ShortestCrop;
    }
    fields.choice(
        "resize",
        Resize::ShortestCrop,
        &[("shortest_crop", Resize::ShortestCrop)],
    )
}

fn parse_augment(mut fields: Fields) -> Augment {
    let augment = Augment {
        horizontal_flip: fields.boolean("horizontal_flip", false),
    };
    fields.finish(PLANNED_AUGMENT);
    augment
}

fn parse_split(mut fields: Fields) -> SplitSpec {
    let rule = "must be from 0 to 0.9";
    let inside = |share: f64| (0.0..=0.9).contains(&share);
    let split = SplitSpec {
        val: fields.number("val", 0.2, rule, inside),
        test: fields.number("test", 0.0, rule, inside),
        seed: fields.integer("seed", 0, 0, i64::MAX) as u64,
    };
    if split.val + split.test > 0.95 {
        fields.fault(
            "test",
            "range",
            "`val` and `test` together must leave at least 0.05 to train on",
        );
    }
    fields.finish(&[]);
    split
}

fn parse_optimizer(mut fields: Fields, weights: &Weights) -> OptimizerSpec {
    let share = |value: f64| (0.0..=1.0).contains(&value);
    let slower_backbone = if *weights == Weights::None { 1.0 } else { 0.1 };
    let optimizer = OptimizerSpec {
        name: parse_optimizer_name(&mut fields),
        lr: fields.number("lr", 0.001, "must be > 0 and at most 100", |lr| {
            lr > 0.0 && lr <= 100.0
        }),
        momentum: fields.number("momentum", 0.9, "must be at least 0 and below 1", |m| {
            (0.0..1.0).contains(&m)
        }),
        nesterov: fields.boolean("nesterov", false),
        weight_decay: fields.number("weight_decay", 0.0, "must be from 0 to 1", share),
        backbone_lr_multiplier: fields.number(
            "backbone_lr_multiplier",
            slower_backbone,
            "must be from 0 to 1",
            share,
        ),
    };
    if optimizer.nesterov && optimizer.momentum == 0.0 {
        fields.fault("nesterov", "conflict", "Nesterov's step needs a momentum above 0");
    }
    fields.finish(&["layer_decay"]);
    optimizer
}

fn parse_optimizer_name(fields: &mut Fields) -> OptimizerName {
    if fields.raw("name").and_then(Value::as_str) == Some("adamw") {
        fields.fault("name", "not_supported", "this version has `sgd` only");
        return OptimizerName::Sgd;
    }
    fields.choice("name", OptimizerName::Sgd, &[("sgd", OptimizerName::Sgd)])
}

fn parse_device(root: &mut Fields) -> DeviceChoice {
    let Some(text) = root.text("device") else {
        return DeviceChoice::Auto;
    };
    DeviceChoice::try_from(text.to_owned()).unwrap_or_else(|rule| {
        root.fault("device", "range", rule);
        DeviceChoice::Auto
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_smallest_spec_gets_every_default() {
        let spec = JobSpec::parse(&json!({"dataset": "flowers"})).unwrap();
        assert_eq!(spec.backbone.architecture, Architecture::Resnet18);
        assert_eq!(spec.backbone.weights, Weights::Imagenet);
        assert_eq!(spec.freeze, Freeze::Backbone);
        assert_eq!((spec.epochs, spec.batch_size, spec.image.size), (10, 32, 224));
        assert_eq!(spec.optimizer.lr, 0.001);
        assert_eq!(spec.optimizer.backbone_lr_multiplier, 0.1);
    }

    #[test]
    fn without_weights_everything_learns_at_one_rate() {
        let spec = JobSpec::parse(&json!({"dataset": "d", "backbone": {"weights": "none"}})).unwrap();
        assert_eq!(spec.freeze, Freeze::None);
        assert_eq!(spec.optimizer.backbone_lr_multiplier, 1.0);
    }

    #[test]
    fn all_faults_are_told_at_once_with_their_pointers() {
        let faults = JobSpec::parse(&json!({
            "dataset": 7, "epochs": 0, "batch_size": "many", "optimizer": {"lr": -1, "lrr": 2},
            "image": {"size": 8}, "freeze": {"until": "layer9"}, "early_stopping": {"patience": 1}
        }))
        .unwrap_err();
        let told: Vec<_> = faults
            .iter()
            .map(|fault| (fault.pointer.as_str(), fault.code.as_str()))
            .collect();
        for expected in [
            ("/dataset", "type"),
            ("/epochs", "range"),
            ("/batch_size", "type"),
            ("/optimizer/lr", "range"),
            ("/optimizer/lrr", "unknown_field"),
            ("/image/size", "range"),
            ("/freeze", "range"),
            ("/early_stopping", "not_supported"),
        ] {
            assert!(told.contains(&expected), "{expected:?} is not in {told:?}");
        }
        assert_eq!(told.len(), 8);
    }

    #[test]
    fn numbers_that_are_none_are_refused() {
        for lr in [json!(0), json!("1"), json!(f64::MAX), json!(-0.0)] {
            assert!(
                JobSpec::parse(&json!({"dataset": "d", "optimizer": {"lr": lr}})).is_err(),
                "{lr}"
            );
        }
    }

    #[test]
    fn weights_never_name_a_path() {
        for weights in [
            "../x.safetensors",
            "/etc/x.safetensors",
            "a/b",
            ".x.safetensors",
            "a b",
            "",
        ] {
            let spec = json!({"dataset": "d", "backbone": {"weights": weights}});
            assert!(JobSpec::parse(&spec).is_err(), "{weights:?}");
        }
        let spec =
            JobSpec::parse(&json!({"dataset": "d", "backbone": {"weights": "r18.safetensors"}})).unwrap();
        assert_eq!(spec.backbone.weights, Weights::File("r18.safetensors".into()));
    }

    #[test]
    fn a_resolved_spec_is_itself_a_spec() {
        let spec =
            JobSpec::parse(&json!({"dataset": "d", "freeze": {"until": "layer3"}, "device": "cuda:1"}))
                .unwrap();
        let again = JobSpec::parse(&serde_json::to_value(&spec).unwrap()).unwrap();
        assert_eq!(spec, again);
    }
}
