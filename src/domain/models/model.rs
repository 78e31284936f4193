//! A model as callers see it, and the card (`model.json`) that accompanies its weights.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    adapter::Adapter, model_import::ImportedFile, preprocessing::Preprocessing, pretraining::Pretraining,
    tasks::TaskOutputs,
};
use crate::domain::{
    access::Holder,
    architecture::{Head, Outputs},
    datasets::split::SplitSpec,
    id::{DatasetId, JobId, ModelId},
    jobs::job::{Best, DatasetVersion},
    name::Name,
    spec::{Architecture, JobSpec, Task},
    time::Timestamp,
};
use crate::error::FieldError;

/// The dataset that a model was trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DatasetLineage {
    pub id: DatasetId,
    pub name: Name,
    pub version: u32,
    /// SHA-256 of the archive, hexadecimal.
    pub sha256: String,
    /// The content of the version, whatever the archive was: files, labels and splits, as one SHA-256. Not in cards from before there were
    /// versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_sha256: Option<String>,
}

impl DatasetLineage {
    /// What distinguishes the version from every other. A version never changes, so its digest is not needed for that, and results from
    /// before there was a digest can still be used.
    pub fn identity(&self) -> Self {
        Self {
            content_sha256: None,
            ..self.clone()
        }
    }

    pub fn version_of(&self) -> DatasetVersion {
        DatasetVersion {
            id: self.id,
            version: self.version,
            content_sha256: self.content_sha256.clone(),
        }
    }
}

/// Metrics of a model in the epoch whose weights it has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelMetrics {
    pub epoch: u32,
    pub train_loss: f64,
    pub train_accuracy: f64,
    pub val_loss: Option<f64>,
    pub val_accuracy: Option<f64>,
    /// Only with several labels: mean average precision on the validation images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_map: Option<f64>,
    pub train_images: u64,
    pub val_images: u64,
    /// Images held out for testing: they were used neither for training nor for choosing the epoch.
    #[serde(default)]
    pub test_images: u64,
}

impl ModelMetrics {
    pub fn best(&self) -> Best {
        Best {
            epoch: self.epoch,
            val_loss: self.val_loss,
            val_accuracy: self.val_accuracy,
        }
    }
}

/// `model.json`: everything needed to use `model.safetensors` without this server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelCard {
    /// Format of this file: 1.
    pub format: u32,
    pub architecture: Architecture,
    /// What makes logits of its feature vectors; not in the card of a linear head, nor in older cards, which have one.
    #[serde(default, skip_serializing_if = "Head::is_linear")]
    pub head: Head,
    /// Names of the classes in the order of the network's outputs; none where it is a backbone without a head, whose output is feature
    /// vectors.
    pub classes: Vec<String>,
    /// What it tells of an image; not in the card of a model that tells one class, nor in older cards.
    #[serde(default, skip_serializing_if = "Task::is_single")]
    pub task: Task,
    /// Of a model of several labels: from this probability on an image counts as showing the class, in the order of `classes`. Chosen for the
    /// highest F1 on the validation images; one half where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<f64>,
    /// Of a model of several tasks: these, in the order of their first classes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TaskOutputs>,
    pub preprocessing: Preprocessing,
    /// Of the job that trained it; not in the card of imported weights, for which it is unknown. The same holds for metrics and dataset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<JobSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<ModelMetrics>,
    /// How a backbone without a head was trained; only in the card of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pretraining: Option<Box<Pretraining>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<DatasetLineage>,
    /// Where other models may share its weights: `model.safetensors` has only what it changes of its base, and its head. So it is where the
    /// whole backbone was frozen, and with `adapt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<Box<Adapter>>,
    /// Origin of the base weights: `none`, a model's id, a hub's repository and revision, a file's name, `imported`.
    pub base_weights: String,
    /// SHA-256 of the file that they were read from, hexadecimal. Not in older cards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_weights_sha256: Option<String>,
    /// Whether it had to be guessed which tensors of that file are which; the job's log says what was guessed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub base_weights_guessed: bool,
    /// Name and version of the program that created it.
    pub program: String,
    pub libtorch: String,
    /// Probabilities are the softmax of the logits, or with several labels the sigmoid of each, divided by this (Guo et al. 2017,
    /// temperature scaling); above 0. 1 with several tasks, which have temperatures of their own. 1 where the validation
    /// images do not determine a value, where there are none, and in older cards.
    #[serde(default = "ModelCard::no_temperature")]
    pub temperature: f64,
}

