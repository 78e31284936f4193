//! The spec of an evaluation: a model and the images to evaluate it on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    DeviceChoice, device,
    fields::Fields,
    job_fields::{JobFields, KindSpec, job_fields},
    parse,
};
use crate::{
    domain::{
        datasets::{dataset::Dataset, split::Split},
        models::model::Model,
        name::Name,
    },
    error::FieldError,
};

/// The split of a dataset that a model is evaluated on, or classifies. A split that the dataset does not have is drawn from its training
/// images as in the model's own training: with the fractions and the seed of its spec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EvaluatedSplit {
    Train,
    #[default]
    Val,
    Test,
    /// Every image.
    All,
}

impl EvaluatedSplit {
    pub const ALL: [EvaluatedSplit; 4] = [
        EvaluatedSplit::Train,
        EvaluatedSplit::Val,
        EvaluatedSplit::Test,
        EvaluatedSplit::All,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            EvaluatedSplit::Train => "train",
            EvaluatedSplit::Val => "val",
            EvaluatedSplit::Test => "test",
            EvaluatedSplit::All => "all",
        }
    }

    /// Whether it contains the images of this split.
    pub fn includes(self, part: Split) -> bool {
        match self {
            EvaluatedSplit::Train => part == Split::Train,
            EvaluatedSplit::Val => part == Split::Val,
            EvaluatedSplit::Test => part == Split::Test,
            EvaluatedSplit::All => true,
        }
    }
}

/// A checked spec of an evaluation. The smallest one is `{"kind": "evaluate", "model": "insects", "dataset": "flowers"}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvaluateSpec {
    /// Name of the job; by default the model's.
    pub name: Option<Name>,
    /// Id or name of a model, or `name@version`; in a job it is the id.
    #[schema(min_length = 1)]
    pub model: String,
    /// Id or name of a dataset. Its classes are matched with the model's by name; the model must know all of them.
    #[schema(min_length = 1)]
    pub dataset: String,
    /// `val` by default: in the dataset that the model was trained on, these images were not trained on.
    pub split: EvaluatedSplit,
    /// Up to 16 strings of the caller's own.
    pub metadata: BTreeMap<String, String>,
    /// Images in a forward pass, 1 to 4096.
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

impl JobFields for EvaluateSpec {
    job_fields!();

    fn model_mut(&mut self) -> Option<&mut String> {
        Some(&mut self.model)
    }

    fn dataset_faults(&self, dataset: &Dataset, model: Option<&Model>) -> Vec<FieldError> {
        model.map_or_else(Vec::new, |model| match model.fault_without_head("/model") {
            Some(headless) => vec![headless],
            None => dataset.faults_for_evaluation(&model.card.classes, model.card.task),
        })
    }
}

impl KindSpec for EvaluateSpec {
    const REQUIRED: &'static [&'static str] = &["kind", "model", "dataset"];
    const DESCRIPTION: &'static str = "Which model to measure, on which images.";
    const ACTION: &'static str = "measures the model";

    fn read(root: &mut Fields) -> Self {
        let splits = EvaluatedSplit::ALL.map(|split| (split.as_str(), split));
        Self {
            name: parse::parse_name(root),
            model: parse::parse_model(root, "name the model to measure, by its id or its name"),
            dataset: parse::parse_dataset(root, "name the dataset to measure on, by its id or its name"),
            split: root.choice("split", EvaluatedSplit::default(), &splits),
            metadata: parse::parse_metadata(root),
            batch_size: parse::parse_batch_size(root),
            device: device::parse(root),
            priority: parse::parse_priority(root),
            max_seconds: parse::parse_max_seconds(root),
            max_attempts: parse::parse_max_attempts(root),
        }
    }
}
