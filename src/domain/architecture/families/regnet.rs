//! RegNetY (Radosavovic et al. 2020), with torchvision's names.

use super::blocks::{Norm, conv_norm, global_pooling, squeeze_excitation};
use crate::domain::architecture::{
    Stage,
    layer::{Activation, Conv2d, Layer, Op},
    network::NetworkDesign,
};

const STEM: u64 = 32;
const NORM: Norm = Norm::TORCH;

/// Stages of so many blocks and channels; the 3×3 convolutions have groups of `group_width` channels.
pub fn y(blocks: [u64; 4], widths: [u64; 4], group_width: u64) -> NetworkDesign {
    let relu = Some(Activation::Relu);
    let stem = conv_norm("stem", Conv2d::new(3, STEM, 3).strided(2), NORM, relu);
    let mut stages = vec![(Stage::STEM, vec![stem])];
    let mut channels = STEM;
    for ((number, count), width) in (1..).zip(blocks).zip(widths) {
        let mut layers = Vec::new();
        for index in 0..count {
            let stride = if index == 0 { 2 } else { 1 };
            let block = block([channels, width], stride, group_width);
            layers.push(Layer::sequence(format!("block{number}-{index}"), block));
            channels = width;
        }
        let layers = vec![Layer::sequence(format!("block{number}"), layers)];
        stages.push((
            Stage::block(number),
            vec![Layer::sequence("trunk_output", layers)],
        ));
    }
    NetworkDesign {
        stages,
        pooling: global_pooling(),
        head: "fc",
        native_size: 224,
        dropout: 0.0,
        in_timm: false,
    }
}

fn block([from, to]: [u64; 2], stride: u64, group_width: u64) -> Vec<Layer> {
    let relu = Some(Activation::Relu);
    let grouped = Conv2d::new(to, to, 3).strided(stride).grouped(to / group_width);
    let squeezed = from / 4;
    let branch = vec![
        conv_norm("a", Conv2d::new(from, to, 1), NORM, relu),
        conv_norm("b", grouped, NORM, relu),
        squeeze_excitation("se", to, squeezed, [Activation::Relu, Activation::Sigmoid]),
        conv_norm("c", Conv2d::new(to, to, 1), NORM, None),
    ];
    let shortcut = if from == to && stride == 1 {
        Layer::identity()
    } else {
        conv_norm("proj", Conv2d::new(from, to, 1).strided(stride), NORM, None)
    };
    vec![
        Layer::new("add", Op::Sum(vec![Layer::sequence("f", branch), shortcut])),
        Layer::activation("activation", Activation::Relu),
    ]
}
