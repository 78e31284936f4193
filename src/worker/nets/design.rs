//! The table of ResNets (He et al. 2015, "Deep Residual Learning for Image Recognition", table 1): what tells one from another.
//!
//! A further network of the family is a row here; `resnet.rs` builds whatever the row says.

use crate::domain::spec::{Architecture, Stage};

/// What a residual block is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// Two 3×3 convolutions.
    Basic,
    /// 1×1 to a narrower width, 3×3, 1×1 back to four times that width.
    Bottleneck,
}

impl BlockKind {
    /// Channels that leave a block, as a multiple of the stage's width.
    pub const fn expansion(self) -> i64 {
        match self {
            BlockKind::Basic => 1,
            BlockKind::Bottleneck => 4,
        }
    }
}

/// One stage of residual blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageDesign {
    pub stage: Stage,
    pub blocks: usize,
    /// Width of the stage: channels that leave a basic block, a quarter of what leaves a bottleneck.
    pub width: i64,
    /// Of the stage's first block.
    pub stride: i64,
}

/// One network of the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Design {
    pub block: BlockKind,
    /// Channels that leave the stem: a 7×7 convolution of stride 2 and a 3×3 max pooling of stride 2.
    pub stem_width: i64,
    /// Groups of the 3×3 convolutions of bottlenecks (more than one: Xie et al. 2017, ResNeXt).
    pub groups: i64,
    /// Width of a group where the stage's width is 64 (more than 64 with one group: Zagoruyko and Komodakis 2016, Wide ResNet).
    pub group_width: i64,
    pub stages: [StageDesign; 4],
}

impl Design {
    pub fn of(architecture: Architecture) -> Self {
        match architecture {
            Architecture::Resnet18 => Self::plain(BlockKind::Basic, [2, 2, 2, 2]),
            Architecture::Resnet34 => Self::plain(BlockKind::Basic, [3, 4, 6, 3]),
            Architecture::Resnet50 => Self::plain(BlockKind::Bottleneck, [3, 4, 6, 3]),
            Architecture::Resnet101 => Self::plain(BlockKind::Bottleneck, [3, 4, 23, 3]),
            Architecture::Resnet152 => Self::plain(BlockKind::Bottleneck, [3, 8, 36, 3]),
        }
    }

    /// Length of the feature vector that the head sees.
    pub fn features(&self) -> i64 {
        let [.., last] = self.stages;
        last.width * self.block.expansion()
    }

    /// Channels of the 3×3 convolution of a block in a stage of this width.
    pub fn inner_width(&self, width: i64) -> i64 {
        match self.block {
            BlockKind::Basic => width,
            BlockKind::Bottleneck => width * self.group_width / 64 * self.groups,
        }
    }

    fn plain(block: BlockKind, blocks: [usize; 4]) -> Self {
        let stage = |stage, index: usize, width, stride| StageDesign {
            stage,
            blocks: blocks[index],
            width,
            stride,
        };
        Self {
            block,
            stem_width: 64,
            groups: 1,
            group_width: 64,
            stages: [
                stage(Stage::Layer1, 0, 64, 1),
                stage(Stage::Layer2, 1, 128, 2),
                stage(Stage::Layer3, 2, 256, 2),
                stage(Stage::Layer4, 3, 512, 2),
            ],
        }
    }
}
