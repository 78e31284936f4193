//! ConvNeXt (Liu et al. 2022): Tiny, Small and Base with torchvision's names and timm's, and the smaller ones of timm with timm's.

use super::blocks::{conv, numbered, numbered_below, residual};
use crate::domain::architecture::{
    layer::{Activation, Channels, Conv2d, Layer, LayerNorm, LayerScale, Linear, Op},
    network::{InTimm, NetworkDesign},
};

const EPSILON: f64 = 1e-6;
const SCALE: f64 = 1e-6;
const EXPANSION: u64 = 4;

/// Blocks of the four stages, the width of the first (each next one is twice as wide), and the probability with which the last block is
/// left out in training; that of the first is 0.
pub fn torchvision(blocks: [u64; 4], width: u64, drop_probability: f64) -> NetworkDesign {
    let all: u64 = blocks.iter().sum();
    let mut before = 0;
    let mut stages = Vec::new();
    let stem = vec![conv("0", patches(3, width, 4)), norm("1", width)];
    for (index, count) in blocks.into_iter().enumerate() {
        let width = width << index;
        let mut layers = Vec::new();
        if index > 0 {
            let halved = vec![norm("0", width / 2), conv("1", patches(width / 2, width, 2))];
            let halved = Layer::sequence((2 * index).to_string(), halved);
            layers.push(halved.in_timm(format!("stages.{index}.downsample")));
        }
        let mut inner = Vec::new();
        for number in 0..count {
            let probability = drop_probability * before as f64 / (all - 1) as f64;
            let block = residual(branch(width), probability, Channels::Second);
            inner.push(Layer::sequence(number.to_string(), vec![block]));
            before += 1;
        }
        let inner = Layer::sequence((2 * index + 1).to_string(), inner);
        layers.push(inner.in_timm(format!("stages.{index}.blocks")));
        stages.push(layers);
    }
    let features = width << 3;
    let stem = vec![Layer::sequence("0", stem).in_timm("stem")];
    NetworkDesign {
        stages: numbered_below("features", stem, stages),
        pooling: vec![
            Layer::new("avgpool", Op::AdaptiveAvgPool2d { side: 1 }),
            Layer::sequence(
                "classifier",
                vec![norm("0", features).in_timm("norm"), Layer::new("1", Op::Flatten)],
            )
            .in_timm("head"),
        ],
        head: "classifier.2",
        native_size: 224,
        dropout: 0.0,
        in_timm: InTimm::renamed("head.fc"),
    }
}

/// As [`torchvision`], with 1×1 convolutions in the place of linear layers.
pub fn timm(blocks: [u64; 4], width: u64) -> NetworkDesign {
    let mut stages = Vec::new();
    for (index, count) in blocks.into_iter().enumerate() {
        let width = width << index;
        let mut layers = Vec::new();
        if index > 0 {
            let halved = vec![norm("0", width / 2), conv("1", patches(width / 2, width, 2))];
            layers.push(Layer::sequence("downsample", halved));
        }
        let block = |number: u64| {
            let block = residual(timm_branch(width), 0.0, Channels::Second);
            Layer::sequence(number.to_string(), vec![block])
        };
        layers.push(Layer::sequence("blocks", (0..count).map(block).collect()));
        stages.push(vec![Layer::sequence(index.to_string(), layers)]);
    }
    let stem = vec![conv("0", patches(3, width, 4)), norm("1", width)];
    let last = vec![norm("norm", width << 3), Layer::new("flatten", Op::Flatten)];
    NetworkDesign {
        stages: numbered(vec![Layer::sequence("stem", stem)], "stages", stages),
        pooling: vec![
            Layer::new("avgpool", Op::AdaptiveAvgPool2d { side: 1 }),
            Layer::sequence("head", last),
        ],
        head: "head.fc",
        native_size: 224,
        dropout: 0.0,
        in_timm: InTimm::Same,
    }
}

/// Squares of `side × side` that do not overlap.
fn patches(from: u64, to: u64, side: u64) -> Conv2d {
    Conv2d::new(from, to, side).strided(side).padded(0).biased()
}

fn depthwise(width: u64) -> Conv2d {
    Conv2d::new(width, width, 7).grouped(width).biased()
}

fn norm(name: &str, features: u64) -> Layer {
    let norm = LayerNorm {
        features,
        epsilon: EPSILON,
        over: Channels::Second,
    };
    Layer::new(name, Op::LayerNorm(norm))
}

fn scale(name: &str, features: u64, is_map: bool) -> Layer {
    let scale = LayerScale {
        features,
        initial: SCALE,
        over: Channels::Second,
        is_map,
    };
    Layer::new(name, Op::LayerScale(scale))
}

fn branch(width: u64) -> Layer {
    let linear = |name: &str, from, to| {
        let linear = Linear {
            over: Channels::Second,
            ..Linear::new(from, to)
        };
        Layer::new(name, Op::Linear(linear))
    };
    let layers = vec![
        conv("0", depthwise(width)).in_timm("conv_dw"),
        norm("2", width).in_timm("norm"),
        linear("3", width, EXPANSION * width).in_timm("mlp.fc1"),
        Layer::activation("4", Activation::Gelu),
        linear("5", EXPANSION * width, width).in_timm("mlp.fc2"),
    ];
    let layers = vec![
        Layer::sequence("block", layers).in_timm(""),
        scale("layer_scale", width, true).in_timm("gamma"),
    ];
    Layer::sequence("", layers)
}

fn timm_branch(width: u64) -> Layer {
    let inner = EXPANSION * width;
    let mlp = vec![
        conv("fc1", Conv2d::new(width, inner, 1).biased()),
        Layer::activation("act", Activation::Gelu),
        conv("fc2", Conv2d::new(inner, width, 1).biased()),
    ];
    let layers = vec![
        conv("conv_dw", depthwise(width)),
        norm("norm", width),
        Layer::sequence("mlp", mlp),
        scale("gamma", width, false),
    ];
    Layer::sequence("", layers)
}
