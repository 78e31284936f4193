//! From a caller's JSON to a [`JobSpec`], or to the list of everything that is wrong with it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    DeviceChoice, JobSpec, device,
    fields::{Faults, Fields},
    job_fields::{JobFields, KindSpec, job_fields},
    preset,
    preset::Filled,
    split,
    training::{
        adapt, at_once, augment, backbone, distill, domain_adaptation, early_stopping, freeze, head,
        image_spec, loss, optimizer, precision, schedule, task,
    },
};
use crate::{
    domain::{
        datasets::dataset::Dataset,
        models::model::{Model, check_metadata},
        name::Name,
    },
    error::FieldError,
};

impl JobSpec {
    /// Checks a caller's spec of a training and fills in its defaults.
    ///
    /// # Errors
    /// Every fault of the document, in the order of its fields.
    pub fn parse(document: &Value) -> Result<JobSpec, Vec<FieldError>> {
        let faults = Faults::default();
        let filled = Filled::of(document, None, &faults);
        let mut root = Fields::root(&filled.document, &faults);
        root.choice("kind", (), &[("train", ())]);
        let spec = Self::read(&mut root);
        root.finish(<Self as KindSpec>::PLANNED);
        checked(spec, &filled, faults)
    }

    /// Reads the fields of a training; the caller handles `kind` and the end of the object.
    pub(super) fn read(root: &mut Fields) -> JobSpec {
        let backbone = backbone::parse(root.object("backbone"));
        let epochs = root.integer("epochs", 10, 1, 10_000) as u32;
        let adapt = adapt::parse(root, &backbone);
        let freeze = freeze::parse(root, &backbone, adapt.is_some());
        let (preset, preset_reason) = preset::parse(root);
        let task = task::parse(root);
        // Of the answer to a dry run, which is a spec besides.
        root.raw("expected");
        let spec = JobSpec {
            preset,
            preset_reason,
            name: parse_name(root),
            dataset: parse_dataset(root, "name the dataset to train on, by its id or its name"),
            metadata: parse_metadata(root),
            task,
            freeze,
            unfreeze_at_epoch: freeze::parse_unfreezing(root, freeze, epochs),
            head: head::parse(root.object("head"), backbone.architecture),
            image: image_spec::parse(root.object("image"), &backbone),
            augment: augment::parse(root.object("augment")),
            split: split::parse(root.object("split")),
            epochs,
            batch_size: parse_batch_size(root),
            gradient_accumulation_steps: root.integer("gradient_accumulation_steps", 1, 1, 1024) as u32,
            optimizer: optimizer::parse(root.object("optimizer"), &backbone.weights, adapt.is_some()),
            schedule: schedule::parse(root.object("schedule"), epochs),
            loss: loss::parse(root.object("loss"), task),
            clip_grad_norm: root.optional_number("clip_grad_norm", "must be > 0", |norm| norm > 0.0),
            ema_decay: root.optional_number("ema_decay", "must be > 0 and below 1", |decay| {
                decay > 0.0 && decay < 1.0
            }),
            early_stopping: early_stopping::parse(root),
            domain_adaptation: domain_adaptation::parse(root),
            distill: distill::parse(root),
            adapt,
            precision: precision::parse(root),
            device: device::parse(root),
            seed: root.integer("seed", 0, 0, i64::MAX) as u64,
            priority: parse_priority(root),
            max_seconds: parse_max_seconds(root),
            max_attempts: parse_max_attempts(root),
            backbone,
        };
        augment::check_batch(&spec.augment, spec.batch_size, root);
        at_once::check(&spec, root);
        loss::check(&spec, root);
        domain_adaptation::check(&spec, root);
        distill::check(&spec, root);
        task::check(&spec, root);
        adapt::check(&spec, root);
        spec
    }
}

/// The spec, or everything that is wrong with it.
pub(super) fn checked<T>(spec: T, filled: &Filled, faults: Faults) -> Result<T, Vec<FieldError>> {
    let faults = faults.into_inner();
    match faults.is_empty() {
        true => Ok(spec),
        false => Err(faults.into_iter().map(|fault| filled.explain(fault)).collect()),
    }
}

pub(super) fn parse_batch_size(root: &mut Fields) -> u32 {
    root.integer("batch_size", 32, 1, 4096) as u32
}

pub(super) fn parse_priority(root: &mut Fields) -> i32 {
    root.integer("priority", 0, -100, 100) as i32
}

pub(super) fn parse_max_seconds(root: &mut Fields) -> Option<u64> {
    root.optional_integer("max_seconds", 1, 365 * 86_400)
        .map(|seconds| seconds as u64)
}

