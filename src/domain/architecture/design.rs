//! The table of ResNets: what tells one from another, and the layers that follow from it.
//!
//! A further network of the family is a row in [`Design::of`]. The worker builds what [`Design::stem`] and [`Design::blocks`] say, and
//! what the server tells of a network's size is counted over the same layers.

use super::{Architecture, Stage};

/// Which of the two kinds of ResNet it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// He et al. 2015, table 1, as torchvision has them: a 7×7 convolution and a pooling first, shortcuts that are projected.
    Imagenet,
    /// He et al. 2015, section 4.2: a 3×3 convolution first, shortcuts without weights (option A).
    Cifar,
}

impl Family {
    /// Name of the head's layer.
    pub const fn head(self) -> &'static str {
        match self {
            Family::Imagenet => "fc",
            Family::Cifar => "linear",
        }
    }

    pub const fn native_size(self) -> u32 {
        match self {
            Family::Imagenet => 224,
            Family::Cifar => 32,
        }
    }
}

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
    pub const fn expansion(self) -> u64 {
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
    pub width: u64,
    /// Of the stage's first block.
    pub stride: u64,
}

/// One network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Design {
    pub family: Family,
    pub block: BlockKind,
    /// Groups of the 3×3 convolutions of bottlenecks (more than one: Xie et al. 2017, ResNeXt).
    pub groups: u64,
    /// Width of a group where the stage's width is 64 (more than 64 with one group: Zagoruyko and Komodakis 2016, Wide ResNet).
    pub group_width: u64,
    /// What follows the stem.
    pub stages: Vec<StageDesign>,
}

/// A convolution without bias and the BatchNorm after it; padded by half of its side, so that stride 1 keeps the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Channels that come in and that go out.
    pub from: u64,
    pub to: u64,
    /// Of the square kernel.
    pub side: u64,
    pub stride: u64,
    pub groups: u64,
}

/// The first layer and, of the ImageNet networks, a max pooling of side 3 and stride 2 after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stem {
    pub convolution: Convolution,
    pub pooling: bool,
}

/// A residual block: convolutions whose result is added to the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub branch: Vec<Convolution>,
    pub shortcut: Shortcut,
}

/// How a block's input gets the shape of what it is added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortcut {
    Identity,
    /// A 1×1 convolution (option B of He et al. 2015).
    Projection(Convolution),
    /// Every `stride`-th pixel, and channels of zeros, as many before as after (option A).
    Padded {
        stride: u64,
        channels: u64,
    },
}

impl Design {
    pub fn of(architecture: Architecture) -> Self {
        use BlockKind::{Basic, Bottleneck};
        let bottleneck = |groups, group_width| Self {
            groups,
            group_width,
            ..Self::imagenet(Bottleneck, [3, 4, 6, 3])
        };
        match architecture {
            Architecture::Resnet18 => Self::imagenet(Basic, [2, 2, 2, 2]),
            Architecture::Resnet34 => Self::imagenet(Basic, [3, 4, 6, 3]),
            Architecture::Resnet50 => Self::imagenet(Bottleneck, [3, 4, 6, 3]),
            Architecture::Resnet101 => Self::imagenet(Bottleneck, [3, 4, 23, 3]),
            Architecture::Resnet152 => Self::imagenet(Bottleneck, [3, 8, 36, 3]),
            Architecture::WideResnet50x2 => bottleneck(1, 128),
            Architecture::Resnext50 => bottleneck(32, 4),
            Architecture::Resnet20 => Self::cifar(3),
            Architecture::Resnet32 => Self::cifar(5),
            Architecture::Resnet44 => Self::cifar(7),
            Architecture::Resnet56 => Self::cifar(9),
        }
    }

    fn imagenet(block: BlockKind, blocks: [usize; 4]) -> Self {
        let stages = [Stage::Layer1, Stage::Layer2, Stage::Layer3, Stage::Layer4];
        Self::of_stages(Family::Imagenet, block, stages.into_iter().zip(blocks), 64)
    }

