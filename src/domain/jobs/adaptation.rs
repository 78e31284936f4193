//! What a domain adaptation has brought: part of a model's evaluation.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{
    models::model::DatasetLineage,
    spec::{AdaptationMethod, EvaluatedSplit},
};

/// What a domain adaptation has brought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Adaptation {
    pub method: AdaptationMethod,
    /// The dataset of the target domain.
    pub target: DatasetLineage,
    /// Images of the target domain that took part, without labels.
    pub images: u64,
    /// The same training without adaptation; null where `domain_adaptation.baseline` was false, or where that training failed.
    pub source_only: Option<TargetScore>,
    pub adapted: TargetScore,
}

/// How a model does on the target domain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TargetScore {
    /// Null where the target dataset has no labels.
    pub test: Option<TargetAccuracy>,
    /// Share of images, 0.5 to 1 up to chance, of which a linear classifier tells from their features whether they are of the source or the
    /// target domain. 0.5: they cannot be told apart. It needs no labels, and it says nothing about whether the classes are told apart.
    pub domain_accuracy: f64,
}

/// Accuracy on images of the target domain whose labels were not used in training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TargetAccuracy {
    /// The split of the target dataset: `test` if it has one, else `val`, else `train`, whose images, but not their labels, took part in the
    /// training.
    pub split: EvaluatedSplit,
    pub images: u64,
    /// Fraction of images classified correctly, 0 to 1.
    pub accuracy: f64,
    /// At 95 % confidence (Wilson 1927).
    pub accuracy_interval: [f64; 2],
}
