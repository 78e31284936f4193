//! MobileNetV2 (Sandler et al. 2018) and MNASNet (Tan et al. 2019), with torchvision's names and timm's.

use super::{
    blocks::{Norm, conv, conv_norm, global_pooling, numbered_below, residual, to_multiple_of_8},
    timm_names::{LAST, Names, STEM, apart, inverted as names_of},
};
use crate::domain::architecture::{
    layer::{Activation, Channels, Conv2d, Layer},
    network::{InTimm, NetworkDesign},
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
    for (stage, row) in MOBILENET_V2.into_iter().enumerate() {
        let mut blocks = Vec::new();
        for index in 0..row.blocks {
            let stride = if index == 0 { row.stride } else { 1 };
            let block = inverted(&row, channels, stride);
            let in_timm = format!("blocks.{stage}.{index}");
            blocks.push(Layer::sequence(place.to_string(), vec![block]).in_timm(in_timm));
            (channels, place) = (row.to, place + 1);
        }
        stages.push(blocks);
    }
    let last = conv_norm(place.to_string(), Conv2d::new(channels, 1280, 1), norm, relu6);
    stages.push(vec![apart(last, &LAST)]);
    NetworkDesign {
        stages: numbered_below("features", vec![apart(stem, &STEM)], stages),
        pooling: global_pooling(),
        head: "classifier.1",
        native_size: 224,
        dropout: 0.2,
        in_timm: InTimm::renamed("classifier"),
    }
}

/// Without the first convolution where nothing is expanded.
fn inverted(row: &Row, from: u64, stride: u64) -> Layer {
    let (norm, relu6) = (Norm::TORCH, Some(Activation::Relu6));
    let inner = from * row.expansion;
    let [expand, depthwise, project] = names_of(row.expansion > 1);
    let mut layers = Vec::new();
    if row.expansion > 1 {
        let first = conv_norm("0", Conv2d::new(from, inner, 1), norm, relu6);
        layers.push(apart(first, &expand));
    }
    let each = Conv2d::new(inner, inner, row.kernel)
        .strided(stride)
        .grouped(inner);
    let each = conv_norm(layers.len().to_string(), each, norm, relu6);
    layers.push(apart(each, &depthwise));
    let [last, last_norm] = project;
    let number = layers.len();
    layers.push(conv(number.to_string(), Conv2d::new(inner, row.to, 1)).in_timm(last));
    layers.push(norm.layer((number + 1).to_string(), row.to).in_timm(last_norm));
    let branch = Layer::sequence("conv", layers).in_timm("");
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
    let mut first = flat(0, Conv2d::new(3, stem, 3).strided(2), true, STEM);
    let each = Conv2d::new(stem, stem, 3).grouped(stem);
    first.extend(flat(3, each, true, ["blocks.0.0.conv_dw", "blocks.0.0.bn1"]));
    let project = Conv2d::new(stem, channels, 1);
    first.extend(flat(6, project, false, ["blocks.0.0.conv_pw", "blocks.0.0.bn2"]));
    let mut stages = Vec::new();
    for (stage, row) in (1..).zip(MNASNET) {
        let to = scaled(row.to);
        let mut blocks = Vec::new();
        for index in 0..row.blocks {
            let stride = if index == 0 { row.stride } else { 1 };
            let block = expanded(&Row { to, ..row }, channels, stride);
            blocks.push(Layer::sequence(index.to_string(), vec![block]));
            channels = to;
        }
        let blocks = Layer::sequence((7 + stage).to_string(), blocks);
        stages.push(vec![blocks.in_timm(format!("blocks.{stage}"))]);
    }
    stages.push(flat(14, Conv2d::new(channels, 1280, 1), true, LAST));
    NetworkDesign {
        stages: numbered_below("layers", first, stages),
        pooling: global_pooling(),
        head: "classifier.1",
        native_size: 224,
        dropout: 0.2,
        // timm's widest is 1.4.
        in_timm: match width <= 1.0 {
            true => InTimm::renamed("classifier"),
            false => InTimm::No,
        },
    }
}

/// A convolution, its BatchNorm and a ReLU, numbered from `first`.
fn flat(first: u64, design: Conv2d, activated: bool, [in_timm, norm_in_timm]: Names) -> Vec<Layer> {
    let norm = MNASNET_NORM.layer((first + 1).to_string(), design.to);
    let mut layers = vec![
        conv(first.to_string(), design).in_timm(in_timm),
        norm.in_timm(norm_in_timm),
    ];
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
    let [expand, depthwise, project] = names_of(true);
    let mut layers = flat(0, Conv2d::new(from, inner, 1), true, expand);
    layers.extend(flat(3, each, true, depthwise));
    layers.extend(flat(6, Conv2d::new(inner, row.to, 1), false, project));
    let branch = Layer::sequence("layers", layers).in_timm("");
    if stride == 1 && from == row.to {
        residual(branch, 0.0, Channels::Second)
    } else {
        branch
    }
}
