//! What the server says about a network.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Architecture, Stage};

/// A kind of base weights that `backbone.weights` can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WeightsOrigin {
    /// `imagenet`: trained on ImageNet, from the hub or the server's weights folder.
    Imagenet,
    /// A trained model of this server with the same architecture.
    Model,
    /// A file in the server's weights folder.
    File,
    /// `none`: random initialisation.
    None,
}

/// A network that jobs can train.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ArchitectureDescription {
    /// Always `architecture`.
    #[schema(example = "architecture")]
    pub object: &'static str,
    /// The value of `backbone.architecture`.
    pub name: Architecture,
    /// Trainable parameters, with a head of `classes` outputs.
    pub parameters: u64,
    /// Multiply-adds of the convolutions and the head for one image of `input_size`, with a head of `classes` outputs: what torchvision
    /// publishes as FLOPS.
    pub multiply_adds: u64,
    /// Outputs of the head that `parameters` and `multiply_adds` count: 1000, as for ImageNet, or 10, as for CIFAR-10.
    pub classes: u64,
    /// Length of the feature vector that goes into the head. A head of n classes has `(features + 1) · n` parameters.
    pub features: u64,
    /// Side, in pixels, of the square images that the network is designed for; the default of `image.size`.
    pub input_size: u32,
    /// In order from the input to the feature vector: the values that `freeze.until` accepts.
    pub stages: Vec<Stage>,
    /// What `backbone.weights` can be; the first is the default.
    pub weights: Vec<WeightsOrigin>,
}

impl Architecture {
    pub fn describe(self) -> ArchitectureDescription {
        let classes = if self.weights().contains(&WeightsOrigin::Imagenet) {
            1000
        } else {
            10
        };
        ArchitectureDescription {
            object: "architecture",
            name: self,
            parameters: self.parameters(classes),
            multiply_adds: self.multiply_adds(classes, self.native_size()),
            classes,
            features: self.features(),
            input_size: self.native_size(),
            stages: self.stages(),
            weights: self.weights().to_vec(),
        }
    }
}
