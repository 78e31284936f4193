//! EfficientNet-B0 to B7 (Tan and Le 2019) and EfficientNetV2 (Tan and Le 2021), with torchvision's names and timm's.

use super::{
    blocks::{
        Norm, conv_norm, global_pooling, numbered_below, residual, scaled_depth, squeeze_excitation,
        to_multiple_of_8,
    },
    timm_names::{FUSED, LAST, PLAIN, SQUEEZE, STEM, apart, inverted},
};
use crate::domain::architecture::{
    layer::{Activation, Channels, Conv2d, Layer},
    network::{InTimm, NetworkDesign},
};

/// How a block expands its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expansion {
    /// 1×1, then depthwise with squeeze and excitation (MBConv; Sandler et al. 2018).
    Depthwise,
    /// One full convolution (Fused-MBConv; Tan and Le 2021).
    Fused,
}

/// A row of the papers' tables: several blocks, of which the first has the stride.
#[derive(Clone, Copy, Debug)]
struct Row {
    expansion: Expansion,
    factor: u64,
    kernel: u64,
    stride: u64,
    to: u64,
    blocks: u64,
}

const fn depthwise(factor: u64, kernel: u64, stride: u64, to: u64, blocks: u64) -> Row {
    Row {
        expansion: Expansion::Depthwise,
        factor,
        kernel,
        stride,
        to,
        blocks,
    }
}

const fn fused(factor: u64, kernel: u64, stride: u64, to: u64, blocks: u64) -> Row {
    Row {
        expansion: Expansion::Fused,
        ..depthwise(factor, kernel, stride, to, blocks)
    }
}

/// Table 1 of Tan and Le 2019.
const B0: [Row; 7] = [
    depthwise(1, 3, 1, 16, 1),
    depthwise(6, 3, 2, 24, 2),
    depthwise(6, 5, 2, 40, 2),
    depthwise(6, 3, 2, 80, 3),
    depthwise(6, 5, 1, 112, 3),
    depthwise(6, 5, 2, 192, 4),
    depthwise(6, 3, 1, 320, 1),
];

/// EfficientNet-B0 scaled: so many times as wide and as deep, for images of `native_size` pixels.
pub fn b(width: f64, depth: f64, native_size: u32, dropout: f64, norm: Norm) -> NetworkDesign {
    let rows = B0.map(|row| Row {
        to: to_multiple_of_8(row.to as f64 * width),
        blocks: scaled_depth(row.blocks, depth),
        ..row
    });
    let stem = to_multiple_of_8(32.0 * width);
    let last = 4 * rows[rows.len() - 1].to;
    design(stem, &rows, last, norm, native_size, dropout)
}

/// The constants of EfficientNet-B5 to B7 in torchvision.
pub const LARGE_NORM: Norm = Norm::TENSORFLOW;
pub const NORM: Norm = Norm::TORCH;
const V2_NORM: Norm = Norm {
    epsilon: 1e-3,
    momentum: 0.1,
};

/// Table 4 of Tan and Le 2021.
pub fn v2_s() -> NetworkDesign {
    let rows = [
        fused(1, 3, 1, 24, 2),
        fused(4, 3, 2, 48, 4),
        fused(4, 3, 2, 64, 4),
        depthwise(4, 3, 2, 128, 6),
        depthwise(6, 3, 1, 160, 9),
        depthwise(6, 3, 2, 256, 15),
    ];
    design(24, &rows, 1280, V2_NORM, 384, 0.2)
}

pub fn v2_m() -> NetworkDesign {
    let rows = [
        fused(1, 3, 1, 24, 3),
        fused(4, 3, 2, 48, 5),
        fused(4, 3, 2, 80, 5),
        depthwise(4, 3, 2, 160, 7),
        depthwise(6, 3, 1, 176, 14),
        depthwise(6, 3, 2, 304, 18),
        depthwise(6, 3, 1, 512, 5),
    ];
    design(24, &rows, 1280, V2_NORM, 480, 0.3)
}

