//! The job spec: what a caller asks for, with every default filled in and every value in range.
//!
//! A [`JobSpec`] can only come from [`JobSpec::parse`] (or from our own database), so later code never checks again.
//! What is planned and not built is refused by name (`not_supported`), never accepted and ignored.

mod augment;
mod backbone;
mod device;
mod fields;
mod freeze;
mod image_spec;
mod optimizer;
mod parse;
mod preview;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::{
    augment::{Augment, RandAugment},
    backbone::{Architecture, Backbone, Weights},
    device::DeviceChoice,
    freeze::{Freeze, Stage},
    image_spec::ImageSpec,
    optimizer::{OptimizerName, OptimizerSpec},
    preview::PreviewSpec,
};
use super::{name::Name, preprocessing::Preprocessing, split::SplitSpec};

/// What kind of work a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    #[default]
    Train,
}

/// A checked job spec with its defaults filled in. The smallest spec that a caller can send is `{"dataset": "flowers"}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobSpec {
    pub kind: JobKind,
    /// Name of the model that the job makes; by default the dataset's and the architecture's.
    pub name: Option<Name>,
    /// Id or name of the dataset.
    pub dataset: String,
    /// Up to 16 texts of the caller's own.
    pub metadata: BTreeMap<String, String>,
    pub backbone: Backbone,
    /// By default `backbone` with pretrained weights and `none` with `"weights": "none"`.
    pub freeze: Freeze,
    pub image: ImageSpec,
    pub augment: Augment,
    pub split: SplitSpec,
    /// 1 to 10000.
    #[schema(minimum = 1, maximum = 10000, default = 10)]
    pub epochs: u32,
    /// Images per step, 1 to 4096.
    #[schema(minimum = 1, maximum = 4096, default = 32)]
    pub batch_size: u32,
    pub optimizer: OptimizerSpec,
    pub device: DeviceChoice,
    /// Of initialisation, shuffling and augmentation.
    #[schema(default = 0)]
    pub seed: u64,
    /// Jobs of higher priority start first, -100 to 100.
    #[schema(minimum = -100, maximum = 100, default = 0)]
    pub priority: i32,
    /// Training stops after this many seconds and keeps the best weights so far.
    pub max_seconds: Option<u64>,
    /// Times that a worker may die or hang before the job fails, 1 to 10.
    #[schema(minimum = 1, maximum = 10, default = 3)]
    pub max_attempts: u32,
}

impl JobSpec {
    /// What is done to every picture, in training and after.
    pub fn preprocessing(&self) -> Preprocessing {
        Preprocessing {
            resize: self.image.resize,
            ..Preprocessing::for_size(self.image.size)
        }
    }

    /// The model's name: the one asked for, or the dataset's and the architecture's.
    pub fn model_name(&self, dataset: &Name) -> Name {
        let fallback = || Name::from_any(&format!("{dataset}-{}", self.backbone.architecture), "model");
        self.name.clone().unwrap_or_else(fallback)
    }
}
