//! The networks that there are, as plain data: what the server tells about them, the spec checks against, and the worker builds.
//!
//! To everything outside of its family's files a network is its [`Architecture`]: named stages, the length of its feature vector, the name
//! of its head, the size of picture that it is made for, and where its base weights can come from. A further family is a table like
//! [`design`] for what is counted here, a builder in `worker/nets` and rows in [`Architecture::ALL`].

mod count;
mod description;
pub mod design;
mod stage;

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::design::Design;
pub use self::{
    description::{ArchitectureDescription, WeightsOrigin},
    stage::Stage,
};

/// A network, by torchvision's name where torchvision has it.
///
/// ResNet-18 to 152: He et al. 2015, "Deep Residual Learning for Image Recognition", table 1. Wide ResNet-50-2: Zagoruyko and
/// Komodakis 2016. ResNeXt-50 (32×4d): Xie et al. 2017. `resnet20` to `resnet56`: the ResNets for pictures of 32 pixels of He et al.
/// 2015, section 4.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum Architecture {
    #[default]
    #[serde(rename = "resnet18")]
    Resnet18,
    #[serde(rename = "resnet34")]
    Resnet34,
    #[serde(rename = "resnet50")]
    Resnet50,
    #[serde(rename = "resnet101")]
    Resnet101,
    #[serde(rename = "resnet152")]
    Resnet152,
    #[serde(rename = "wide_resnet50_2")]
    WideResnet50x2,
    #[serde(rename = "resnext50_32x4d")]
    Resnext50,
    #[serde(rename = "resnet20")]
    Resnet20,
    #[serde(rename = "resnet32")]
    Resnet32,
    #[serde(rename = "resnet44")]
    Resnet44,
    #[serde(rename = "resnet56")]
    Resnet56,
}

impl Architecture {
    pub const ALL: [Architecture; 11] = [
        Architecture::Resnet18,
        Architecture::Resnet34,
        Architecture::Resnet50,
        Architecture::Resnet101,
        Architecture::Resnet152,
        Architecture::WideResnet50x2,
        Architecture::Resnext50,
        Architecture::Resnet20,
        Architecture::Resnet32,
        Architecture::Resnet44,
        Architecture::Resnet56,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Architecture::Resnet18 => "resnet18",
            Architecture::Resnet34 => "resnet34",
            Architecture::Resnet50 => "resnet50",
            Architecture::Resnet101 => "resnet101",
            Architecture::Resnet152 => "resnet152",
            Architecture::WideResnet50x2 => "wide_resnet50_2",
            Architecture::Resnext50 => "resnext50_32x4d",
            Architecture::Resnet20 => "resnet20",
            Architecture::Resnet32 => "resnet32",
            Architecture::Resnet44 => "resnet44",
            Architecture::Resnet56 => "resnet56",
        }
    }

    /// Its stages, from the pictures to the feature vector.
    pub fn stages(self) -> Vec<Stage> {
        let blocks = Design::of(self).stages.into_iter().map(|stage| stage.stage);
        std::iter::once(Stage::Stem).chain(blocks).collect()
    }

    /// The stage that the feature vector leaves.
    pub fn last_stage(self) -> Stage {
        let last = Design::of(self).stages.last().map(|stage| stage.stage);
        last.unwrap_or(Stage::Stem)
    }

    /// Length of the feature vector that the head sees.
    pub fn features(self) -> u64 {
        Design::of(self).features()
    }

    /// Which of the kinds of networks it is.
    pub fn family(self) -> design::Family {
        Design::of(self).family
    }

    /// Name of the head's layer.
    pub fn head(self) -> &'static str {
        self.family().head()
    }

    /// Side of the square pictures that it is made for, in pixels. It takes others too.
    pub fn native_size(self) -> u32 {
        self.family().native_size()
    }

    /// Whether it is made for small pictures, of which it sees the whole: resized to what it sees, no margin cut off.
    pub fn sees_whole_pictures(self) -> bool {
        self.native_size() < 64
    }

    /// Pixels of the picture, along a side, for each place of the last stage's activations.
    pub fn total_stride(self) -> u32 {
        Design::of(self).total_stride()
    }

    /// Where its base weights can come from; the first is the default.
    pub fn weights(self) -> &'static [WeightsOrigin] {
        use WeightsOrigin::{File, Imagenet, Model, None};
        match self.family() {
            design::Family::Imagenet => &[Imagenet, Model, File, None],
            // Nobody has trained them on ImageNet: pictures of 32 pixels are what they are for.
            design::Family::Cifar => &[None, Model, File],
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_everywhere() {
        for architecture in Architecture::ALL {
            let json = serde_json::to_value(architecture).unwrap();
            assert_eq!(json, architecture.as_str());
            assert_eq!(
                serde_json::from_value::<Architecture>(json).unwrap(),
                architecture
            );
        }
    }

    #[test]
    fn each_architecture_has_the_stages_of_its_table() {
        let stages = |architecture: Architecture| architecture.stages();
        assert_eq!(stages(Architecture::Resnext50), Stage::ALL);
        assert_eq!(stages(Architecture::Resnet20), Stage::ALL[..4]);
        assert_eq!(Architecture::Resnet20.last_stage(), Stage::Layer3);
        assert_eq!(Architecture::Resnet50.last_stage(), Stage::Layer4);
        let shape = |it: Architecture| (it.features(), it.head(), it.native_size(), it.total_stride());
        assert_eq!(shape(Architecture::Resnet56), (64, "linear", 32, 4));
        assert_eq!(shape(Architecture::WideResnet50x2), (2048, "fc", 224, 32));
    }
}
