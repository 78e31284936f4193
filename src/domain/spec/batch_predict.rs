//! The spec of a batch prediction: which model classifies which images.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    DeviceChoice, EvaluatedSplit, device,
    fields::Fields,
    job_fields::{JobFields, KindSpec, job_fields},
    parse,
};
use crate::{
    domain::{datasets::dataset::Dataset, models::model::Model, name::Name},
    error::FieldError,
};

/// A checked spec of a batch prediction. The smallest one is `{"kind": "batch-predict", "model": "insects", "dataset": "flowers"}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BatchPredictSpec {
    /// Name of the job; by default the model's.
    pub name: Option<Name>,
    /// Id or name of a model, or `name@version`; in a job it is the id.
    #[schema(min_length = 1)]
    pub model: String,
    /// Id or name of a dataset, with or without classes. Its classes need not be the model's.
    #[schema(min_length = 1)]
    pub dataset: String,
    /// `all` by default. A split that the dataset does not have is drawn from its training images as in the model's own training; without
    /// classes there is nothing to draw from.
    #[schema(default = "all")]
    pub split: EvaluatedSplit,
    /// How many classes are reported for each image, likeliest first, 1 to 1000; all if the model has fewer.
    #[schema(minimum = 1, maximum = 1000, default = 5)]
    pub top_k: u32,
    /// Up to 16 strings of the caller's own.
    pub metadata: BTreeMap<String, String>,
    /// Largest number of images in a forward pass, 1 to 4096; on a CPU at most 16.
    #[schema(minimum = 1, maximum = 4096, default = 32)]
    pub batch_size: u32,
    pub device: DeviceChoice,
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

impl JobFields for BatchPredictSpec {
    job_fields!();

    fn model_mut(&mut self) -> Option<&mut String> {
        Some(&mut self.model)
    }

    fn dataset_faults(&self, dataset: &Dataset, model: Option<&Model>) -> Vec<FieldError> {
        let headless = model.and_then(|model| model.fault_without_head("/model"));
        headless
            .into_iter()
            .chain(dataset.faults_for_predictions())
            .collect()
    }
}

impl KindSpec for BatchPredictSpec {
    const REQUIRED: &'static [&'static str] = &["kind", "model", "dataset"];
    const DESCRIPTION: &'static str =
        "Which model classifies which images, and how many classes are named for each.";
    const ACTION: &'static str = "classifies images with";

    fn read(root: &mut Fields) -> Self {
        let splits = EvaluatedSplit::ALL.map(|split| (split.as_str(), split));
        Self {
            name: parse::parse_name(root),
            model: parse::parse_model(root, "name the model to predict with, by its id or its name"),
            dataset: parse::parse_dataset(root, "name the dataset to classify, by its id or its name"),
            split: root.choice("split", EvaluatedSplit::All, &splits),
            top_k: root.integer("top_k", 5, 1, 1000) as u32,
            metadata: parse::parse_metadata(root),
            batch_size: parse::parse_batch_size(root),
            device: device::parse(root),
            priority: parse::parse_priority(root),
            max_seconds: parse::parse_max_seconds(root),
            max_attempts: parse::parse_max_attempts(root),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::{JobKind, Spec},
        *,
    };

    #[test]
    fn the_smallest_spec_gets_every_default() {
        let document = json!({"kind": "batch-predict", "model": "insects@2", "dataset": "flowers@3"});
        let spec = Spec::parse(&document).unwrap();
        assert_eq!(
            (spec.kind(), spec.dataset()),
            (JobKind::BatchPredict, "flowers@3")
        );
        assert!(spec.training().is_none());
        let Spec::BatchPredict(spec) = spec else {
            panic!("it is of another kind");
        };
        assert_eq!((spec.split, spec.top_k), (EvaluatedSplit::All, 5));
        assert_eq!((spec.batch_size, spec.max_attempts), (32, 3));
        assert_eq!((spec.name, spec.max_seconds, spec.priority), (None, None, 0));
    }

    #[test]
    fn every_wrong_field_is_named() {
        let document = json!({
            "kind": "batch-predict", "dataset": 7, "split": "best", "top_k": 0, "batch_size": 4097, "device": "tpu",
            "priority": "high", "max_attempts": 11, "epochs": 3
        });
        let faults = Spec::parse(&document).unwrap_err();
        let told: Vec<_> = faults
            .iter()
            .map(|fault| (fault.pointer.as_str(), fault.code.as_str()))
            .collect();
        for expected in [
            ("/model", "missing"),
            ("/dataset", "type"),
            ("/split", "range"),
            ("/top_k", "range"),
            ("/batch_size", "range"),
            ("/device", "range"),
            ("/priority", "type"),
            ("/max_attempts", "range"),
            ("/epochs", "unknown_field"),
        ] {
            assert!(told.contains(&expected), "{expected:?} is not in {told:?}");
        }
        assert_eq!(told.len(), 9, "{told:?}");
        for top_k in [json!(1001), json!(-1), json!(2.5), json!("5"), json!(null)] {
            let document = json!({"kind": "batch-predict", "model": "m", "dataset": "d", "top_k": top_k});
            let is_default = document["top_k"].is_null();
            assert_eq!(Spec::parse(&document).is_ok(), is_default, "{document}");
        }
    }
}
