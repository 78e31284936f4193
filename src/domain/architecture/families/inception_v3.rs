//! Inception-v3 (Szegedy et al. 2016, "Rethinking the Inception Architecture"), with torchvision's names, which are timm's too; and its
//! auxiliary head, which only training has.

use super::{
    blocks::{global_pooling, pool},
    googlenet::basic,
};
use crate::domain::architecture::{
    Stage,
    layer::{Conv2d, Layer, Linear, Op, Pool},
    network::{InTimm, NetworkDesign},
};

pub fn inception_v3() -> NetworkDesign {
    let stem = vec![
        basic("Conv2d_1a_3x3", Conv2d::new(3, 32, 3).strided(2).padded(0)),
        basic("Conv2d_2a_3x3", Conv2d::new(32, 32, 3).padded(0)),
        basic("Conv2d_2b_3x3", Conv2d::new(32, 64, 3)),
        Layer::new("maxpool1", Op::MaxPool2d(pool(3, 2))),
        basic("Conv2d_3b_1x1", Conv2d::new(64, 80, 1)),
        basic("Conv2d_4a_3x3", Conv2d::new(80, 192, 3).padded(0)),
        Layer::new("maxpool2", Op::MaxPool2d(pool(3, 2))),
    ];
    let first = vec![
        a("Mixed_5b", 192, 32),
        a("Mixed_5c", 256, 64),
        a("Mixed_5d", 288, 64),
    ];
    let second = vec![
        b("Mixed_6a", 288),
        c("Mixed_6b", 128),
        c("Mixed_6c", 160),
        c("Mixed_6d", 160),
        c("Mixed_6e", 192),
    ];
    let third = vec![d("Mixed_7a"), e("Mixed_7b", 1280), e("Mixed_7c", 2048)];
    NetworkDesign {
        stages: vec![
            (Stage::STEM, stem),
            (Stage::of(1), first),
            (Stage::of(2), second),
            (Stage::of(3), third),
        ],
        pooling: global_pooling(),
        head: "fc",
        native_size: 299,
        dropout: 0.5,
        in_timm: InTimm::Same,
    }
}

/// With the name of the layer that it follows.
pub fn auxiliary(classes: u64) -> Vec<(&'static str, Layer)> {
    let mut layers = vec![
        Layer::new("avgpool", Op::AvgPool2d(pool(5, 3))),
        basic("conv0", Conv2d::new(768, 128, 1)),
        basic("conv1", Conv2d::new(128, 768, 5).padded(0)),
    ];
    layers.extend(global_pooling());
    layers.push(Layer::new("fc", Op::Linear(Linear::new(768, classes))));
    vec![("Mixed_6e", Layer::sequence("AuxLogits", layers))]
}

/// Convolutions one after another, each with its name.
fn chain<const N: usize>(convolutions: [(&str, Conv2d); N]) -> Layer {
    let layers = convolutions.map(|(name, conv)| basic(name, conv));
    Layer::sequence("", layers.to_vec())
}

fn module(name: &str, branches: Vec<Layer>) -> Layer {
    Layer::sequence(name, vec![Layer::new("concat", Op::Concat(branches))])
}

/// The mean of 3×3 windows, then a 1×1 convolution.
fn averaged(from: u64, to: u64) -> Layer {
    let window = Pool {
        padding: 1,
        ..pool(3, 1)
    };
    let layers = vec![
        Layer::new("branch_pool.avg", Op::AvgPool2d(window)),
        basic("branch_pool", Conv2d::new(from, to, 1)),
    ];
    Layer::sequence("", layers)
}

fn largest() -> Layer {
    Layer::new("branch_pool.max", Op::MaxPool2d(pool(3, 2)))
}

