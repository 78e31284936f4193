//! The spec of a self-supervised pretraining: which backbone learns from which images, and how.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    Augment, Backbone, DeviceChoice, ImageSpec, JobSpec, OptimizerSpec, Precision, ScheduleSpec, Weights,
    device,
    fields::Fields,
    job_fields::{JobFields, KindSpec, job_fields},
    parse,
    preset::fill::fill,
    split,
    training::{augment, backbone, image_spec, optimizer, precision, schedule},
};
use crate::{
    domain::{
        datasets::{dataset::Dataset, split::SplitSpec},
        models::model::Model,
        name::Name,
    },
    error::FieldError,
};

/// Fewer images than this say nothing about what images have in common.
const LEAST_IMAGES: u64 = 16;
/// Larger images are also blurred by default, as in the papers; in smaller ones there is little to blur.
const SMALL_SIDE: u32 = 64;

/// What is learned from two views of each image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PretrainMethod {
    /// From the features of one view those of the other are predicted (Chen and He 2021, "Exploring Simple Siamese Representation
    /// Learning").
    #[default]
    Simsiam,
    /// The network says of one view what a moving average of itself says of the other (Caron et al. 2021, "Emerging Properties in
    /// Self-Supervised Vision Transformers"); without its small crops.
    Dino,
}

impl PretrainMethod {
    pub const ALL: [PretrainMethod; 2] = [PretrainMethod::Simsiam, PretrainMethod::Dino];

    pub fn as_str(self) -> &'static str {
        match self {
            PretrainMethod::Simsiam => "simsiam",
            PretrainMethod::Dino => "dino",
        }
    }
}

/// A checked spec of a pretraining. The smallest one is `{"kind": "pretrain", "dataset": "photos"}`.
///
/// The training images of the dataset are used without their labels. The job makes a model without a head: trainings begin with it
/// (`backbone.weights`), and it answers with embeddings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PretrainSpec {
    /// Name of the model that the job produces; by default the dataset's, the architecture's and the method's.
    pub name: Option<Name>,
    /// Id or name of the dataset, with or without labels; at least 16 training images.
    #[schema(min_length = 1)]
    pub dataset: String,
    /// Up to 16 strings of the caller's own.
    pub metadata: BTreeMap<String, String>,
    /// By default `dino` for transformers, `simsiam` for all others.
    pub method: PretrainMethod,
    /// `"weights": "none"` begins from scratch, everything else goes on from there.
    pub backbone: Backbone,
    pub image: ImageSpec,
    /// The two views of each image. By default as in the papers: `random_resized_crop` [0.2, 1], `horizontal_flip`, `color_jitter` 0.4,
    /// `hue_jitter` 0.1, `grayscale` 0.2, and for images of more than 64 pixels `blur` 0.5.
    pub augment: Augment,
    /// Which images are left out; if they have labels, the features are measured on the validation images among them.
    pub split: SplitSpec,
    /// 1 to 10000.
    #[schema(minimum = 1, maximum = 10000, default = 100)]
    pub epochs: u32,
    /// Images in a step, 2 to 4096.
    #[schema(minimum = 2, maximum = 4096, default = 64)]
    pub batch_size: u32,
    /// By default as in the papers: `sgd` with `lr` 0.05 · `batch_size` / 256 and `weight_decay` 0.0001, for `dino` `adamw` with `lr`
    /// 0.0005 · `batch_size` / 256 and `weight_decay` 0.04. All parts learn at this rate.
    pub optimizer: OptimizerSpec,
    /// By default `cosine`, for `dino` with 10 % of the epochs to warm up.
    pub schedule: ScheduleSpec,
    /// Gradients are scaled down to this global norm where theirs is larger, above 0; by default 3 for `dino`, otherwise none.
    #[schema(exclusive_minimum = 0.0)]
    pub clip_grad_norm: Option<f64>,
    pub precision: Precision,
    pub device: DeviceChoice,
    /// Of initialisation, shuffling and augmentation.
    #[schema(default = 0)]
    pub seed: u64,
    /// Jobs of higher priority start first, -100 to 100.
    #[schema(minimum = -100, maximum = 100, default = 0)]
    pub priority: i32,
    /// The pretraining stops after this many seconds and keeps the weights of the last complete epoch.
    #[schema(minimum = 1, maximum = 31536000)]
    pub max_seconds: Option<u64>,
    /// How often a worker may die or hang before the job fails, 1 to 10.
    #[schema(minimum = 1, maximum = 10, default = 3)]
    pub max_attempts: u32,
}

