//! The spec of a label check: which labels of a dataset are doubtful, by the features of which backbone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{
    Backbone, DeviceChoice, JobSpec, device,
    fields::Fields,
    folds,
    job_fields::{JobFields, KindSpec, job_fields},
    parse,
};
use crate::{
    domain::{
        datasets::{dataset::Dataset, split::GroupBy},
        models::model::Model,
        name::Name,
    },
    error::FieldError,
};

const PURPOSE: &str = "a label check";

/// A checked spec of a label check. The smallest one is `{"kind": "label_check", "dataset": "flowers"}`.
///
/// All labelled images are divided into folds, whatever splits they are in; each fold is judged by a head that was solved on the others'
/// frozen features, as by the preset `quick`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LabelCheckSpec {
    /// Name of the job; `label-check` by default.
    pub name: Option<Name>,
    /// Id or name of a labelled dataset.
    #[schema(min_length = 1)]
    pub dataset: String,
    /// Up to 16 strings of the caller's own.
    pub metadata: BTreeMap<String, String>,
    /// Weights are needed.
    pub backbone: Backbone,
    /// 2 to 20; every class needs at least so many images.
    #[schema(minimum = 2, maximum = 20, default = 5)]
    pub folds: u32,
    /// Images of one group stay in one fold, as in `split` of a training. Images with the very same bytes always stay together.
    pub group_by: Option<GroupBy>,
    /// Images in a forward pass, 1 to 4096.
    #[schema(minimum = 1, maximum = 4096, default = 32)]
    pub batch_size: u32,
    pub device: DeviceChoice,
    /// Of the division into folds.
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

impl LabelCheckSpec {
    /// The training whose features and heads it uses.
    ///
    /// # Errors
    /// Why there can be none, such as weights that this version does not know any more.
    pub fn quick_training(&self) -> Result<JobSpec, Vec<FieldError>> {
        let mut training = folds::quick_training(&json!(self.backbone))?;
        training.dataset.clone_from(&self.dataset);
        training.batch_size = self.batch_size;
        training.device = self.device;
        training.seed = self.seed;
        Ok(training)
    }
}

impl JobFields for LabelCheckSpec {
    job_fields!();

    fn backbones_mut(&mut self) -> Vec<(String, &mut Backbone)> {
        vec![("/backbone".to_owned(), &mut self.backbone)]
    }

    fn dataset_faults(&self, dataset: &Dataset, _: Option<&Model>) -> Vec<FieldError> {
        dataset.faults_for_folds(self.folds, PURPOSE, |class| class.images)
    }
}

impl KindSpec for LabelCheckSpec {
    const REQUIRED: &'static [&'static str] = &["kind", "dataset"];
    const DESCRIPTION: &'static str = "Whose labels are checked, and by which features.";
    const ACTION: &'static str = "checks labels as";

    fn read(root: &mut Fields) -> Self {
        Self {
            name: parse::parse_name(root).or_else(|| Name::parse("label-check").ok()),
            dataset: parse::parse_dataset(root, "name the dataset to check, by its id or its name"),
            metadata: parse::parse_metadata(root),
            backbone: folds::parse_backbone(root, PURPOSE),
            folds: folds::parse_folds(root),
            group_by: folds::parse_group_by(root),
            batch_size: parse::parse_batch_size(root),
            device: device::parse(root),
            seed: root.integer("seed", 0, 0, i64::MAX) as u64,
            priority: parse::parse_priority(root),
            max_seconds: parse::parse_max_seconds(root),
            max_attempts: parse::parse_max_attempts(root),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{
        super::{Architecture, Preset, Solver, Spec},
        *,
    };

    fn parsed(fields: Value) -> Result<LabelCheckSpec, Vec<(String, String)>> {
        let mut document = json!({"kind": "label_check", "dataset": "d"});
        for (name, value) in fields.as_object().unwrap() {
            document[name] = value.clone();
        }
        match Spec::parse(&document) {
            Ok(Spec::LabelCheck(spec)) => Ok(*spec),
            Ok(other) => panic!("it is of kind {}", other.kind().as_str()),
            Err(faults) => Err(faults
                .into_iter()
                .map(|fault| (fault.pointer, fault.code))
                .collect()),
        }
    }

    #[test]
    fn the_smallest_one_has_every_default_and_a_resolved_one_is_itself_a_spec() {
        let spec = parsed(json!({})).unwrap();
        assert_eq!(spec.name.as_ref().map(Name::as_str), Some("label-check"));
        assert_eq!((spec.folds, spec.seed, &spec.group_by), (5, 0, &None));
        assert_eq!(spec.backbone.architecture, Architecture::Resnet18);
        let whole = parsed(json!({
            "folds": 7, "seed": 3, "batch_size": 16, "group_by": {"parts": 2},
            "backbone": {"architecture": "tf_efficientnet_lite0", "weights": "own.pth"},
        }))
        .unwrap();
        let written = serde_json::to_value(Spec::LabelCheck(Box::new(whole.clone()))).unwrap();
        assert_eq!(parsed(written).unwrap(), whole);
        let training = whole.quick_training().unwrap();
        assert_eq!(
            (
                training.preset,
                training.head.solver,
                training.batch_size,
                training.seed
            ),
            (Some(Preset::Quick), Some(Solver::Lbfgs), 16, 3)
        );
        assert_eq!(training.backbone, whole.backbone);
    }

    #[test]
    fn what_cannot_be_is_named() {
        let fault = |fields: Value| {
            let faults = parsed(fields).unwrap_err();
            let [(pointer, code)] = faults.as_slice() else {
                panic!("{faults:?}");
            };
            format!("{pointer} {code}")
        };
        assert_eq!(
            fault(json!({"backbone": {"weights": "none"}})),
            "/backbone/weights conflict"
        );
        // A network for small images has no known weights.
        assert_eq!(
            fault(json!({"backbone": {"architecture": "resnet20"}})),
            "/backbone/weights conflict"
        );
        assert_eq!(fault(json!({"backbone": "resnet18"})), "/backbone type");
        assert_eq!(fault(json!({"folds": 1})), "/folds range");
        assert_eq!(fault(json!({"folds": 21})), "/folds range");
        assert_eq!(fault(json!({"group_by": {"parts": 0}})), "/group_by/parts range");
        assert_eq!(fault(json!({"split": {}})), "/split unknown_field");
        assert_eq!(fault(json!({"epochs": 3})), "/epochs unknown_field");
    }
}
