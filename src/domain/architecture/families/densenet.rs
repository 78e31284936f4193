//! DenseNet-121, 169 and 201 (Huang et al. 2017), with torchvision's names, which are timm's too.

use super::blocks::{Norm, conv, pool};
use crate::domain::architecture::{
    Stage,
    layer::{Activation, Conv2d, Layer, Op, Pool},
    network::{InTimm, NetworkDesign},
};

/// Channels that each layer adds.
const GROWTH: u64 = 32;
/// How many times as many the 1×1 convolution before gives.
const BOTTLENECK: u64 = 4;
const NORM: Norm = Norm::TORCH;

/// So many layers in each of the four blocks.
pub fn densenet(blocks: [u64; 4]) -> NetworkDesign {
    let mut channels = 64;
    let widest = Pool {
        padding: 1,
        ..pool(3, 2)
    };
    let stem = vec![
        conv("conv0", Conv2d::new(3, channels, 7).strided(2)),
        NORM.layer("norm0", channels),
        Layer::activation("relu0", Activation::Relu),
        Layer::new("pool0", Op::MaxPool2d(widest)),
    ];
    let mut stages = vec![(Stage::STEM, vec![Layer::sequence("features", stem)])];
    for (number, count) in (1..).zip(blocks) {
        let mut layers = Vec::new();
        for index in 1..=count {
            layers.push(dense(index, channels));
            channels += GROWTH;
        }
        let mut layers = vec![Layer::sequence(format!("denseblock{number}"), layers)];
        if usize::from(number) < blocks.len() {
            layers.push(transition(number, channels));
            channels /= 2;
        } else {
            layers.push(NORM.layer("norm5", channels));
        }
        stages.push((Stage::block(number), vec![Layer::sequence("features", layers)]));
    }
    NetworkDesign {
        stages,
        pooling: vec![
            Layer::activation("relu", Activation::Relu),
            Layer::new("avgpool", Op::AdaptiveAvgPool2d { side: 1 }),
            Layer::new("flat", Op::Flatten),
        ],
        head: "classifier",
        native_size: 224,
        dropout: 0.0,
        in_timm: InTimm::Same,
    }
}

/// What comes in, and the channels that are added to it.
fn dense(index: u64, channels: u64) -> Layer {
    let inner = BOTTLENECK * GROWTH;
    let added = vec![
        NORM.layer("norm1", channels),
        Layer::activation("relu1", Activation::Relu),
        conv("conv1", Conv2d::new(channels, inner, 1)),
        NORM.layer("norm2", inner),
        Layer::activation("relu2", Activation::Relu),
        conv("conv2", Conv2d::new(inner, GROWTH, 3)),
    ];
    let name = format!("denselayer{index}");
    let both = vec![Layer::identity(), Layer::sequence(&name, added)];
    Layer::new(format!("{name}.concat"), Op::Concat(both))
}

fn transition(number: u8, channels: u64) -> Layer {
    let layers = vec![
        NORM.layer("norm", channels),
        Layer::activation("relu", Activation::Relu),
        conv("conv", Conv2d::new(channels, channels / 2, 1)),
        Layer::new("pool", Op::AvgPool2d(pool(2, 2))),
    ];
    Layer::sequence(format!("transition{number}"), layers)
}
