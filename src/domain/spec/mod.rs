//! The spec of a job: what a caller asks for, with every default filled in and every value in range.
//!
//! A [`Spec`] can only come from [`Spec::parse`] (or from our own database), so later code never checks again. Its kind decides which
//! fields there are: those of a training are a [`JobSpec`].
//! What is planned and not built is refused by name (`not_supported`), never accepted and ignored.

mod augment;
mod backbone;
mod device;
mod evaluate;
mod fields;
mod freeze;
mod image_spec;
mod kind;
mod lr_find;
mod optimizer;
mod parse;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::{
    augment::Augment,
    backbone::{Backbone, Weights},
    device::DeviceChoice,
    evaluate::{EvaluateSpec, EvaluatedSplit},
    freeze::Freeze,
    image_spec::ImageSpec,
    kind::{JobKind, Spec},
    lr_find::{LrFindSpec, LrRange},
    optimizer::{OptimizerName, OptimizerSpec},
};
pub use super::architecture::{Architecture, Stage};
use super::{name::Name, preprocessing::Preprocessing, split::SplitSpec};

/// A checked spec of a training with its defaults filled in. The smallest spec that a caller can send is `{"dataset": "flowers"}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobSpec {
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
    /// What is done to every picture, in training and after. Networks for small pictures see the whole of them, as they were trained to.
    pub fn preprocessing(&self) -> Preprocessing {
        let size = self.image.size;
        let recipe = if self.backbone.architecture.sees_whole_pictures() {
            Preprocessing::whole(size)
        } else {
            Preprocessing::for_size(size)
        };
        Preprocessing {
            resize: self.image.resize,
            ..recipe
        }
    }

    /// The model's name: the one asked for, or the dataset's and the architecture's.
    pub fn model_name(&self, dataset: &Name) -> Name {
        let fallback = || Name::from_any(&format!("{dataset}-{}", self.backbone.architecture), "model");
        self.name.clone().unwrap_or_else(fallback)
    }
}