pub fn v2_l() -> NetworkDesign {
    let rows = [
        fused(1, 3, 1, 32, 4),
        fused(4, 3, 2, 64, 7),
        fused(4, 3, 2, 96, 7),
        depthwise(4, 3, 2, 192, 10),
        depthwise(6, 3, 1, 224, 19),
        depthwise(6, 3, 2, 384, 25),
        depthwise(6, 3, 1, 640, 7),
    ];
    design(32, &rows, 1280, V2_NORM, 480, 0.4)
}

fn design(stem: u64, rows: &[Row], last: u64, norm: Norm, native_size: u32, dropout: f64) -> NetworkDesign {
    let silu = Some(Activation::Silu);
    let first = conv_norm("0", Conv2d::new(3, stem, 3).strided(2), norm, silu);
    let first = apart(first, &STEM);
    let all: u64 = rows.iter().map(|row| row.blocks).sum();
    let (mut channels, mut before) = (stem, 0);
    let mut stages = Vec::new();
    for (number, row) in (1..).zip(rows) {
        let mut blocks = Vec::new();
        for index in 0..row.blocks {
            let stride = if index == 0 { row.stride } else { 1 };
            let probability = 0.2 * before as f64 / all as f64;
            let block = row.block(channels, stride, norm, probability);
            blocks.push(Layer::sequence(index.to_string(), vec![block]));
            (channels, before) = (row.to, before + 1);
        }
        let in_timm = format!("blocks.{}", number - 1);
        stages.push(vec![Layer::sequence(number.to_string(), blocks).in_timm(in_timm)]);
    }
    let number = (rows.len() + 1).to_string();
    let last = conv_norm(number, Conv2d::new(channels, last, 1), norm, silu);
    stages.push(vec![apart(last, &LAST)]);
    NetworkDesign {
        stages: numbered_below("features", vec![first], stages),
        pooling: global_pooling(),
        head: "classifier.1",
        native_size,
        dropout,
        in_timm: InTimm::Renamed {
            head: "classifier",
            epsilon: (norm != NORM).then_some(NORM.epsilon),
        },
    }
}

impl Row {
    fn block(&self, from: u64, stride: u64, norm: Norm, drop_probability: f64) -> Layer {
        let branch = Layer::sequence("block", self.branch(from, stride, norm)).in_timm("");
        if stride == 1 && from == self.to {
            residual(branch, drop_probability, Channels::Second)
        } else {
            branch
        }
    }

    fn branch(&self, from: u64, stride: u64, norm: Norm) -> Vec<Layer> {
        let silu = Some(Activation::Silu);
        let inner = from * self.factor;
        let mut layers = Vec::new();
        let add = |layers: &mut Vec<Layer>, conv: Conv2d, activation, in_timm| {
            let step = conv_norm(layers.len().to_string(), conv, norm, activation);
            layers.push(apart(step, in_timm));
        };
        match self.expansion {
            Expansion::Fused if self.factor == 1 => {
                let only = Conv2d::new(from, self.to, self.kernel).strided(stride);
                add(&mut layers, only, silu, &PLAIN);
            }
            Expansion::Fused => {
                let [expand, project] = FUSED;
                let each = Conv2d::new(from, inner, self.kernel).strided(stride);
                add(&mut layers, each, silu, &expand);
                add(&mut layers, Conv2d::new(inner, self.to, 1), None, &project);
            }
            Expansion::Depthwise => {
                let [expand, depthwise, project] = inverted(self.factor > 1);
                if self.factor > 1 {
                    add(&mut layers, Conv2d::new(from, inner, 1), silu, &expand);
                }
                let each = Conv2d::new(inner, inner, self.kernel).strided(stride);
                add(&mut layers, each.grouped(inner), silu, &depthwise);
                let gate = [Activation::Silu, Activation::Sigmoid];
                let name = layers.len().to_string();
                let widths = [inner, (from / 4).max(1)];
                layers.push(squeeze_excitation(&name, widths, gate, SQUEEZE));
                add(&mut layers, Conv2d::new(inner, self.to, 1), None, &project);
            }
        }
        layers
    }
}
