//! The ResNets: how they differ, and the resulting layers, with torchvision's names.

use crate::domain::architecture::{
    Stage,
    layer::{Activation, Conv2d, Layer, Op, Pool},
    network::{InTimm, NetworkDesign},
};

/// The structure of a residual block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// Two 3×3 convolutions.
    Basic,
    /// 1×1 to a narrower width, 3×3 in groups, 1×1 back to four times the stage's width. `group_width` is the width of a group where the
    /// stage's width is 64. More than one group: Xie et al. 2017, ResNeXt. More than 64 with one group: Zagoruyko and Komodakis 2016, Wide
    /// ResNet.
    Bottleneck { groups: u64, group_width: u64 },
}

/// He et al. 2015, table 1.
pub const BOTTLENECK: Block = bottleneck(1, 64);

pub const fn bottleneck(groups: u64, group_width: u64) -> Block {
    Block::Bottleneck { groups, group_width }
}

/// For ImageNet (He et al. 2015, table 1) as in torchvision: a 7×7 convolution and a pooling first, projection shortcuts (option B), and
/// stride 2 in the 3×3 convolutions ("V1.5"), not in the first 1×1 as in the paper.
pub fn imagenet(block: Block, blocks: [u64; 4]) -> NetworkDesign {
    let pooling = Pool {
        side: 3,
        stride: 2,
        padding: 1,
        ceil: false,
    };
    let mut stem = conv_norm_relu("conv1", "bn1", "relu", Conv2d::new(3, 64, 7).strided(2));
    stem.push(Layer::new("maxpool", Op::MaxPool2d(pooling)));
    NetworkDesign {
        stages: stages_of(stem, 64, &blocks, block, projection),
        pooling: pooling_of(),
        head: "fc",
        native_size: 224,
        dropout: 0.0,
        in_timm: InTimm::Same,
    }
}

/// For images of 32 pixels (He et al. 2015, section 4.2): 6n + 2 layers, as the paper names them, for `blocks` = n; a 3×3 convolution
/// first, shortcuts without weights (option A).
pub fn cifar(blocks: u64) -> NetworkDesign {
    let stem = conv_norm_relu("conv1", "bn1", "relu", Conv2d::new(3, 16, 3));
    NetworkDesign {
        stages: stages_of(stem, 16, &[blocks; 3], Block::Basic, padded),
        pooling: pooling_of(),
        head: "linear",
        native_size: 32,
        dropout: 0.0,
        in_timm: InTimm::No,
    }
}

/// The shortcut that maps a block's input to the shape of its branch's output: from these channels to those, with this stride.
type Shortcut = fn(u64, u64, u64) -> Layer;

fn pooling_of() -> Vec<Layer> {
    vec![
        Layer::new("avgpool", Op::AdaptiveAvgPool2d { side: 1 }),
        Layer::new("features", Op::Flatten),
    ]
}

/// Every stage is twice as wide as the previous one, with a quarter of the pixels.
fn stages_of(
    stem: Vec<Layer>,
    width: u64,
    counts: &[u64],
    block: Block,
    shortcut: Shortcut,
) -> Vec<(Stage, Vec<Layer>)> {
    let mut stages = vec![(Stage::STEM, stem)];
    let mut channels = width;
    for (index, count) in counts.iter().enumerate() {
        let stage = Stage::layer(index as u8 + 1);
        let width = width << index;
        let mut blocks = Vec::new();
        for number in 0..*count {
            let stride = if index > 0 && number == 0 { 2 } else { 1 };
            let branch = block.branch(channels, width, stride);
            let to = branch.last().map_or(channels, |conv| conv.to);
            let shortcut = match (stride, channels == to) {
                (1, true) => Layer::identity(),
                _ => shortcut(channels, to, stride),
            };
            blocks.push(residual(number.to_string(), branch, shortcut));
            channels = to;
        }
        stages.push((stage, vec![Layer::sequence(stage.to_string(), blocks)]));
    }
    stages
}

impl Block {
    fn branch(self, from: u64, width: u64, stride: u64) -> Vec<Conv2d> {
        match self {
            Block::Basic => vec![
                Conv2d::new(from, width, 3).strided(stride),
                Conv2d::new(width, width, 3),
            ],
            Block::Bottleneck { groups, group_width } => {
                let inner = width * group_width / 64 * groups;
                vec![
                    Conv2d::new(from, inner, 1),
                    Conv2d::new(inner, inner, 3).strided(stride).grouped(groups),
                    Conv2d::new(inner, 4 * width, 1),
                ]
            }
        }
    }
}

/// Convolutions whose output is added to the block's input.
fn residual(name: String, branch: Vec<Conv2d>, shortcut: Layer) -> Layer {
    let mut layers = Vec::new();
    for (number, conv) in (1..).zip(branch) {
        let [conv_name, norm, relu] = ["conv", "bn", "relu"].map(|layer| format!("{layer}{number}"));
        layers.extend(conv_norm_relu(&conv_name, &norm, &relu, conv));
    }
    // The last ReLU comes after the sum.
    layers.pop();
    let sum = Op::Sum(vec![Layer::sequence("", layers), shortcut]);
    Layer::sequence(
        name,
        vec![
            Layer::new("add", sum),
            Layer::activation("relu", Activation::Relu),
        ],
    )
}

fn conv_norm_relu(conv: &str, norm: &str, relu: &str, design: Conv2d) -> Vec<Layer> {
    vec![
        Layer::new(conv, Op::Conv2d(design)),
        Layer::batch_norm(norm, design.to),
        Layer::activation(relu, Activation::Relu),
    ]
}

/// A 1×1 convolution (option B).
fn projection(from: u64, to: u64, stride: u64) -> Layer {
    let conv = Conv2d::new(from, to, 1).strided(stride);
    let layers = vec![Layer::new("0", Op::Conv2d(conv)), Layer::batch_norm("1", to)];
    Layer::sequence("downsample", layers)
}

/// Every `stride`-th pixel, with zero channels added, as many before as after (option A).
fn padded(from: u64, to: u64, stride: u64) -> Layer {
    let channels = (to - from) / 2;
    let layers = vec![
        Layer::new("shortcut.slice", Op::Subsample { stride }),
        Layer::new("shortcut.pad", Op::PadChannels { channels }),
    ];
    Layer::sequence("", layers)
}
