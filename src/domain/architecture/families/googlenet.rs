//! GoogLeNet (Szegedy et al. 2015, "Going deeper with convolutions") with BatchNorm, with torchvision's names; and its auxiliary heads, which
//! only training has.

use super::blocks::{Norm, conv, global_pooling, pool};
use crate::domain::architecture::{
    Stage,
    layer::{Activation, Conv2d, Layer, Linear, Op, Pool},
    network::{InTimm, NetworkDesign},
};

/// As all convolutions of the Inception networks in torchvision.
pub const NORM: Norm = Norm {
    epsilon: 1e-3,
    momentum: 0.1,
};

/// Table 1: the output channels of the 1×1 convolution, of the two of the second branch, of the two of the third, and of the one after the
/// pooling.
const MODULES: [&[(&str, [u64; 6])]; 3] = [
    &[
        ("3a", [64, 96, 128, 16, 32, 32]),
        ("3b", [128, 128, 192, 32, 96, 64]),
    ],
    &[
        ("4a", [192, 96, 208, 16, 48, 64]),
        ("4b", [160, 112, 224, 24, 64, 64]),
        ("4c", [128, 128, 256, 24, 64, 64]),
        ("4d", [112, 144, 288, 32, 64, 64]),
        ("4e", [256, 160, 320, 32, 128, 128]),
    ],
    &[
        ("5a", [256, 160, 320, 32, 128, 128]),
        ("5b", [384, 192, 384, 48, 128, 128]),
    ],
];

pub fn googlenet() -> NetworkDesign {
    let stem = vec![
        basic("conv1", Conv2d::new(3, 64, 7).strided(2)),
        largest("maxpool1", 3),
        basic("conv2", Conv2d::new(64, 64, 1)),
        basic("conv3", Conv2d::new(64, 192, 3)),
        largest("maxpool2", 3),
    ];
    let mut stages = vec![(Stage::STEM, stem)];
    let mut channels = 192;
    for (number, modules) in (1..).zip(MODULES) {
        let mut layers = Vec::new();
        for (name, sizes) in modules {
            layers.push(inception(&format!("inception{name}"), channels, *sizes));
            channels = sizes[0] + sizes[2] + sizes[4] + sizes[5];
        }
        match number {
            1 => layers.push(largest("maxpool3", 3)),
            2 => layers.push(largest("maxpool4", 2)),
            _ => {}
        }
        stages.push((Stage::of(number), layers));
    }
    NetworkDesign {
        stages,
        pooling: global_pooling(),
        head: "fc",
        native_size: 224,
        dropout: 0.2,
        in_timm: InTimm::No,
    }
}

/// Each with the name of the layer that it follows.
pub fn auxiliary(classes: u64) -> Vec<(&'static str, Layer)> {
    let head = |name: &str, channels| {
        let layers = vec![
            Layer::new("avgpool", Op::AdaptiveAvgPool2d { side: 4 }),
            basic("conv", Conv2d::new(channels, 128, 1)),
            Layer::new("flatten", Op::Flatten),
            Layer::new("fc1", Op::Linear(Linear::new(128 * 4 * 4, 1024))),
            Layer::activation("relu", Activation::Relu),
            Layer::new("dropout", Op::Dropout { probability: 0.7 }),
            Layer::new("fc2", Op::Linear(Linear::new(1024, classes))),
        ];
        Layer::sequence(name, layers)
    };
    vec![
        ("inception4a", head("aux1", 512)),
        ("inception4d", head("aux2", 528)),
    ]
}

/// torchvision's `BasicConv2d`.
pub fn basic(name: impl Into<String>, design: Conv2d) -> Layer {
    let layers = vec![
        conv("conv", design),
        NORM.layer("bn", design.to),
        Layer::activation("relu", Activation::Relu),
    ];
    Layer::sequence(name, layers)
}

fn largest(name: &str, side: u64) -> Layer {
    let pool = Pool {
        ceil: true,
        ..pool(side, 2)
    };
    Layer::new(name, Op::MaxPool2d(pool))
}

fn inception(name: &str, from: u64, sizes: [u64; 6]) -> Layer {
    let [first, narrow, second, narrower, third, fourth] = sizes;
    let widest = Pool {
        padding: 1,
        ceil: true,
        ..pool(3, 1)
    };
    let two = |name: &str, inner, to| {
        let narrow = basic("0", Conv2d::new(from, inner, 1));
        Layer::sequence(name, vec![narrow, basic("1", Conv2d::new(inner, to, 3))])
    };
    let pooled = vec![
        Layer::new("0", Op::MaxPool2d(widest)),
        basic("1", Conv2d::new(from, fourth, 1)),
    ];
    let branches = vec![
        basic("branch1", Conv2d::new(from, first, 1)),
        two("branch2", narrow, second),
        // 3×3 and not 5×5, as in torchvision.
        two("branch3", narrower, third),
        Layer::sequence("branch4", pooled),
    ];
    Layer::sequence(name, vec![Layer::new("concat", Op::Concat(branches))])
}
