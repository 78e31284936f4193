//! The available networks, as plain data: what the server describes, the spec is checked against, and the worker builds.
//!
//! Outside the file of its family a network is just its [`Architecture`], and that is a [`network::NetworkDesign`]: layers in named stages
//! ([`layer`]). Another network of a family is a row in `table.rs`, another family a file in `families`.

pub mod adapters;
pub mod auxiliary;
pub mod catalogue;
mod count;
mod description;
mod families;
pub mod head;
pub mod init;
pub mod layer;
pub mod network;
pub mod shape;
mod size;
mod spellings;
mod stage;
mod stage_costs;
mod table;
pub mod tensors;
pub mod timm;
pub mod windows;

pub use self::{
    description::{ArchitectureDescription, WeightSetDescription},
    head::{Head, HeadKind, Outputs},
    size::SizeFault,
    stage::Stage,
    stage_costs::StageCost,
    table::Architecture,
};

impl Architecture {
    /// Its stages, from the input to the feature vector.
    pub fn stages(self) -> Vec<Stage> {
        self.design().stages.iter().map(|(stage, _)| *stage).collect()
    }

    /// The last stage, whose output becomes the feature vector.
    pub fn last_stage(self) -> Stage {
        self.design().last_stage()
    }

    /// Length of the feature vector that goes into the head.
    pub fn features(self) -> u64 {
        self.design().features()
    }

    /// Name of the head's layer.
    pub fn head(self) -> &'static str {
        self.design().head
    }

    /// Side, in pixels, of the square images that it is designed for. It takes other sizes too.
    pub fn native_size(self) -> u32 {
        self.design().native_size
    }

    /// Whether it is designed for small images that it sees whole: resized to the input size without cropping a margin.
    pub fn sees_whole_images(self) -> bool {
        self.native_size() < 64
    }

    /// Pixels of the image, along a side, per position of the last stage's activations.
    pub fn total_stride(self) -> u32 {
        self.design().total_stride()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_architecture_has_the_stages_of_its_table() {
        let all = [
            Stage::STEM,
            Stage::layer(1),
            Stage::layer(2),
            Stage::layer(3),
            Stage::layer(4),
        ];
        assert_eq!(Architecture::Resnext50.stages(), all);
        assert_eq!(Architecture::Resnet20.stages(), all[..4]);
        assert_eq!(Architecture::Resnet20.last_stage(), Stage::layer(3));
        assert_eq!(Architecture::Resnet50.last_stage(), Stage::layer(4));
        let shape = |it: Architecture| (it.features(), it.head(), it.native_size(), it.total_stride());
        assert_eq!(shape(Architecture::Resnet56), (64, "linear", 32, 4));
        assert_eq!(shape(Architecture::WideResnet50x2), (2048, "fc", 224, 32));
    }

    #[test]
    fn stages_are_numbered_without_a_gap() {
        for architecture in Architecture::ALL {
            let stages = architecture.stages();
            let last = architecture.last_stage();
            let counted: Vec<_> = stages.iter().map(|stage| stage.count_to(last)).collect();
            let expected: Vec<_> = (1..=stages.len() as u32).rev().collect();
            assert_eq!(counted, expected, "{architecture}");
        }
    }
}