pub(super) fn parse_max_attempts(root: &mut Fields) -> u32 {
    root.integer("max_attempts", 3, 1, 10) as u32
}

pub(super) fn parse_name(root: &mut Fields) -> Option<Name> {
    let text = root.text("name")?;
    Name::parse(text)
        .inspect_err(|fault| root.fault("name", "range", fault.to_string()))
        .ok()
}

pub(super) fn parse_dataset(root: &mut Fields, missing: &str) -> String {
    match root.raw("dataset") {
        None => root.fault("dataset", "missing", missing),
        Some(Value::String(text)) if (1..=Name::MAX).contains(&text.len()) => return text.clone(),
        Some(_) => root.fault("dataset", "type", "must be the id or the name of a dataset"),
    }
    String::new()
}

pub(super) fn parse_model(root: &mut Fields, missing: &str) -> String {
    // A name, `@` and a version.
    let longest = Name::MAX + 12;
    match root.raw("model") {
        None => root.fault("model", "missing", missing),
        Some(Value::String(text)) if (1..=longest).contains(&text.len()) => return text.clone(),
        Some(_) => root.fault("model", "type", "must be the id or the name of a model"),
    }
    String::new()
}

pub(super) fn parse_metadata(root: &mut Fields) -> BTreeMap<String, String> {
    let Some(value) = root.raw("metadata") else {
        return BTreeMap::new();
    };
    let pairs = value.as_object().map(|object| {
        object
            .iter()
            .map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect::<Option<BTreeMap<_, _>>>()
    });
    match pairs.flatten().filter(|pairs| check_metadata(pairs).is_ok()) {
        Some(pairs) => pairs,
        None => {
            let rule =
                "must be an object of up to 16 strings, with names of up to 64 bytes and values of up to 512";
            root.fault("metadata", "type", rule);
            BTreeMap::new()
        }
    }
}

impl JobFields for JobSpec {
    job_fields!();

    fn training(&self) -> Option<&JobSpec> {
        Some(self)
    }

    fn training_mut(&mut self) -> Option<&mut JobSpec> {
        Some(self)
    }

    fn dataset_faults(&self, dataset: &Dataset, _: Option<&Model>) -> Vec<FieldError> {
        dataset.faults_for(self)
    }
}