impl PretrainSpec {
    /// The training that it is like, except for its labels and its head.
    ///
    /// # Errors
    /// Why there can be none, such as weights that this version does not know any more.
    pub fn training(&self) -> Result<JobSpec, Vec<FieldError>> {
        let training =
            JobSpec::parse(&json!({"dataset": "any", "freeze": "none", "backbone": self.backbone}))?;
        Ok(JobSpec {
            dataset: self.dataset.clone(),
            image: self.image.clone(),
            augment: self.augment.clone(),
            split: self.split.clone(),
            epochs: self.epochs,
            batch_size: self.batch_size,
            optimizer: self.optimizer.clone(),
            schedule: self.schedule.clone(),
            clip_grad_norm: self.clip_grad_norm,
            // The teacher of DINO: its weight at the beginning, which grows to 1.
            ema_decay: (self.method == PretrainMethod::Dino).then_some(0.996),
            precision: self.precision,
            device: self.device,
            seed: self.seed,
            max_seconds: self.max_seconds,
            ..training
        })
    }
}

impl JobFields for PretrainSpec {
    job_fields!();

    fn model_name(&self, dataset: &Name) -> Option<Name> {
        let (architecture, method) = (self.backbone.architecture, self.method.as_str());
        let fallback = || Name::from_any(&format!("{dataset}-{architecture}-{method}"), "backbone");
        Some(self.name.clone().unwrap_or_else(fallback))
    }

    fn backbones_mut(&mut self) -> Vec<(String, &mut Backbone)> {
        vec![("/backbone".to_owned(), &mut self.backbone)]
    }

    fn dataset_faults(&self, dataset: &Dataset, _: Option<&Model>) -> Vec<FieldError> {
        dataset.faults_for_pretraining(LEAST_IMAGES)
    }
}

impl KindSpec for PretrainSpec {
    const REQUIRED: &'static [&'static str] = &["kind", "dataset"];
    const DESCRIPTION: &'static str = "Which backbone learns from which images, and how.";
    const ACTION: &'static str = "trains the backbone";

    fn read(root: &mut Fields) -> Self {
        let backbone = backbone::parse(root.object("backbone"));
        let methods = PretrainMethod::ALL.map(|method| (method.as_str(), method));
        let usual = match backbone.architecture.design().is_transformer() {
            true => PretrainMethod::Dino,
            false => PretrainMethod::Simsiam,
        };
        let method = root.choice("method", usual, &methods);
        let image = image_spec::parse(root.object("image"), &backbone);
        let batch_size = root.integer("batch_size", 64, 2, 4096) as u32;
        let epochs = root.integer("epochs", 100, 1, 10_000) as u32;
        let clip = (method == PretrainMethod::Dino).then_some(3.0);
        let views = filled(root.raw("augment"), usual_views(image.size));
        let optimizer = filled(root.raw("optimizer"), usual_optimizer(method, batch_size));
        let schedule = filled(root.raw("schedule"), usual_schedule(method, epochs));
        let spec = Self {
            name: parse::parse_name(root),
            dataset: parse::parse_dataset(root, "name the dataset to learn from, by its id or its name"),
            metadata: parse::parse_metadata(root),
            method,
            augment: augment::parse(root.instead("augment", &views)),
            split: split::parse(root.object("split")),
            epochs,
            batch_size,
            optimizer: optimizer::parse(root.instead("optimizer", &optimizer), &Weights::None, false),
            schedule: schedule::parse(root.instead("schedule", &schedule), epochs),
            clip_grad_norm: root
                .optional_number("clip_grad_norm", "must be > 0", |norm| norm > 0.0)
                .or(clip),
            precision: precision::parse(root),
            device: device::parse(root),
            seed: root.integer("seed", 0, 0, i64::MAX) as u64,
            priority: parse::parse_priority(root),
            max_seconds: parse::parse_max_seconds(root),
            max_attempts: parse::parse_max_attempts(root),
            image,
            backbone,
        };
        check_views(&spec, root);
        spec
    }
}

/// Two views are of one image, and are new in every epoch.
fn check_views(spec: &PretrainSpec, root: &mut Fields) {
    let augment = &spec.augment;
    if augment.mixes() {
        let message =
            "two views are of one image, and mixed images have none; leave out `mixup` and `cutmix`";
        root.fault("augment", "conflict", message);
    }
    if augment.views.is_some() {
        let message = "a pretraining draws two new views of each image in every epoch; leave out `views`";
        root.fault("augment", "conflict", message);
    }
    if spec.schedule.name == super::ScheduleName::Plateau {
        let message =
            "`plateau` follows a validation, which a pretraining does not have; choose another schedule";
        root.fault("schedule", "conflict", message);
    }
}

/// What the caller wrote, with the usual values where there is nothing. Null counts as nothing.
fn filled(written: Option<&Value>, usual: Value) -> Value {
    let mut document = written.cloned().unwrap_or_default();
    // Below the root, so that what belongs to another optimiser or schedule is not filled in.
    fill(&mut document, usual, "/", &mut Vec::new());
    document
}

/// Chen and He 2021, section 4 and appendix D.
fn usual_views(side: u32) -> Value {
    let blur = if side > SMALL_SIDE { 0.5 } else { 0.0 };
    json!({
        "random_resized_crop": [0.2, 1.0], "horizontal_flip": true, "color_jitter": 0.4, "hue_jitter": 0.1, "grayscale": 0.2, "blur": blur,
    })
}