impl ModelCard {
    pub const FORMAT: u32 = 1;

    /// What the network ends with.
    pub fn outputs(&self) -> Outputs {
        Outputs {
            head: self.head,
            classes: self.classes.len(),
        }
    }

    /// How a dataset without splits was split for it; the defaults if unknown.
    pub fn split(&self) -> SplitSpec {
        self.spec
            .as_ref()
            .map_or_else(SplitSpec::default, |spec| spec.split.clone())
    }

    /// The temperature that has no effect.
    pub fn no_temperature() -> f64 {
        1.0
    }
}

impl Model {
    /// Size of its weights with those that it is an adapter of.
    pub fn whole_bytes(&self) -> u64 {
        let base = self.card.adapter.as_ref().map_or(0, |adapter| adapter.base_bytes);
        self.bytes + base
    }

    /// Digest of the weights that it is an adapter of.
    pub fn base_blob(&self) -> Option<&str> {
        Some(&self.card.adapter.as_ref()?.base_sha256)
    }

    /// Why it does not classify images, if it does not.
    pub fn without_head(&self) -> Option<String> {
        (self.card.head == Head::None).then(|| {
            format!(
                "`{}@{}` is a backbone without a head: it has no classes, only feature vectors (embeddings). Train a head on it with \
                 `{{\"backbone\": {{\"architecture\": \"{}\", \"weights\": \"{}@{}\"}}}}`, and use that model",
                self.name, self.version, self.card.architecture, self.name, self.version
            )
        })
    }

    /// The same as a fault of the field that names it.
    pub fn fault_without_head(&self, pointer: &str) -> Option<FieldError> {
        let message = self.without_head()?;
        Some(FieldError::new(pointer, "no_head", message))
    }
}

/// How the model got onto this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelSource {
    /// A job of this server trained it.
    Trained,
    /// It was imported.
    Imported,
}

/// Texts that people attach to a job or a model, by name.
pub type Metadata = BTreeMap<String, String>;

/// # Errors
/// Which rule the metadata violates.
pub fn check_metadata(metadata: &Metadata) -> Result<(), &'static str> {
    let short = |(key, text): (&String, &String)| key.len() <= 64 && text.len() <= 512;
    match metadata.len() <= 16 && metadata.iter().all(short) {
        true => Ok(()),
        false => {
            Err("must be an object of up to 16 strings, with names of up to 64 bytes and values of up to 512")
        }
    }
}

/// A model.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Model {
    pub id: ModelId,
    /// Always `model`.
    #[schema(example = "model")]
    pub object: String,
    pub name: Name,
    /// Models of one name are versions 1, 2, …; the name alone means the newest, `name@2` the second.
    pub version: u32,
    pub created_at: Timestamp,
    /// The key that imported it or submitted its job; null where no key was needed.
    pub owner: Option<Holder>,
    pub source: ModelSource,
    /// The job that trained it; null where it was imported.
    pub job: Option<JobId>,
    /// What it was imported from; null where a job trained it.
    pub imported_from: Option<ImportedFile>,
    /// Aliases that refer to it: while there are any, it cannot be deleted.
    pub aliases: Vec<Name>,
    /// Texts attached by its owners, initially those of the job that trained it.
    pub metadata: Metadata,
    /// SHA-256 of `model.safetensors`, hexadecimal.
    pub sha256: String,
    /// Size of `model.safetensors`.
    pub bytes: u64,
    pub card: ModelCard,
    /// Digest of `model.json`, only for the server: the files of a model in use stay readable, whatever happens to its row.
    #[serde(skip)]
    pub card_blob: String,
}