/// Figure 5 of the paper.
fn a(name: &str, from: u64, pooled: u64) -> Layer {
    let branches = vec![
        basic("branch1x1", Conv2d::new(from, 64, 1)),
        chain([
            ("branch5x5_1", Conv2d::new(from, 48, 1)),
            ("branch5x5_2", Conv2d::new(48, 64, 5)),
        ]),
        chain([
            ("branch3x3dbl_1", Conv2d::new(from, 64, 1)),
            ("branch3x3dbl_2", Conv2d::new(64, 96, 3)),
            ("branch3x3dbl_3", Conv2d::new(96, 96, 3)),
        ]),
        averaged(from, pooled),
    ];
    module(name, branches)
}

/// Figure 10: half as high and wide.
fn b(name: &str, from: u64) -> Layer {
    let branches = vec![
        basic("branch3x3", Conv2d::new(from, 384, 3).strided(2).padded(0)),
        chain([
            ("branch3x3dbl_1", Conv2d::new(from, 64, 1)),
            ("branch3x3dbl_2", Conv2d::new(64, 96, 3)),
            ("branch3x3dbl_3", Conv2d::new(96, 96, 3).strided(2).padded(0)),
        ]),
        largest(),
    ];
    module(name, branches)
}

/// Figure 6: 7×7 convolutions as 1×7 and 7×1.
fn c(name: &str, inner: u64) -> Layer {
    let from = 768;
    let [row, column] = [[1, 7], [7, 1]];
    let conv = |from, to, kernel| Conv2d::rectangular(from, to, kernel);
    let branches = vec![
        basic("branch1x1", Conv2d::new(from, 192, 1)),
        chain([
            ("branch7x7_1", Conv2d::new(from, inner, 1)),
            ("branch7x7_2", conv(inner, inner, row)),
            ("branch7x7_3", conv(inner, 192, column)),
        ]),
        chain([
            ("branch7x7dbl_1", Conv2d::new(from, inner, 1)),
            ("branch7x7dbl_2", conv(inner, inner, column)),
            ("branch7x7dbl_3", conv(inner, inner, row)),
            ("branch7x7dbl_4", conv(inner, inner, column)),
            ("branch7x7dbl_5", conv(inner, 192, row)),
        ]),
        averaged(from, 192),
    ];
    module(name, branches)
}

/// As [`b`], from 768 channels.
fn d(name: &str) -> Layer {
    let halved = |from, to| Conv2d::new(from, to, 3).strided(2).padded(0);
    let branches = vec![
        chain([
            ("branch3x3_1", Conv2d::new(768, 192, 1)),
            ("branch3x3_2", halved(192, 320)),
        ]),
        chain([
            ("branch7x7x3_1", Conv2d::new(768, 192, 1)),
            ("branch7x7x3_2", Conv2d::rectangular(192, 192, [1, 7])),
            ("branch7x7x3_3", Conv2d::rectangular(192, 192, [7, 1])),
            ("branch7x7x3_4", halved(192, 192)),
        ]),
        largest(),
    ];
    module(name, branches)
}

/// Figure 7: the last convolution of a branch is a 1×3 and a 3×1 side by side.
fn e(name: &str, from: u64) -> Layer {
    let split = |name: &str| {
        let convolutions = [("a", [1, 3]), ("b", [3, 1])];
        let branches = convolutions
            .map(|(letter, kernel)| basic(format!("{name}{letter}"), Conv2d::rectangular(384, 384, kernel)));
        Layer::new(format!("{name}.concat"), Op::Concat(branches.to_vec()))
    };
    let branches = vec![
        basic("branch1x1", Conv2d::new(from, 320, 1)),
        Layer::sequence(
            "",
            vec![
                basic("branch3x3_1", Conv2d::new(from, 384, 1)),
                split("branch3x3_2"),
            ],
        ),
        Layer::sequence(
            "",
            vec![
                basic("branch3x3dbl_1", Conv2d::new(from, 448, 1)),
                basic("branch3x3dbl_2", Conv2d::new(448, 384, 3)),
                split("branch3x3dbl_3"),
            ],
        ),
        averaged(from, 192),
    ];
    module(name, branches)
}