impl KindSpec for JobSpec {
    const REQUIRED: &'static [&'static str] = &["dataset"];
    const DESCRIPTION: &'static str =
        "What to train, on what, how. Everything but the dataset has a default.";
    const ACTION: &'static str = "makes the model";

    fn read(root: &mut Fields) -> Self {
        Self::read(root)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::domain::models::preprocessing::{Interpolation, Preprocessing};

    use super::{
        super::{Architecture, Freeze, Stage, Weights},
        *,
    };

    #[test]
    fn the_smallest_spec_gets_every_default() {
        let spec = JobSpec::parse(&json!({"dataset": "flowers"})).unwrap();
        assert_eq!(spec.backbone.architecture, Architecture::Resnet18);
        assert!(matches!(spec.backbone.weights, Weights::Set(name) if name.as_str() == "imagenet"));
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
    fn an_architecture_brings_defaults_and_stages_of_its_own() {
        let spec =
            JobSpec::parse(&json!({"dataset": "d", "backbone": {"architecture": "resnet20"}})).unwrap();
        assert_eq!(spec.backbone.weights, Weights::None);
        assert_eq!((spec.freeze, spec.image.size), (Freeze::None, 32));
        let recipe = spec.preprocessing();
        assert_eq!(
            (recipe.resize_to, recipe.crop),
            (32, 32),
            "an image of 32 pixels stays as it is"
        );
        let again = JobSpec::parse(&serde_json::to_value(&spec).unwrap()).unwrap();
        assert_eq!(spec, again);

        let faults = JobSpec::parse(&json!({
            "dataset": "d", "freeze": {"until": "layer4"}, "backbone": {"architecture": "resnet56", "weights": "imagenet"}
        }))
        .unwrap_err();
        let message = |pointer: &str| {
            let fault = faults.iter().find(|fault| fault.pointer == pointer);
            fault.map_or("", |fault| fault.message.as_str())
        };
        assert!(
            message("/backbone/weights").contains("no ImageNet weights for resnet56; use `none`"),
            "{faults:?}"
        );
        let stages = "one of stem, layer1, layer2, layer3}, the stages of resnet56";
        assert!(message("/freeze").contains(stages), "{faults:?}");
    }

    #[test]
    fn freezing_all_but_the_head_means_the_last_stage_of_the_architecture() {
        for (architecture, last) in [("resnet18", Stage::layer(4)), ("resnet20", Stage::layer(3))] {
            let spec = json!({
                "dataset": "d", "freeze": "backbone", "backbone": {"architecture": architecture, "weights": "own.pth"}
            });
            let spec = JobSpec::parse(&spec).unwrap();
            assert_eq!(spec.last_frozen(1), Some(last));
        }
    }

    #[test]
    fn all_faults_are_told_at_once_with_their_pointers() {
        let faults = JobSpec::parse(&json!({
            "dataset": 7, "epochs": 0, "batch_size": "many", "optimizer": {"lr": -1, "lrr": 2},
            "image": {"size": 8}, "freeze": {"until": "layer9"}, "domain_adaptation": {"method": "coral", "source": "d"},
            "adapt": "norms"
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
            ("/domain_adaptation/target_dataset", "missing"),
            ("/domain_adaptation/source", "unknown_field"),
            ("/domain_adaptation", "conflict"),
            ("/adapt", "range"),
        ] {
            assert!(told.contains(&expected), "{expected:?} is not in {told:?}");
        }
        assert_eq!(told.len(), 11);
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
        for name in ["r18.safetensors", "r18.pth", "r18.pt", "best.pth.tar"] {
            let spec = JobSpec::parse(&json!({"dataset": "d", "backbone": {"weights": name}})).unwrap();
            assert_eq!(spec.backbone.weights, Weights::File(name.into()));
        }
    }

    #[test]
    fn weights_bring_their_preprocessing_and_specs_from_before_keep_theirs() {
        let parsed = |spec: Value| JobSpec::parse(&spec).unwrap();
        let lite = parsed(json!({"dataset": "d", "backbone": {"architecture": "efficientnet_lite1"}}));
        let recipe = lite.preprocessing();
        assert_eq!((recipe.resize_to, recipe.crop, recipe.mean), (272, 240, [0.5; 3]));
        assert_eq!(recipe.interpolation, Interpolation::Bicubic);
        let own = parsed(
            json!({"dataset": "d", "backbone": {"architecture": "efficientnet_lite1"},
            "image": {"size": 128, "interpolation": "bilinear", "crop_share": 1, "mean": [0.485, 0.456, 0.406]}}),
        );
        let recipe = own.preprocessing();
        assert_eq!((recipe.resize_to, recipe.crop, recipe.std), (128, 128, [0.5; 3]));
        assert_eq!(
            (recipe.interpolation, recipe.mean),
            (Interpolation::Bilinear, Preprocessing::IMAGENET_MEAN)
        );

        // Stored before there were these fields.
        let mut old = serde_json::to_value(parsed(json!({"dataset": "d"}))).unwrap();
        old["image"] = json!({"size": 200, "resize": "shortest_crop"});
        let old: JobSpec = serde_json::from_value(old).unwrap();
        assert_eq!(old.preprocessing(), Preprocessing::for_size(200));
        let text = serde_json::to_value(&old).unwrap();
        assert_eq!(text["image"], json!({"size": 200, "resize": "shortest_crop"}));

        // What a repository says is unknown until it is fetched.
        let hub = parsed(
            json!({"dataset": "d", "backbone": {"weights": "hub:timm/resnet18.a1_in1k"}, "image": {"crop_share": 0.9}}),
        );
        assert_eq!((hub.image.interpolation, hub.image.crop_share), (None, Some(0.9)));
        assert_eq!(hub.freeze, Freeze::Backbone);
        for wrong in [
            "hub:",
            "hub:resnet18",
            "hub:../x",
            "hub:a/b/c",
            "hub:a/b@",
            "hub:a/b@x/y",
            "hub:.a/b",
            "imagenet21k",
        ] {
            assert!(
                JobSpec::parse(&json!({"dataset": "d", "backbone": {"weights": wrong}})).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_resolved_spec_is_itself_a_spec() {
        let spec = JobSpec::parse(&json!({
            "dataset": "d", "freeze": {"until": "layer3"}, "unfreeze_at_epoch": 4, "device": "cuda:1", "head": {"dropout": 0.2},
            "optimizer": {"name": "adamw", "layer_decay": 0.7}, "schedule": {"name": "plateau", "warmup_epochs": 0.5},
            "loss": {"name": "focal", "imbalance": "balanced_sampler"}, "clip_grad_norm": 1, "ema_decay": 0.999,
            "gradient_accumulation_steps": 2, "early_stopping": {"monitor": "val_accuracy"},
        }))
        .unwrap();
        let again = JobSpec::parse(&serde_json::to_value(&spec).unwrap()).unwrap();
        assert_eq!(spec, again);
    }
}
