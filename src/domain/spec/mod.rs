//! The spec of a job: what a caller asks for, with every default filled in and every value in range.
//!
//! A [`Spec`] can only come from [`Spec::parse`] (or from our own database), so later code never checks again. Its kind decides which
//! fields there are: those of a training are a [`JobSpec`].
//! What is planned but not implemented is refused by name (`not_supported`), never accepted and ignored.

mod batch_predict;
mod compare;
mod cross_validate;
mod device;
mod evaluate;
mod fields;
mod folds;
mod job_fields;
mod kind;
mod label_check;
mod lr_find;
mod parse;
mod preset;
mod pretrain;
mod preview;
mod shown;
mod split;
mod training;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::{
    batch_predict::BatchPredictSpec,
    compare::CompareSpec,
    cross_validate::{CrossValidateSpec, CrossValidatedHead},
    device::DeviceChoice,
    evaluate::{EvaluateSpec, EvaluatedSplit},
    job_fields::{JobFields, KindSpec},
    kind::{JobKind, KindVisitor, Spec},
    label_check::LabelCheckSpec,
    lr_find::{LrFindSpec, LrRange},
    preset::{Circumstances, Preset},
    pretrain::{PretrainMethod, PretrainSpec},
    preview::PreviewSpec,
    split::parse_split,
    training::{
        adapt::{Adapt, Lora},
        augment::{Augment, RandAugment},
        backbone::{Backbone, Weights},
        distill::Distill,
        domain_adaptation::{AdaptationMethod, DomainAdaptation},
        early_stopping::{EarlyStopping, Monitor},
        freeze::Freeze,
        head::{HeadKeep, HeadSpec, Solver},
        image_spec::ImageSpec,
        loss::{Imbalance, LossName, LossSpec},
        optimizer::{OptimizerName, OptimizerSpec},
        precision::Precision,
        schedule::{ScheduleName, ScheduleSpec},
        task::Task,
        task_weights::{LearnedWeights, TaskWeights},
    },
};
pub use super::architecture::{Architecture, Stage};
use super::{datasets::split::SplitSpec, models::preprocessing::Preprocessing, name::Name};