    /// 6n + 2 layers, as the paper names them, for `blocks` = n.
    fn cifar(blocks: usize) -> Self {
        let stages = [Stage::Layer1, Stage::Layer2, Stage::Layer3].map(|stage| (stage, blocks));
        Self::of_stages(Family::Cifar, BlockKind::Basic, stages, 16)
    }

    /// Every stage is twice as wide as the one before it, on a quarter of the pixels.
    fn of_stages(
        family: Family,
        block: BlockKind,
        stages: impl IntoIterator<Item = (Stage, usize)>,
        width: u64,
    ) -> Self {
        let stage = |(index, (stage, blocks))| StageDesign {
            stage,
            blocks,
            width: width << index,
            stride: if index == 0 { 1 } else { 2 },
        };
        Self {
            family,
            block,
            groups: 1,
            group_width: 64,
            stages: stages.into_iter().enumerate().map(stage).collect(),
        }
    }

    /// Length of the feature vector that the head sees.
    pub fn features(&self) -> u64 {
        let width = self.stages.last().map_or(0, |stage| stage.width);
        width * self.block.expansion()
    }

    /// Pixels of the picture, along a side, for each place of the last stage's activations.
    pub fn total_stride(&self) -> u32 {
        let stem = self.stem();
        let pooling = if stem.pooling { 2 } else { 1 };
        let stages: u64 = self.stages.iter().map(|stage| stage.stride).product();
        (stem.convolution.stride * pooling * stages) as u32
    }

    pub fn stem(&self) -> Stem {
        let (to, side, stride) = match self.family {
            Family::Imagenet => (64, 7, 2),
            Family::Cifar => (16, 3, 1),
        };
        Stem {
            convolution: Convolution::new(3, to, side).strided(stride),
            pooling: self.family == Family::Imagenet,
        }
    }

    /// The blocks of each stage, in order.
    pub fn blocks(&self) -> Vec<(Stage, Vec<Block>)> {
        let mut channels = self.stem().convolution.to;
        let mut stages = Vec::with_capacity(self.stages.len());
        for stage in &self.stages {
            let mut blocks = Vec::with_capacity(stage.blocks);
            for index in 0..stage.blocks {
                let stride = if index == 0 { stage.stride } else { 1 };
                blocks.push(self.block_of(channels, stage.width, stride));
                channels = stage.width * self.block.expansion();
            }
            stages.push((stage.stage, blocks));
        }
        stages
    }

    fn block_of(&self, from: u64, width: u64, stride: u64) -> Block {
        let to = width * self.block.expansion();
        // Stride 2 is in the 3×3 convolution (ResNet "V1.5", as in torchvision), not in the first 1×1 of the paper.
        let branch = match self.block {
            BlockKind::Basic => vec![
                Convolution::new(from, to, 3).strided(stride),
                Convolution::new(to, to, 3),
            ],
            BlockKind::Bottleneck => {
                let inner = width * self.group_width / 64 * self.groups;
                vec![
                    Convolution::new(from, inner, 1),
                    Convolution::new(inner, inner, 3)
                        .strided(stride)
                        .grouped(self.groups),
                    Convolution::new(inner, to, 1),
                ]
            }
        };
        let shortcut = match self.family {
            _ if stride == 1 && from == to => Shortcut::Identity,
            Family::Imagenet => Shortcut::Projection(Convolution::new(from, to, 1).strided(stride)),
            Family::Cifar => Shortcut::Padded {
                stride,
                channels: (to - from) / 2,
            },
        };
        Block { branch, shortcut }
    }
}

impl Convolution {
    fn new(from: u64, to: u64, side: u64) -> Self {
        Self {
            from,
            to,
            side,
            stride: 1,
            groups: 1,
        }
    }

    fn strided(self, stride: u64) -> Self {
        Self { stride, ..self }
    }

    fn grouped(self, groups: u64) -> Self {
        Self { groups, ..self }
    }
}
