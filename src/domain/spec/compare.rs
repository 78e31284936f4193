//! The spec of a comparison: which backbones, on which dataset.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    Architecture, Backbone, DeviceChoice, JobSpec, device,
    fields::Fields,
    folds::{quick_training, without_weights},
    job_fields::{JobFields, KindSpec, job_fields},
    parse, split,
};
use crate::{
    domain::{
        datasets::{dataset::Dataset, split::SplitSpec},
        models::model::Model,
        name::Name,
    },
    error::FieldError,
};

/// Most backbones of one comparison.
const MOST: usize = 32;

/// A checked spec of a comparison. The smallest one is
/// `{"kind": "compare", "dataset": "flowers", "backbones": ["resnet18", "efficientnet_lite0"]}`.
///
/// For each backbone a head is solved on its frozen features, as by the preset `quick`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CompareSpec {
    /// Name of the job; `compare` by default.
    pub name: Option<Name>,
    /// Id or name of a labelled dataset.
    #[schema(min_length = 1)]
    pub dataset: String,
    /// 1 to 32: an architecture each, or an object with `architecture` and `weights`. Weights are needed.
    #[schema(value_type = Vec<NamedBackbone>, min_items = 1, max_items = 32)]
    pub backbones: Vec<Backbone>,
    /// Up to 16 strings of the caller's own.
    pub metadata: BTreeMap<String, String>,
    pub split: SplitSpec,
    /// Images in a forward pass, 1 to 4096.
    #[schema(minimum = 1, maximum = 4096, default = 32)]
    pub batch_size: u32,
    pub device: DeviceChoice,
    /// Of the order in which the solver sees the images.
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

/// A backbone as callers write it.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum NamedBackbone {
    /// With its usual weights.
    Name(Architecture),
    Whole(Backbone),
}

impl CompareSpec {
    /// What is trained for each backbone, in order.
    ///
    /// # Errors
    /// Why one cannot be, such as weights that this version does not know any more: none is left out in silence.
    pub fn trainings(&self) -> Result<Vec<JobSpec>, Vec<FieldError>> {
        let with_rest = |backbone| {
            let mut training = quick_training(&json!(backbone))?;
            training.dataset.clone_from(&self.dataset);
            training.split = self.split.clone();
            training.batch_size = self.batch_size;
            training.device = self.device;
            training.seed = self.seed;
            Ok(training)
        };
        self.backbones.iter().map(with_rest).collect()
    }
}

impl JobFields for CompareSpec {
    job_fields!();

    fn backbones_mut(&mut self) -> Vec<(String, &mut Backbone)> {
        let backbones = self.backbones.iter_mut().enumerate();
        backbones
            .map(|(number, backbone)| (format!("/backbones/{number}"), backbone))
            .collect()
    }

    fn dataset_faults(&self, dataset: &Dataset, _: Option<&Model>) -> Vec<FieldError> {
        if let Some(several) = dataset.fault_of_several_labels() {
            return vec![several];
        }
        match self.trainings() {
            Ok(trainings) => trainings
                .first()
                .map_or(Vec::new(), |training| dataset.faults_for(training)),
            Err(faults) => faults,
        }
    }
}

impl KindSpec for CompareSpec {
    const REQUIRED: &'static [&'static str] = &["kind", "dataset", "backbones"];
    const DESCRIPTION: &'static str = "Which backbones are measured, and on which dataset.";
    const ACTION: &'static str = "compares backbones as";

    fn read(root: &mut Fields) -> Self {
        Self {
            name: parse::parse_name(root).or_else(|| Name::parse("compare").ok()),
            dataset: parse::parse_dataset(root, "name the dataset to measure on, by its id or its name"),
            backbones: parse_backbones(root),
            metadata: parse::parse_metadata(root),
            split: split::parse(root.object("split")),
            batch_size: parse::parse_batch_size(root),
            device: device::parse(root),
            seed: root.integer("seed", 0, 0, i64::MAX) as u64,
            priority: parse::parse_priority(root),
            max_seconds: parse::parse_max_seconds(root),
            max_attempts: parse::parse_max_attempts(root),
        }
    }
}

