//! The lineage of a model: job, dataset version, base weights, and the same for the model that it started from, back to the first.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    model::{DatasetLineage, Model, ModelSource},
    model_import::ImportedFile,
};
use crate::domain::{
    id::{JobId, ModelId},
    name::Name,
    spec::Weights,
    time::Timestamp,
};

/// How many models of a lineage are listed at most.
pub const MOST_STEPS: usize = 32;

/// A model and its origins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Lineage {
    /// Always `lineage`.
    #[schema(example = "lineage")]
    pub object: String,
    /// First the model itself, then the model that it started from, and so on, as far as this server has them.
    pub models: Vec<LineageStep>,
}

/// One model of a lineage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LineageStep {
    pub model: ModelId,
    pub name: Name,
    pub version: u32,
    /// SHA-256 of `model.safetensors`, hexadecimal.
    pub sha256: String,
    pub created_at: Timestamp,
    pub source: ModelSource,
    /// The file that it was imported from; null where a job of this server trained it.
    pub imported_from: Option<ImportedFile>,
    /// The job that trained it; null where it was imported.
    pub job: Option<LineageJob>,
    /// The version that it was trained on; null if unknown.
    pub dataset: Option<LineageDataset>,
    pub base_weights: BaseWeights,
}

/// The job that trained a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LineageJob {
    pub id: JobId,
    /// Whether it has been deleted since.
    pub deleted: bool,
}

/// The dataset version that a model was trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LineageDataset {
    #[serde(flatten)]
    pub version: DatasetLineage,
    /// Whether this server does not have it: it has been deleted since, or the model was trained elsewhere.
    pub deleted: bool,
}

/// The kind of weights that a training started from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BaseKind {
    /// Random initialisation.
    None,
    /// A file from a hub.
    Hub,
    /// A package of the Python registry.
    Registry,
    /// A file in the server's weights folder.
    File,
    /// Another model.
    Model,
    /// Unknown: the weights were imported.
    Unknown,
}

/// The weights that a training started from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BaseWeights {
    pub from: BaseKind,
    /// The hub's repository and revision, the package and its version, the file's name, or the model's id.
    pub origin: Option<String>,
    /// SHA-256 of the file, hexadecimal, where it is known.
    pub sha256: Option<String>,
}

impl BaseWeights {
    /// As recorded in a model's card.
    pub fn of(model: &Model) -> Self {
        let card = &model.card;
        let asked_for = card.spec.as_ref().map(|spec| &spec.backbone.weights);
        let from = match asked_for {
            None => BaseKind::Unknown,
            Some(Weights::None) => BaseKind::None,
            Some(Weights::Model(_)) => BaseKind::Model,
            Some(Weights::File(_)) => BaseKind::File,
            // An operator's own file may replace them.
            Some(Weights::Set(_)) if card.base_weights.contains('@') => BaseKind::Hub,
            Some(Weights::Set(_)) if card.base_weights.contains("==") => BaseKind::Registry,
            Some(Weights::Set(_)) => BaseKind::File,
            Some(Weights::Hub(_)) => BaseKind::Hub,
        };
        let told = !matches!(from, BaseKind::None | BaseKind::Unknown);
        Self {
            from,
            origin: told.then(|| card.base_weights.clone()),
            sha256: card.base_weights_sha256.clone(),
        }
    }

    /// The model, where it was one.
    pub fn model(&self) -> Option<ModelId> {
        match self.from {
            BaseKind::Model => self.origin.as_ref()?.parse().ok(),
            _ => None,
        }
    }
}
