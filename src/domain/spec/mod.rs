//! The job spec: what a caller asks for, with every default filled in and every value in range.
//!
//! A [`JobSpec`] can only come from [`JobSpec::parse`] (or from our own database), so later code never checks again.
//! What is planned and not built is refused by name (`not_supported`), never accepted and ignored.

mod fields;
mod parse;

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    name::Name,
    preprocessing::{Preprocessing, Resize},
    split::SplitSpec,
};

/// What kind of work a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    #[default]
    Train,
}

/// A network (He et al. 2015, "Deep Residual Learning for Image Recognition"), with torchvision's parameter names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    #[default]
    Resnet18,
    Resnet34,
    Resnet50,
    Resnet101,
    Resnet152,
}

impl Architecture {
    pub const ALL: [Architecture; 5] = [
        Architecture::Resnet18,
        Architecture::Resnet34,
        Architecture::Resnet50,
        Architecture::Resnet101,
        Architecture::Resnet152,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Architecture::Resnet18 => "resnet18",
            Architecture::Resnet34 => "resnet34",
            Architecture::Resnet50 => "resnet50",
            Architecture::Resnet101 => "resnet101",
            Architecture::Resnet152 => "resnet152",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// Where the base weights come from, as the spec says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Weights {
    /// Random initialisation.
    None,
    /// Trained on ImageNet, from the configured hub or from `--weights-dir`.
    Imagenet,
    /// A file of `--weights-dir`: its name, ending in `.safetensors`.
    File(String),
    /// A finished model of this server: its id, name or `name@version`.
    Model(String),
}

crate::text_schema!(Weights, "^[A-Za-z0-9][A-Za-z0-9._@-]*$", "imagenet");

impl From<String> for Weights {
    fn from(text: String) -> Self {
        match text.as_str() {
            "none" => Weights::None,
            "imagenet" => Weights::Imagenet,
            _ if text.ends_with(".safetensors") => Weights::File(text),
            _ => Weights::Model(text),
        }
    }
}

impl From<Weights> for String {
    fn from(weights: Weights) -> String {
        match weights {
            Weights::None => "none".to_owned(),
            Weights::Imagenet => "imagenet".to_owned(),
            Weights::File(text) | Weights::Model(text) => text,
        }
    }
}

/// The network and what it starts from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Backbone {
    pub architecture: Architecture,
    /// `none`, `imagenet`, a model of this server, or a file of `--weights-dir`.
    pub weights: Weights,
}

/// A part of the network between its input and its head, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// `conv1`, `bn1` and the pooling after them.
    Stem,
    Layer1,
    Layer2,
    Layer3,
    Layer4,
}

impl Stage {
    pub const ALL: [Stage; 5] = [
        Stage::Stem,
        Stage::Layer1,
        Stage::Layer2,
        Stage::Layer3,
        Stage::Layer4,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Stem => "stem",
            Stage::Layer1 => "layer1",
            Stage::Layer2 => "layer2",
            Stage::Layer3 => "layer3",
            Stage::Layer4 => "layer4",
        }
    }
}

/// Which stages do not learn. Their BatchNorm uses its stored statistics and does not change them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Freeze {
    /// Everything but the head.
    Backbone,
    /// Nothing: all layers learn.
    None,
    /// From the input up to and with this stage.
    Until(Stage),
}

impl Freeze {
    /// The last stage that does not learn.
    pub fn last_frozen(self) -> Option<Stage> {
        match self {
            Freeze::Backbone => Some(Stage::Layer4),
            Freeze::None => None,
            Freeze::Until(stage) => Some(stage),
        }
    }
}

/// The size of picture that the network sees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ImageSpec {
    /// Side of the square, in pixels, 32 to 1024.
    #[schema(minimum = 32, maximum = 1024, default = 224)]
    pub size: u32,
    pub resize: Resize,
}

/// Random changes to training images.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Augment {
    /// Mirror each training image with probability ½, drawn anew each epoch.
    #[schema(default = false)]
    pub horizontal_flip: bool,
}

/// Stochastic gradient descent (Sutskever et al. 2013, as in torch.optim.SGD).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerName {
    #[default]
    Sgd,
}

/// How weights follow gradients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OptimizerSpec {
    pub name: OptimizerName,
    /// Learning rate of the head, above 0, at most 100.
    #[schema(exclusive_minimum = 0.0, maximum = 100.0, default = 0.001)]
    pub lr: f64,
    /// 0 up to, not including, 1.
    #[schema(minimum = 0.0, exclusive_maximum = 1.0, default = 0.9)]
    pub momentum: f64,
    #[schema(default = false)]
    pub nesterov: bool,
    /// L2 penalty on weights of convolutions and the head (not on BatchNorm and biases), 0 to 1.
    #[schema(minimum = 0.0, maximum = 1.0, default = 0.0)]
    pub weight_decay: f64,
    /// Learning rate of the backbone relative to the head's, 0 to 1; where the backbone starts from nothing it is 1.
    #[schema(minimum = 0.0, maximum = 1.0, default = 0.1)]
    pub backbone_lr_multiplier: f64,
}

/// The device that a job asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceChoice {
    /// A free GPU, or the CPU where there is no GPU.
    #[default]
    Auto,
    Cpu,
    Cuda(u8),
}

crate::text_schema!(DeviceChoice, "^(auto|cpu|cuda:[0-9]{1,2})$", "auto");

impl DeviceChoice {
    /// Whether a job with this choice may run on the device of this name, given whether the host has any GPU.
    pub fn allows(self, device: &str, host_has_gpu: bool) -> bool {
        match self {
            DeviceChoice::Auto => device.starts_with("cuda:") || !host_has_gpu,
            DeviceChoice::Cpu => device == "cpu",
            DeviceChoice::Cuda(index) => device == format!("cuda:{index}"),
        }
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "auto" => return Ok(DeviceChoice::Auto),
            "cpu" => return Ok(DeviceChoice::Cpu),
            _ => {}
        }
        let index = text.strip_prefix("cuda:").filter(|digits| digits.len() <= 2);
        let index = index.and_then(|digits| digits.parse().ok());
        index
            .map(DeviceChoice::Cuda)
            .ok_or_else(|| "must be `auto`, `cpu` or `cuda:N`".to_owned())
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> String {
        match choice {
            DeviceChoice::Auto => "auto".to_owned(),
            DeviceChoice::Cpu => "cpu".to_owned(),
            DeviceChoice::Cuda(index) => format!("cuda:{index}"),
        }
    }
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