fn parse_backbones(root: &mut Fields) -> Vec<Backbone> {
    let rule =
        "must be a list of 1 to 32 architectures, each a name or an object with `architecture` and `weights`";
    let listed = match root.raw("backbones") {
        None => {
            root.fault(
                "backbones",
                "missing",
                "name the backbones to compare: [\"resnet18\", \"efficientnet_lite0\"]",
            );
            return Vec::new();
        }
        Some(Value::Array(listed)) if (1..=MOST).contains(&listed.len()) => listed,
        Some(Value::Array(_)) => {
            root.fault("backbones", "range", rule);
            return Vec::new();
        }
        Some(_) => {
            root.fault("backbones", "type", rule);
            return Vec::new();
        }
    };
    let mut backbones = Vec::new();
    for (number, one) in listed.iter().enumerate() {
        let whole = match one {
            Value::String(architecture) => json!({"architecture": architecture}),
            other => other.clone(),
        };
        match quick_training(&whole) {
            Ok(training) => backbones.push(training.backbone),
            // What else is wrong, such as freezing layers without weights, follows from that.
            Err(faults) => faults
                .into_iter()
                .filter(|fault| fault.pointer.starts_with("/backbone"))
                .for_each(|fault| root.take(of_backbone(fault, number, &whole))),
        }
    }
    backbones
}

/// A fault of a training, as one of the backbone with this number.
fn of_backbone(fault: FieldError, number: usize, backbone: &Value) -> FieldError {
    let below = fault.pointer.strip_prefix("/backbone").unwrap_or_default();
    let has_weights = backbone
        .get("weights")
        .is_some_and(|weights| !weights.is_null() && weights != "none");
    let message = match below == "/weights" && !has_weights {
        true => without_weights("a comparison"),
        false => fault.message,
    };
    FieldError {
        pointer: format!("/backbones/{number}{below}"),
        code: fault.code,
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Preset, Solver, Spec, Weights},
        *,
    };

    fn parsed(document: &Value) -> Result<CompareSpec, Vec<(String, String)>> {
        match Spec::parse(document) {
            Ok(Spec::Compare(spec)) => Ok(*spec),
            Ok(other) => panic!("it is of kind {}", other.kind().as_str()),
            Err(faults) => Err(faults
                .into_iter()
                .map(|fault| (fault.pointer, fault.code))
                .collect()),
        }
    }

    #[test]
    fn names_and_objects_are_backbones() {
        let document = json!({
            "kind": "compare", "dataset": "d", "seed": 7, "batch_size": 16, "split": {"val": 0.3},
            "backbones": ["resnet18", {"architecture": "resnet50", "weights": "own.pth"}, "tf_efficientnet_lite0"],
        });
        let spec = parsed(&document).unwrap();
        assert_eq!(spec.name.as_ref().map(Name::as_str), Some("compare"));
        let architectures: Vec<_> = spec
            .backbones
            .iter()
            .map(|backbone| backbone.architecture)
            .collect();
        assert_eq!(
            architectures,
            [
                Architecture::Resnet18,
                Architecture::Resnet50,
                Architecture::EfficientnetLite0
            ]
        );
        assert_eq!(spec.backbones[1].weights, Weights::File("own.pth".to_owned()));
        let written = serde_json::to_value(Spec::Compare(Box::new(spec.clone()))).unwrap();
        assert_eq!(
            parsed(&written).unwrap(),
            spec,
            "a resolved spec is itself a spec"
        );
        let trainings = spec.trainings().unwrap();
        assert_eq!(trainings.len(), 3);
        for training in &trainings {
            assert_eq!(
                (training.preset, training.head.solver),
                (Some(Preset::Quick), Some(Solver::Lbfgs))
            );
            assert_eq!(
                (training.seed, training.batch_size, training.split.val),
                (7, 16, 0.3)
            );
        }
        assert_eq!(
            trainings[2].preprocessing().mean,
            [0.5; 3],
            "as these weights need it"
        );
    }

    #[test]
    fn every_wrong_backbone_is_named() {
        let faults = |backbones: Value| {
            let document = json!({"kind": "compare", "dataset": "d", "backbones": backbones});
            parsed(&document).unwrap_err()
        };
        let told = |pointer: &str, code: &str| (pointer.to_owned(), code.to_owned());
        assert_eq!(faults(Value::Null), [told("/backbones", "missing")]);
        assert_eq!(faults(json!([])), [told("/backbones", "range")]);
        assert_eq!(faults(json!(vec!["resnet18"; 33])), [told("/backbones", "range")]);
        assert_eq!(faults(json!("resnet18")), [told("/backbones", "type")]);
        assert_eq!(
            faults(
                json!(["resnet18", "resnet19", 7, {"architecture": "resnet18", "weights": "none"}, {"arch": "resnet18"}])
            ),
            [
                told("/backbones/1/architecture", "range"),
                told("/backbones/2", "type"),
                told("/backbones/3/weights", "conflict"),
                told("/backbones/4/arch", "unknown_field"),
            ]
        );
        // Networks for small images have no known weights.
        assert_eq!(
            faults(json!(["resnet20"])),
            [told("/backbones/0/weights", "conflict")]
        );
    }
}
