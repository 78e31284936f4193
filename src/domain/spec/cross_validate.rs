//! The spec of a cross-validation: how accurate a quick head on a backbone is, over how many folds and seeds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    Backbone, DeviceChoice, ImageSpec, JobSpec, device,
    fields::Fields,
    folds,
    job_fields::{JobFields, KindSpec, job_fields},
    parse,
    training::image_spec,
};
use crate::{
    domain::{
        datasets::{dataset::Dataset, split::GroupBy},
        models::model::Model,
        name::Name,
    },
    error::FieldError,
};

const PURPOSE: &str = "a cross-validation";
/// What to do about a field of a training of another kind.
const SUPPORTED: &str = "cross-validation makes linear heads by L-BFGS on the features of a frozen backbone, as the preset `quick` does, and \
                         nothing else; leave this out";

/// The head of a cross-validation: linear, made by L-BFGS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CrossValidatedHead {
    /// The penalty, as `head.l2` of a training, 0 to 1e6. By default it is chosen as in a training: of several values the one with the highest
    /// accuracy on a fifth of the images that the fold does not have.
    #[schema(minimum = 0.0, maximum = 1e6)]
    pub l2: Option<f64>,
}

/// A checked spec of a cross-validation. The smallest one is `{"kind": "cross_validate", "dataset": "flowers"}`.
///
/// The images of the dataset, without its own test split, are divided into folds, once for each seed; each fold is judged by a head that was
/// made of the others, as by the preset `quick`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CrossValidateSpec {
    /// Name of the job; `cross-validation` by default.
    pub name: Option<Name>,
    /// Id or name of a labelled dataset.
    #[schema(min_length = 1)]
    pub dataset: String,
    /// Up to 16 strings of the caller's own.
    pub metadata: BTreeMap<String, String>,
    /// Weights are needed.
    pub backbone: Backbone,
    pub image: ImageSpec,
    pub head: CrossValidatedHead,
    /// 2 to 20; every class needs at least so many images.
    #[schema(minimum = 2, maximum = 20, default = 5)]
    pub folds: u32,
    /// How often the images are divided, each time by another seed, 1 to 100.
    #[schema(minimum = 1, maximum = 100, default = 3)]
    pub repeats: u32,
    /// Images of one group stay in one fold, as in `split` of a training. Images with the very same bytes always stay together.
    pub group_by: Option<GroupBy>,
    /// Images in a forward pass, 1 to 4096.
    #[schema(minimum = 1, maximum = 4096, default = 32)]
    pub batch_size: u32,
    pub device: DeviceChoice,
    /// The first seed; the others follow it.
    #[schema(default = 0)]
    pub seed: u64,
    /// Jobs of higher priority start first, -100 to 100.
    #[schema(minimum = -100, maximum = 100, default = 0)]
    pub priority: i32,
    /// The job fails after this many seconds.
    #[schema(minimum = 1, maximum = 31536000)]
    pub max_seconds: Option<u64>,
    /// How often a worker may die or hang before the job fails, 1 to 10.
    #[schema(minimum = 1, maximum = 10, default = 3)]
    pub max_attempts: u32,
}

impl CrossValidateSpec {
    /// The training whose features and heads it uses.
    ///
    /// # Errors
    /// Why there can be none, such as weights that this version does not know any more.
    pub fn quick_training(&self) -> Result<JobSpec, Vec<FieldError>> {
        let mut training = folds::quick_training(&json!(self.backbone))?;
        training.dataset.clone_from(&self.dataset);
        training.image = self.image.clone();
        training.head.l2 = self.head.l2;
        training.batch_size = self.batch_size;
        training.device = self.device;
        training.seed = self.seed;
        Ok(training)
    }

    /// One for each division.
    pub fn seeds(&self) -> impl Iterator<Item = u64> + use<> {
        let first = self.seed;
        (0..u64::from(self.repeats)).map(move |repeat| first.wrapping_add(repeat))
    }
}

impl JobFields for CrossValidateSpec {
    job_fields!();

    fn backbones_mut(&mut self) -> Vec<(String, &mut Backbone)> {
        vec![("/backbone".to_owned(), &mut self.backbone)]
    }

    fn dataset_faults(&self, dataset: &Dataset, _: Option<&Model>) -> Vec<FieldError> {
        dataset.faults_for_folds(self.folds, PURPOSE, |class| {
            let held_out = class.splits.map_or(0, |splits| splits.test);
            class.images.saturating_sub(held_out)
        })
    }
}

impl KindSpec for CrossValidateSpec {
    const REQUIRED: &'static [&'static str] = &["kind", "dataset"];
    const DESCRIPTION: &'static str = "What is cross-validated, by which features, how often.";
    const ACTION: &'static str = "cross-validates as";

    fn read(root: &mut Fields) -> Self {
        refuse_other_trainings(root);
        let backbone = folds::parse_backbone(root, PURPOSE);
        Self {
            name: parse::parse_name(root).or_else(|| Name::parse("cross-validation").ok()),
            dataset: parse::parse_dataset(root, "name the dataset to measure on, by its id or its name"),
            metadata: parse::parse_metadata(root),
            image: image_spec::parse(root.object("image"), &backbone),
            head: parse_head(root.object("head")),
            folds: folds::parse_folds(root),
            repeats: root.integer("repeats", 3, 1, 100) as u32,
            group_by: folds::parse_group_by(root),
            batch_size: parse::parse_batch_size(root),
            device: device::parse(root),
            seed: root.integer("seed", 0, 0, i64::MAX) as u64,
            priority: parse::parse_priority(root),
            max_seconds: parse::parse_max_seconds(root),
            max_attempts: parse::parse_max_attempts(root),
            backbone,
        }
    }
}

