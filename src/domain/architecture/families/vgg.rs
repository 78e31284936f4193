//! VGG-11, 13, 16 and 19 (Simonyan and Zisserman 2015), with and without BatchNorm, with torchvision's names and timm's.
//! In timm the hidden layers are convolutions, which compute the same for images of less than 256 pixels.

use super::blocks::{Norm, pool};
use crate::domain::architecture::{
    Stage,
    layer::{Activation, Conv2d, Layer, Linear, Op},
    network::{InTimm, NetworkDesign},
};

/// Channels of the five blocks, each of which ends with a pooling.
const CHANNELS: [u64; 5] = [64, 128, 256, 512, 512];
/// Of the two hidden layers before the head.
const HIDDEN: u64 = 4096;
/// Of the map that the first of them sees.
const SIDE: u64 = 7;
const DROPOUT: f64 = 0.5;

/// So many convolutions in each block.
pub fn vgg(convolutions: [u64; 5], normalised: bool) -> NetworkDesign {
    let (mut from, mut number) = (3, 0);
    let mut stages = Vec::new();
    for ((block, channels), count) in (1..).zip(CHANNELS).zip(convolutions) {
        let mut layers = Vec::new();
        let mut add = |op: Op| {
            layers.push(Layer::new(number.to_string(), op));
            number += 1;
        };
        for _ in 0..count {
            add(Op::Conv2d(Conv2d::new(from, channels, 3).biased()));
            if normalised {
                add(Norm::TORCH.layer("", channels).op);
            }
            add(Op::Activation(Activation::Relu));
            from = channels;
        }
        add(Op::MaxPool2d(pool(2, 2)));
        stages.push((Stage::block(block), vec![Layer::sequence("features", layers)]));
    }
    NetworkDesign {
        stages,
        pooling: vec![
            Layer::new("avgpool", Op::AdaptiveAvgPool2d { side: SIDE }),
            Layer::new("flat", Op::Flatten),
            Layer::sequence("classifier", hidden(from)).in_timm("pre_logits"),
        ],
        head: "classifier.6",
        native_size: 224,
        dropout: DROPOUT,
        in_timm: InTimm::renamed("head.fc"),
    }
}

fn hidden(channels: u64) -> Vec<Layer> {
    let linear = |from: u64, side: u64| {
        Op::Linear(Linear {
            side_in_timm: Some(side),
            ..Linear::new(from * side * side, HIDDEN)
        })
    };
    vec![
        Layer::new("0", linear(channels, SIDE)).in_timm("fc1"),
        Layer::activation("1", Activation::Relu),
        Layer::new("2", Op::Dropout { probability: DROPOUT }),
        Layer::new("3", linear(HIDDEN, 1)).in_timm("fc2"),
        Layer::activation("4", Activation::Relu),
    ]
}
