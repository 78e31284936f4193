//! MobileNetV2 (Sandler et al. 2018) and MNASNet (Tan et al. 2019), with torchvision's names.

use super::blocks::{Norm, conv, conv_norm, global_pooling, numbered, residual, to_multiple_of_8};
use crate::domain::architecture::{
    layer::{Activation, Channels, Conv2d, Layer},
    network::NetworkDesign,
};

/// A row of a paper's table: several inverted residual blocks, of which the first has the stride.
struct Row {
    expansion: u64,
    kernel: u64,
    stride: u64,
    to: u64,
    blocks: u64,
}

const fn row(expansion: u64, kernel: u64, stride: u64, to: u64, blocks: u64) -> Row {
    Row {
        expansion,
        kernel,
        stride,
        to,
        blocks,
    }
}

/// Table 2 of Sandler et al. 2018.
const MOBILENET_V2: [Row; 7] = [
    row(1, 3, 1, 16, 1),
    row(6, 3, 2, 24, 2),
    row(6, 3, 2, 32, 3),
    row(6, 3, 2, 64, 4),
    row(6, 3, 1, 96, 3),
    row(6, 3, 2, 160, 3),
    row(6, 3, 1, 320, 1),
];

pub fn mobilenet_v2() -> NetworkDesign {
    let (norm, relu6) = (Norm::TORCH, Some(Activation::Relu6));
    let (mut channels, mut place) = (32, 1);
    let stem = conv_norm("0", Conv2d::new(3, channels, 3).strided(2), norm, relu6);
    let mut stages = Vec::new();
    for row in MOBILENET_V2 {
        let mut blocks = Vec::new();
        for index in 0..row.blocks {
            let stride = if index == 0 { row.stride } else { 1 };
            let block = inverted(&row, channels, stride);
            blocks.push(Layer::sequence(place.to_string(), vec![block]));
            (channels, place) = (row.to, place + 1);
        }
        stages.push(blocks);
    }
    let last = Conv2d::new(channels, 1280, 1);
    stages.push(vec![conv_norm(place.to_string(), last, norm, relu6)]);
    NetworkDesign {
        stages: numbered(vec![Layer::sequence("features", vec![stem])], "features", stages),
        pooling: global_pooling(),
        head: "classifier.1",
        native_size: 224,
        dropout: 0.2,
        in_timm: false,
    }
}

/// Without the first convolution where nothing is expanded.
fn inverted(row: &Row, from: u64, stride: u64) -> Layer {
    let (norm, relu6) = (Norm::TORCH, Some(Activation::Relu6));
    let inner = from * row.expansion;
    let mut layers = Vec::new();
    if row.expansion > 1 {
        layers.push(conv_norm("0", Conv2d::new(from, inner, 1), norm, relu6));
    }
    let each = Conv2d::new(inner, inner, row.kernel)
        .strided(stride)
        .grouped(inner);
    layers.push(conv_norm(layers.len().to_string(), each, norm, relu6));
    layers.push(conv(layers.len().to_string(), Conv2d::new(inner, row.to, 1)));
    layers.push(norm.layer(layers.len().to_string(), row.to));
    let branch = Layer::sequence("conv", layers);
    if stride == 1 && from == row.to {
        residual(branch, 0.0, Channels::Second)
    } else {
        branch
    }
}

/// Figure 7 of Tan et al. 2019, the network without squeeze and excitation.
const MNASNET: [Row; 6] = [
    row(3, 3, 2, 24, 3),
    row(3, 5, 2, 40, 3),
    row(6, 5, 2, 80, 3),
    row(6, 3, 1, 96, 2),
    row(6, 5, 2, 192, 4),
    row(6, 3, 1, 320, 1),
];
const MNASNET_NORM: Norm = Norm {
    epsilon: 1e-5,
    momentum: 0.0003,
};

/// So many times as wide.
pub fn mnasnet(width: f64) -> NetworkDesign {
    let scaled = |channels: u64| to_multiple_of_8(channels as f64 * width);
    let (stem, mut channels) = (scaled(32), scaled(16));
    let mut first = flat(0, Conv2d::new(3, stem, 3).strided(2), true);
    first.extend(flat(3, Conv2d::new(stem, stem, 3).grouped(stem), true));
    first.extend(flat(6, Conv2d::new(stem, channels, 1), false));
    let mut stages = Vec::new();
    for (place, row) in (8..).zip(MNASNET) {
        let to = scaled(row.to);
        let mut blocks = Vec::new();
        for index in 0..row.blocks {
            let stride = if index == 0 { row.stride } else { 1 };
            let block = expanded(&Row { to, ..row }, channels, stride);
            blocks.push(Layer::sequence(index.to_string(), vec![block]));
            channels = to;
        }
        stages.push(vec![Layer::sequence(place.to_string(), blocks)]);
    }
    stages.push(flat(14, Conv2d::new(channels, 1280, 1), true));
    NetworkDesign {
        stages: numbered(vec![Layer::sequence("layers", first)], "layers", stages),
        pooling: global_pooling(),
        head: "classifier.1",
        native_size: 224,
        dropout: 0.2,
        in_timm: false,
    }
}

/// A convolution, its BatchNorm and a ReLU, numbered from `first`.
fn flat(first: u64, design: Conv2d, activated: bool) -> Vec<Layer> {
    let norm = MNASNET_NORM.layer((first + 1).to_string(), design.to);
    let mut layers = vec![conv(first.to_string(), design), norm];
    if activated {
        layers.push(Layer::activation((first + 2).to_string(), Activation::Relu));
    }
    layers
}

fn expanded(row: &Row, from: u64, stride: u64) -> Layer {
    let inner = from * row.expansion;
    let each = Conv2d::new(inner, inner, row.kernel)
        .strided(stride)
        .grouped(inner);
    let mut layers = flat(0, Conv2d::new(from, inner, 1), true);
    layers.extend(flat(3, each, true));
    layers.extend(flat(6, Conv2d::new(inner, row.to, 1), false));
    let branch = Layer::sequence("layers", layers);
    if stride == 1 && from == row.to {
        residual(branch, 0.0, Channels::Second)
    } else {
        branch
    }
}
