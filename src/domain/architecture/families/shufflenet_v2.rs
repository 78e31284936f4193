//! ShuffleNetV2 (Ma et al. 2018), with torchvision's names.

use super::blocks::{Norm, conv, conv_norm, global_pooling, pool};
use crate::domain::architecture::{
    Stage,
    layer::{Activation, Conv2d, Layer, Op, Pool},
    network::{InTimm, NetworkDesign},
};

const BLOCKS: [u64; 3] = [4, 8, 4];
const STEM: u64 = 24;
const NORM: Norm = Norm::TORCH;

/// Table 5: channels of the three stages and of the last convolution.
pub fn shufflenet([channels @ .., last]: [u64; 4]) -> NetworkDesign {
    let relu = Some(Activation::Relu);
    let widest = Pool {
        padding: 1,
        ..pool(3, 2)
    };
    let stem = vec![
        conv_norm("conv1", Conv2d::new(3, STEM, 3).strided(2), NORM, relu),
        Layer::new("maxpool", Op::MaxPool2d(widest)),
    ];
    let mut stages = vec![(Stage::STEM, stem)];
    let mut from = STEM;
    for ((number, count), to) in (1..).zip(BLOCKS).zip(channels) {
        let block = |index: u64| {
            let layers = if index == 0 {
                halving(from, to)
            } else {
                splitting(to)
            };
            Layer::sequence(index.to_string(), layers)
        };
        let blocks = (0..count).map(block).collect();
        // The paper and torchvision count the stem as the first stage.
        let layers = vec![Layer::sequence(format!("stage{}", number + 1), blocks)];
        stages.push((Stage::of(number), layers));
        from = to;
    }
    let conv5 = conv_norm("conv5", Conv2d::new(from, last, 1), NORM, relu);
    stages.push((Stage::of(4), vec![conv5]));
    NetworkDesign {
        stages,
        pooling: global_pooling(),
        head: "fc",
        native_size: 224,
        dropout: 0.0,
        in_timm: InTimm::No,
    }
}

/// Half as high and wide: both branches have all channels (figure 3 d).
fn halving(from: u64, to: u64) -> Vec<Layer> {
    let half = to / 2;
    let shortcut = vec![
        conv("0", depthwise(from, 2)),
        NORM.layer("1", from),
        conv("2", Conv2d::new(from, half, 1)),
        NORM.layer("3", half),
        Layer::activation("4", Activation::Relu),
    ];
    let branches = vec![
        Layer::sequence("branch1", shortcut),
        Layer::sequence("branch2", branch(from, half, 2)),
    ];
    shuffled(branches)
}

/// The first half of the channels stays as it is (figure 3 c).
fn splitting(channels: u64) -> Vec<Layer> {
    let half = channels / 2;
    let narrow = |first| Op::Narrow { first, count: half };
    let second = vec![
        Layer::new("second", narrow(half)),
        Layer::sequence("branch2", branch(half, half, 1)),
    ];
    shuffled(vec![Layer::new("first", narrow(0)), Layer::sequence("", second)])
}

fn shuffled(branches: Vec<Layer>) -> Vec<Layer> {
    vec![
        Layer::new("concat", Op::Concat(branches)),
        Layer::new("shuffle", Op::ChannelShuffle { groups: 2 }),
    ]
}

fn depthwise(channels: u64, stride: u64) -> Conv2d {
    Conv2d::new(channels, channels, 3)
        .strided(stride)
        .grouped(channels)
}

fn branch(from: u64, to: u64, stride: u64) -> Vec<Layer> {
    vec![
        conv("0", Conv2d::new(from, to, 1)),
        NORM.layer("1", to),
        Layer::activation("2", Activation::Relu),
        conv("3", depthwise(to, stride)),
        NORM.layer("4", to),
        conv("5", Conv2d::new(to, to, 1)),
        NORM.layer("6", to),
        Layer::activation("7", Activation::Relu),
    ]
}