/// A checked spec of a training with its defaults filled in. The smallest spec that a caller can send is `{"dataset": "flowers"}`. Fields
/// of training step by step are only there if the head is trained by `sgd`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(remote = "Self")]
pub struct JobSpec {
    /// Name of the model that the job produces; by default the dataset's and the architecture's.
    pub name: Option<Name>,
    /// Id or name of the dataset.
    #[schema(min_length = 1)]
    pub dataset: String,
    /// Up to 16 strings of the caller's own.
    pub metadata: BTreeMap<String, String>,
    /// Where the values come from that the caller did not give; without one they are those of `tutorial`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// Why `auto` chose this preset, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset_reason: Option<String>,
    /// `single` by default, which needs images of one class each. Not in resolved specs where it is that.
    #[serde(default, skip_serializing_if = "Task::is_single")]
    pub task: Task,
    pub backbone: Backbone,
    /// By default `backbone` with pretrained weights, and `none` with `"weights": "none"` or `adapt`.
    pub freeze: Freeze,
    /// From this epoch on (2 to `epochs`) all layers are trained, whatever `freeze` says.
    #[serde(default)]
    #[schema(minimum = 2, maximum = 10000)]
    pub unfreeze_at_epoch: Option<u32>,
    #[serde(default)]
    pub head: HeadSpec,
    pub image: ImageSpec,
    pub augment: Augment,
    pub split: SplitSpec,
    /// 1 to 10000.
    #[serde(default = "ten")]
    #[schema(minimum = 1, maximum = 10000, default = 10)]
    pub epochs: u32,
    /// Images in a forward pass, 1 to 4096.
    #[schema(minimum = 1, maximum = 4096, default = 32)]
    pub batch_size: u32,
    /// Batches whose gradients are accumulated for one step, 1 to 1024: a step then uses `batch_size` times this many images, except that
    /// BatchNorm sees one batch at a time. The last step of an epoch takes the remaining images and averages over those.
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 1024, default = 1)]
    pub gradient_accumulation_steps: u32,
    #[serde(default)]
    pub optimizer: OptimizerSpec,
    #[serde(default)]
    pub schedule: ScheduleSpec,
    #[serde(default)]
    pub loss: LossSpec,
    /// Gradients are scaled down to this global norm where theirs is larger (Pascanu et al. 2013, as torch.nn.utils.clip_grad_norm_), above
    /// 0.
    #[serde(default)]
    #[schema(exclusive_minimum = 0.0)]
    pub clip_grad_norm: Option<f64>,
    /// Decay of an exponential moving average of the weights, above 0, below 1. Validation and the model use the average. After n steps the
    /// decay is at most (1 + n) / (10 + n), so that short runs do not end with their initial weights (as in TensorFlow).
    #[serde(default)]
    #[schema(exclusive_minimum = 0.0, exclusive_maximum = 1.0)]
    pub ema_decay: Option<f64>,
    #[serde(default)]
    pub early_stopping: Option<EarlyStopping>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain_adaptation: Option<DomainAdaptation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distill: Option<Distill>,
    /// Trains an adapter instead of the weights themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapt: Option<Adapt>,
    #[serde(default)]
    pub precision: Precision,
    pub device: DeviceChoice,
    /// Of initialisation, shuffling and augmentation.
    #[schema(default = 0)]
    pub seed: u64,
    /// Jobs of higher priority start first, -100 to 100.
    #[schema(minimum = -100, maximum = 100, default = 0)]
    pub priority: i32,
    /// Training stops after this many seconds and keeps the best weights so far.
    #[schema(minimum = 1, maximum = 31536000)]
    pub max_seconds: Option<u64>,
    /// How often a worker may die or hang before the job fails, 1 to 10.
    #[schema(minimum = 1, maximum = 10, default = 3)]
    pub max_attempts: u32,
}

fn ten() -> u32 {
    10
}

fn one() -> u32 {
    1
}

impl JobSpec {
    /// The preprocessing of every image, in training and afterwards: as the base weights need it, unless the spec says otherwise. Networks
    /// for small images see the whole image, as in their original training.
    pub fn preprocessing(&self) -> Preprocessing {
        self.image.preprocessing(&self.backbone.recipe())
    }

    /// The dataset whose images go along with those of `dataset`, with its JSON pointer.
    pub fn unlabelled_dataset_mut(&mut self) -> Option<(&'static str, &mut String)> {
        let target = self.domain_adaptation.as_mut().map(|adaptation| {
            let pointer = "/domain_adaptation/target_dataset";
            (pointer, &mut adaptation.target_dataset)
        });
        let unlabelled = self.distill.as_mut().and_then(|distill| {
            let dataset = distill.unlabelled_dataset.as_mut()?;
            Some(("/distill/unlabelled_dataset", dataset))
        });
        target.or(unlabelled)
    }

    /// The first epoch (from 1) in whose steps images of that dataset take part; none if they take part in no step.
    pub fn unlabelled_from(&self) -> Option<u32> {
        match (&self.domain_adaptation, &self.distill) {
            (Some(adaptation), _) => adaptation
                .method
                .has_loss()
                .then(|| adaptation.warmup_epochs.unwrap_or(0) + 1),
            (None, Some(distill)) => distill.unlabelled_dataset.as_ref().map(|_| 1),
            (None, None) => None,
        }
    }

    /// The model's name: the one asked for, or one derived from the dataset and the architecture.
    pub fn model_name(&self, dataset: &Name) -> Name {
        let fallback = || Name::from_any(&format!("{dataset}-{}", self.backbone.architecture), "model");
        self.name.clone().unwrap_or_else(fallback)
    }
}
