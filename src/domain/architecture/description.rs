//! What the server tells about a network.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Architecture, Stage};

/// A kind of base weights that `backbone.weights` can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WeightsOrigin {
    /// `imagenet`: trained on ImageNet, from the hub or the server's weights folder.
    Imagenet,
    /// A finished model of this server with the same architecture.
    Model,
    /// A file of the server's weights folder.
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
    /// What `backbone.architecture` says.
    pub name: Architecture,
    /// Numbers that can learn, with a head of `classes`.
    pub parameters: u64,
    /// Multiplications, each with its addition, of convolutions and head for one picture of `input_size`, with a head of `classes`:
    /// what torchvision publishes as FLOPS.
    pub multiply_adds: u64,
    /// Classes of the head that `parameters` and `multiply_adds` count: 1000, as of ImageNet, or 10, as of CIFAR-10.
    pub classes: u64,
    /// Length of the feature vector that the head sees. A head of n classes has `(features + 1) · n` parameters.
    pub features: u64,
    /// Side of the square pictures that it is made for, in pixels; the default of `image.size`.
    pub input_size: u32,
    /// From the pictures to the feature vector: what `freeze.until` can name.
    pub stages: Vec<Stage>,
    /// What `backbone.weights` can name; the first is the default.
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