/// Fields that make a training another one than what is cross-validated. Those that say what it is anyway are taken.
fn refuse_other_trainings(root: &mut Fields) {
    let of_steps = JobSpec::OF_STEPS.into_iter();
    for name in of_steps.chain(["augment", JobSpec::LOSS]) {
        if root.raw(name).is_some() {
            root.fault(name, "not_supported", SUPPORTED);
        }
    }
    for (name, only) in [("preset", "quick"), ("freeze", "backbone")] {
        if root.raw(name).is_some_and(|value| value != only) {
            root.fault(name, "not_supported", SUPPORTED);
        }
    }
    if root.raw("split").is_some() {
        let message =
            "folds take the place of the split; leave it out, and use `group_by` for what stays together";
        root.fault("split", "not_supported", message);
    }
}

fn parse_head(mut fields: Fields) -> CrossValidatedHead {
    for (name, only) in [("kind", "linear"), ("solver", "lbfgs")] {
        if fields.raw(name).is_some_and(|value: &Value| value != only) {
            fields.fault(name, "not_supported", SUPPORTED);
        }
    }
    let head = CrossValidatedHead {
        l2: fields.optional_number("l2", "must be from 0 to 1000000", |l2| (0.0..=1e6).contains(&l2)),
    };
    fields.finish(&[]);
    head
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Preset, Solver, Spec},
        *,
    };

    fn parsed(fields: Value) -> Result<CrossValidateSpec, Vec<String>> {
        let mut document = json!({"kind": "cross_validate", "dataset": "d"});
        for (name, value) in fields.as_object().unwrap() {
            document[name] = value.clone();
        }
        match Spec::parse(&document) {
            Ok(Spec::CrossValidate(spec)) => Ok(*spec),
            Ok(other) => panic!("it is of kind {}", other.kind().as_str()),
            Err(faults) => Err(faults
                .into_iter()
                .map(|fault| format!("{} {}", fault.pointer, fault.code))
                .collect()),
        }
    }

    #[test]
    fn a_resolved_spec_is_itself_a_spec() {
        let spec = parsed(json!({})).unwrap();
        assert_eq!((spec.folds, spec.repeats, spec.head.l2), (5, 3, None));
        assert_eq!(spec.image.size, 224);
        let whole = parsed(json!({
            "folds": 10, "repeats": 4, "seed": 7, "image": {"size": 96}, "head": {"l2": 0.5, "solver": "lbfgs", "kind": "linear"},
            "preset": "quick", "freeze": "backbone", "group_by": {},
        }))
        .unwrap();
        assert_eq!(whole.seeds().collect::<Vec<_>>(), [7, 8, 9, 10]);
        let written = serde_json::to_value(Spec::CrossValidate(Box::new(whole.clone()))).unwrap();
        assert_eq!(parsed(written).unwrap(), whole);
        let training = whole.quick_training().unwrap();
        assert_eq!(
            (
                training.preset,
                training.head.solver,
                training.head.l2,
                training.image.size
            ),
            (Some(Preset::Quick), Some(Solver::Lbfgs), Some(0.5), 96)
        );
    }

    #[test]
    fn trainings_of_another_kind_are_refused_by_what_makes_them_so() {
        for (fields, fault) in [
            (json!({"epochs": 5}), "/epochs not_supported"),
            (json!({"optimizer": {"lr": 0.1}}), "/optimizer not_supported"),
            (json!({"freeze": "none"}), "/freeze not_supported"),
            (json!({"freeze": {"until": "layer3"}}), "/freeze not_supported"),
            (json!({"preset": "strong"}), "/preset not_supported"),
            (
                json!({"augment": {"horizontal_flip": true}}),
                "/augment not_supported",
            ),
            (json!({"split": {"val": 0.3}}), "/split not_supported"),
            (json!({"head": {"kind": "knn"}}), "/head/kind not_supported"),
            (json!({"head": {"solver": "sgd"}}), "/head/solver not_supported"),
            (json!({"head": {"hidden": 3}}), "/head/hidden unknown_field"),
            (json!({"head": {"l2": -1}}), "/head/l2 range"),
            (
                json!({"backbone": {"weights": "none"}}),
                "/backbone/weights conflict",
            ),
            (json!({"folds": 1}), "/folds range"),
            (json!({"repeats": 0}), "/repeats range"),
            (json!({"image": {"size": 8}}), "/image/size range"),
        ] {
            assert_eq!(parsed(fields).unwrap_err(), [fault]);
        }
    }
}
