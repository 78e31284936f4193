//! Swin transformers (Liu et al. 2021): Tiny, Small and Base for windows of 7 × 7 patches, with torchvision's names and timm's.
//!
//! Like torchvision's, they take images of any size: maps are padded until the windows cover them. timm's compute the same only where no
//! padding is needed.

use super::blocks::conv;
use crate::domain::architecture::{
    Stage,
    init::Init,
    layer::{Activation, Channels, Conv2d, Layer, LayerNorm, Linear, Op},
    network::{InTimm, NetworkDesign},
    windows::WindowAttention,
};

const PATCH: u64 = 4;
const WINDOW: u64 = 7;
const EXPANSION: u64 = 4;
const EPSILON: f64 = 1e-5;
const INIT: Init = Init::Normal(0.02);

/// Width and heads of the first blocks (after each merging of patches there are twice as many), blocks between mergings, and the
/// probability with which a branch of the last block is left out in training; that of the first is 0.
pub fn swin(width: u64, heads: u64, blocks: [u8; 4], drop_probability: f64) -> NetworkDesign {
    let all: u8 = blocks.iter().sum();
    let mut number = 0;
    let patches = Conv2d::new(3, width, PATCH).strided(PATCH).padded(0).biased();
    let stem = vec![
        conv("0", patches).in_timm("proj"),
        norm("2", width).in_timm("norm"),
    ];
    let stem = Layer::sequence("0", stem).in_timm("patch_embed");
    let mut stages = vec![(Stage::STEM, vec![below_features(vec![stem])])];
    for (index, count) in blocks.into_iter().enumerate() {
        let (width, heads) = (width << index, heads << index);
        for place in 0..count {
            let mut layers = Vec::new();
            if index > 0 && place == 0 {
                let merging = Layer::sequence((2 * index).to_string(), merging(width / 2));
                layers.push(merging.in_timm(format!("layers.{index}.downsample")));
            }
            let attention = WindowAttention {
                features: width,
                heads,
                window: WINDOW,
                // Every second block, so that what is in different windows meets.
                shift: u64::from(place % 2) * (WINDOW / 2),
                init: INIT,
                has_positions: true,
            };
            let probability = drop_probability * f64::from(number) / f64::from(all - 1);
            let block = Layer::sequence(place.to_string(), block(attention, probability));
            let blocks = Layer::sequence((2 * index + 1).to_string(), vec![block]);
            layers.push(blocks.in_timm(format!("layers.{index}.blocks")));
            number += 1;
            stages.push((Stage::block(number), vec![below_features(layers)]));
        }
    }
    NetworkDesign {
        stages,
        pooling: vec![
            norm("norm", width << 3),
            Layer::new("avgpool", Op::AdaptiveAvgPool2d { side: 1 }),
            Layer::new("flat", Op::Flatten),
        ],
        head: "head",
        native_size: 224,
        dropout: 0.0,
        in_timm: InTimm::renamed("head.fc"),
    }
}

fn below_features(layers: Vec<Layer>) -> Layer {
    Layer::sequence("features", layers).in_timm("")
}

/// Four neighbouring patches become one that is twice as wide.
fn merging(width: u64) -> Vec<Layer> {
    let reduction = Linear {
        bias: false,
        ..linear(4 * width, 2 * width)
    };
    vec![
        Layer::new("merge", Op::MergePatches),
        norm("norm", 4 * width),
        Layer::new("reduction", Op::Linear(reduction)),
    ]
}

fn block(attention: WindowAttention, drop_probability: f64) -> Vec<Layer> {
    let width = attention.features;
    let inner = EXPANSION * width;
    let mlp = vec![
        Layer::new("0", Op::Linear(linear(width, inner))).in_timm("fc1"),
        Layer::activation("1", Activation::Gelu),
        Layer::new("3", Op::Linear(linear(inner, width))).in_timm("fc2"),
    ];
    let attended = vec![
        norm("norm1", width),
        Layer::new("attn", Op::WindowAttention(attention)),
    ];
    let widened = vec![norm("norm2", width), Layer::sequence("mlp", mlp)];
    vec![
        added(1, attended, drop_probability),
        added(2, widened, drop_probability),
    ]
}

/// The sum of a branch of the block, of this number, and of what comes in. Each branch is left out by a draw of its own.
fn added(number: u8, mut branch: Vec<Layer>, probability: f64) -> Layer {
    if probability > 0.0 {
        let over = Channels::Second;
        let dropped = Op::StochasticDepth { probability, over };
        branch.push(Layer::new(format!("drop_path{number}"), dropped));
    }
    let branches = vec![Layer::sequence("", branch), Layer::identity()];
    Layer::new(format!("add{number}"), Op::Sum(branches))
}

fn linear(from: u64, to: u64) -> Linear {
    Linear {
        over: Channels::Second,
        init: INIT,
        ..Linear::new(from, to)
    }
}

fn norm(name: &str, features: u64) -> Layer {
    let norm = LayerNorm {
        features,
        epsilon: EPSILON,
        over: Channels::Second,
    };
    Layer::new(name, Op::LayerNorm(norm))
}