fn usual_optimizer(method: PretrainMethod, batch_size: u32) -> Value {
    let share = f64::from(batch_size) / 256.0;
    match method {
        PretrainMethod::Simsiam => json!({"name": "sgd", "lr": 0.05 * share, "weight_decay": 1e-4}),
        PretrainMethod::Dino => json!({"name": "adamw", "lr": 5e-4 * share, "weight_decay": 0.04}),
    }
}

fn usual_schedule(method: PretrainMethod, epochs: u32) -> Value {
    let warmup = match method {
        PretrainMethod::Simsiam => 0.0,
        PretrainMethod::Dino => 0.1 * f64::from(epochs),
    };
    json!({"name": "cosine", "warmup_epochs": warmup})
}

#[cfg(test)]
mod tests {
    use super::{
        super::{OptimizerName, ScheduleName, Spec},
        *,
    };

    fn parsed(fields: Value) -> Result<PretrainSpec, Vec<(String, String)>> {
        let mut document =
            json!({"kind": "pretrain", "dataset": "d", "backbone": {"architecture": "resnet20"}});
        for (name, value) in fields.as_object().unwrap() {
            document[name] = value.clone();
        }
        match Spec::parse(&document) {
            Ok(Spec::Pretrain(spec)) => Ok(*spec),
            Ok(other) => panic!("it is of kind {}", other.kind().as_str()),
            Err(faults) => Err(faults
                .into_iter()
                .map(|fault| (fault.pointer, fault.code))
                .collect()),
        }
    }

    #[test]
    fn each_method_has_the_defaults_of_its_paper() {
        let spec = parsed(json!({})).unwrap();
        assert_eq!(
            (spec.method, spec.epochs, spec.batch_size),
            (PretrainMethod::Simsiam, 100, 64)
        );
        assert_eq!(
            (spec.optimizer.name, spec.optimizer.lr),
            (OptimizerName::Sgd, 0.0125)
        );
        assert_eq!((spec.augment.grayscale, spec.augment.blur), (0.2, 0.0));
        assert_eq!(
            (spec.schedule.name, spec.clip_grad_norm),
            (ScheduleName::Cosine, None)
        );
        let vit =
            parsed(json!({"backbone": {"architecture": "vit_tiny_patch16_224"}, "epochs": 50})).unwrap();
        assert_eq!((vit.method, vit.augment.blur), (PretrainMethod::Dino, 0.5));
        assert_eq!(
            (vit.optimizer.name, vit.optimizer.lr),
            (OptimizerName::Adamw, 0.000125)
        );
        assert_eq!((vit.schedule.warmup_epochs, vit.clip_grad_norm), (5.0, Some(3.0)));
        assert_eq!(vit.training().unwrap().ema_decay, Some(0.996));
        let again = Spec::parse(&serde_json::to_value(Spec::Pretrain(Box::new(vit.clone()))).unwrap());
        assert_eq!(again.unwrap(), Spec::Pretrain(Box::new(vit)));
    }

    #[test]
    fn a_given_field_wins_over_the_papers_and_leaves_the_others() {
        let spec = parsed(json!({"optimizer": {"lr": 0.1}, "augment": {"grayscale": 0}, "batch_size": 256}))
            .unwrap();
        assert_eq!((spec.optimizer.lr, spec.optimizer.weight_decay), (0.1, 1e-4));
        assert_eq!((spec.augment.grayscale, spec.augment.color_jitter), (0.0, 0.4));
        let other = parsed(json!({"optimizer": {"name": "adamw"}})).unwrap().optimizer;
        assert_eq!(
            (other.name, other.momentum, other.betas),
            (OptimizerName::Adamw, None, Some([0.9, 0.999]))
        );
        let training = spec.training().unwrap();
        assert_eq!((training.epochs, training.ema_decay), (100, None));
        assert_eq!(training.last_frozen(1), None);
    }

    #[test]
    fn what_makes_no_sense_without_labels_is_refused() {
        let conflict = |pointer: &str| vec![(pointer.to_owned(), "conflict".to_owned())];
        for (fields, pointer) in [
            (json!({"augment": {"mixup": 0.2}}), "/augment"),
            (json!({"augment": {"views": 4}}), "/augment"),
            (json!({"schedule": {"name": "plateau"}}), "/schedule"),
        ] {
            assert_eq!(parsed(fields).unwrap_err(), conflict(pointer));
        }
        let faults = parsed(json!({"head": {"kind": "mlp"}, "loss": {}, "freeze": "none", "batch_size": 1}))
            .unwrap_err();
        for (pointer, code) in [
            ("/head", "unknown_field"),
            ("/loss", "unknown_field"),
            ("/freeze", "unknown_field"),
            ("/batch_size", "range"),
        ] {
            assert!(
                faults.contains(&(pointer.to_owned(), code.to_owned())),
                "{faults:?}"
            );
        }
    }
}
