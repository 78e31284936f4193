//! What the card of a backbone without a head says about its training.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::spec::PretrainSpec;

/// How a backbone was trained without labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Pretraining {
    pub spec: PretrainSpec,
    /// Epochs that were completed, from 1.
    pub epochs: u32,
    /// Images that it was trained on.
    pub images: u64,
    /// Mean loss over the images of the last epoch.
    pub loss: f64,
    /// See [`EpochEvent`](crate::domain::jobs::event::EpochEvent); null where the images have no labels.
    pub knn_accuracy: Option<f64>,
    /// Likewise.
    pub feature_spread: f64,
}
