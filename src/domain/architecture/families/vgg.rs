//! VGG-11, 13, 16 and 19 (Simonyan and Zisserman 2015), with and without BatchNorm, with torchvision's names.

use super::blocks::{Norm, pool};
use crate::domain::architecture::{
    Stage,
    layer::{Activation, Conv2d, Layer, Linear, Op},
    network::NetworkDesign,
};

/// Channels of the five blocks, each of which ends with a pooling.
const CHANNELS: [u64; 5] = [64, 128, 256, 512, 512];
/// Of the two hidden layers before the head.
const HIDDEN: u64 = 4096;
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
            Layer::new("avgpool", Op::AdaptiveAvgPool2d { side: 7 }),
            Layer::new("flat", Op::Flatten),
            Layer::sequence("classifier", hidden(7 * 7 * from)),
        ],
        head: "classifier.6",
        native_size: 224,
        dropout: DROPOUT,
        in_timm: false,
    }
}

fn hidden(features: u64) -> Vec<Layer> {
    vec![
        Layer::new("0", Op::Linear(Linear::new(features, HIDDEN))),
        Layer::activation("1", Activation::Relu),
        Layer::new("2", Op::Dropout { probability: DROPOUT }),
        Layer::new("3", Op::Linear(Linear::new(HIDDEN, HIDDEN))),
        Layer::activation("4", Activation::Relu),
    ]
}
