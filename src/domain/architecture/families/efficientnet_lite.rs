//! EfficientNet-Lite 0 to 4: EfficientNets for mobile processors, without squeeze and excitation and with ReLU6 (Google 2020,
//! `tensorflow/tpu`, `efficientnet/lite`), with timm's names. Convolutions are padded as in TensorFlow.

use super::blocks::{Norm, conv, global_pooling, numbered, residual, scaled_depth, to_multiple_of_8};
use crate::domain::architecture::{
    layer::{Activation, Channels, Conv2d, Layer},
    network::{InTimm, NetworkDesign},
};

/// Several blocks, of which the first has the stride: its kernel, its stride, its output channels, the number of blocks.
const ROWS: [(u64, u64, u64, u64); 7] = [
    (3, 1, 16, 1),
    (3, 2, 24, 2),
    (5, 2, 40, 2),
    (3, 2, 80, 3),
    (5, 1, 112, 3),
    (5, 2, 192, 4),
    (3, 1, 320, 1),
];
const EXPANSION: u64 = 6;
const STEM: u64 = 32;
const LAST: u64 = 1280;
const NORM: Norm = Norm::TENSORFLOW;

/// So many times as wide and as deep as EfficientNet-Lite0; the first convolution, the last one, and the number of blocks of the first and
/// last stage are the same in all.
pub fn lite(width: f64, depth: f64, native_size: u32, dropout: f64) -> NetworkDesign {
    let mut channels = STEM;
    let mut stages = Vec::new();
    for (index, (kernel, stride, to, blocks)) in ROWS.into_iter().enumerate() {
        let to = to_multiple_of_8(to as f64 * width);
        let is_outer = index == 0 || index + 1 == ROWS.len();
        let blocks = if is_outer {
            blocks
        } else {
            scaled_depth(blocks, depth)
        };
        let mut layers = Vec::new();
        for number in 0..blocks {
            let stride = if number == 0 { stride } else { 1 };
            let expansion = if index == 0 { 1 } else { EXPANSION };
            let block = block(channels, to, expansion, kernel, stride);
            layers.push(Layer::sequence(number.to_string(), vec![block]));
            channels = to;
        }
        stages.push(vec![Layer::sequence(index.to_string(), layers)]);
    }
    let mut stages = numbered(
        step("conv_stem", "bn1", Conv2d::new(3, STEM, 3).strided(2).same()),
        "blocks",
        stages,
    );
    if let Some((_, layers)) = stages.last_mut() {
        layers.extend(step("conv_head", "bn2", Conv2d::new(channels, LAST, 1)));
    }
    NetworkDesign {
        stages,
        pooling: global_pooling(),
        head: "classifier",
        native_size,
        dropout,
        in_timm: InTimm::Same,
    }
}

/// A convolution, BatchNorm and ReLU6.
fn step(name: &str, norm: &str, design: Conv2d) -> Vec<Layer> {
    vec![
        conv(name, design),
        NORM.layer(norm, design.to),
        Layer::activation(format!("{norm}.act"), Activation::Relu6),
    ]
}

/// An inverted residual block (Sandler et al. 2018); without its first convolution where nothing is expanded.
fn block(from: u64, to: u64, expansion: u64, kernel: u64, stride: u64) -> Layer {
    let inner = from * expansion;
    let each = Conv2d::new(inner, inner, kernel)
        .strided(stride)
        .grouped(inner)
        .same();
    let project = Conv2d::new(inner, to, 1);
    let mut layers = Vec::new();
    if expansion == 1 {
        layers.extend(step("conv_dw", "bn1", each));
        layers.extend([conv("conv_pw", project), NORM.layer("bn2", to)]);
    } else {
        layers.extend(step("conv_pw", "bn1", Conv2d::new(from, inner, 1)));
        layers.extend(step("conv_dw", "bn2", each));
        layers.extend([conv("conv_pwl", project), NORM.layer("bn3", to)]);
    }
    let branch = Layer::sequence("", layers);
    if stride == 1 && from == to {
        residual(branch, 0.0, Channels::Second)
    } else {
        branch
    }
}
