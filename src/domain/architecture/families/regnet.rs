//! RegNetY (Radosavovic et al. 2020), with torchvision's names and timm's.

use super::{
    blocks::{Norm, conv_norm, global_pooling, squeeze_excitation},
    timm_names::{Names, within},
};
use crate::domain::architecture::{
    Stage,
    layer::{Activation, Conv2d, Layer, Op},
    network::{InTimm, NetworkDesign},
};

const STEM: u64 = 32;
const NORM: Norm = Norm::TORCH;
/// timm's `ConvNormAct`
const IN_TIMM: Names = ["conv", "bn"];

/// Stages of so many blocks and channels; the 3×3 convolutions have groups of `group_width` channels.
pub fn y(blocks: [u64; 4], widths: [u64; 4], group_width: u64) -> NetworkDesign {
    let relu = Some(Activation::Relu);
    let stem = conv_norm("stem", Conv2d::new(3, STEM, 3).strided(2), NORM, relu);
    let mut stages = vec![(Stage::STEM, vec![within(stem, "stem", &IN_TIMM)])];
    let mut channels = STEM;
    for ((number, count), width) in (1..).zip(blocks).zip(widths) {
        let mut layers = Vec::new();
        for index in 0..count {
            let stride = if index == 0 { 2 } else { 1 };
            let block = block([channels, width], stride, group_width);
            let block = Layer::sequence(format!("block{number}-{index}"), block);
            layers.push(block.in_timm(format!("b{}", index + 1)));
            channels = width;
        }
        let layers = Layer::sequence(format!("block{number}"), layers).in_timm(format!("s{number}"));
        let layers = Layer::sequence("trunk_output", vec![layers]).in_timm("");
        stages.push((Stage::block(number), vec![layers]));
    }
    NetworkDesign {
        stages,
        pooling: global_pooling(),
        head: "fc",
        native_size: 224,
        dropout: 0.0,
        in_timm: InTimm::renamed("head.fc"),
    }
}

fn block([from, to]: [u64; 2], stride: u64, group_width: u64) -> Vec<Layer> {
    let relu = Some(Activation::Relu);
    let grouped = Conv2d::new(to, to, 3).strided(stride).grouped(to / group_width);
    let squeezed = from / 4;
    let step = |name: &str, design, activation, in_timm: &str| {
        within(conv_norm(name, design, NORM, activation), in_timm, &IN_TIMM)
    };
    let gate = [Activation::Relu, Activation::Sigmoid];
    let branch = vec![
        step("a", Conv2d::new(from, to, 1), relu, "conv1"),
        step("b", grouped, relu, "conv2"),
        squeeze_excitation("se", [to, squeezed], gate, ["fc1", "fc2"]),
        step("c", Conv2d::new(to, to, 1), None, "conv3"),
    ];
    let branch = Layer::sequence("f", branch).in_timm("");
    let shortcut = if from == to && stride == 1 {
        Layer::identity()
    } else {
        let project = Conv2d::new(from, to, 1).strided(stride);
        step("proj", project, None, "downsample")
    };
    vec![
        Layer::new("add", Op::Sum(vec![branch, shortcut])),
        Layer::activation("activation", Activation::Relu),
    ]
}
