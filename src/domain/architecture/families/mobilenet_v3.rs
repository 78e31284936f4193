//! MobileNetV3 (Howard et al. 2019), with torchvision's names.

use super::blocks::{Norm, conv_norm, numbered, residual, squeeze_excitation, to_multiple_of_8};
use crate::domain::architecture::{
    layer::{Activation, Channels, Conv2d, Layer, Linear, Op},
    network::NetworkDesign,
};

/// A line of the paper's tables.
struct Block {
    from: u64,
    kernel: u64,
    inner: u64,
    to: u64,
    squeezes: bool,
    activation: Activation,
    stride: u64,
}

const RELU: Activation = Activation::Relu;
const SWISH: Activation = Activation::HardSwish;
const NORM: Norm = Norm {
    epsilon: 1e-3,
    momentum: 0.01,
};

const fn block(
    [from, kernel, inner, to]: [u64; 4],
    squeezes: bool,
    activation: Activation,
    stride: u64,
) -> Block {
    Block {
        from,
        kernel,
        inner,
        to,
        squeezes,
        activation,
        stride,
    }
}

/// Table 1.
pub fn large() -> NetworkDesign {
    let blocks = [
        block([16, 3, 16, 16], false, RELU, 1),
        block([16, 3, 64, 24], false, RELU, 2),
        block([24, 3, 72, 24], false, RELU, 1),
        block([24, 5, 72, 40], true, RELU, 2),
        block([40, 5, 120, 40], true, RELU, 1),
        block([40, 5, 120, 40], true, RELU, 1),
        block([40, 3, 240, 80], false, SWISH, 2),
        block([80, 3, 200, 80], false, SWISH, 1),
        block([80, 3, 184, 80], false, SWISH, 1),
        block([80, 3, 184, 80], false, SWISH, 1),
        block([80, 3, 480, 112], true, SWISH, 1),
        block([112, 3, 672, 112], true, SWISH, 1),
        block([112, 5, 672, 160], true, SWISH, 2),
        block([160, 5, 960, 160], true, SWISH, 1),
        block([160, 5, 960, 160], true, SWISH, 1),
    ];
    design(&blocks, 1280)
}

/// Table 2.
pub fn small() -> NetworkDesign {
    let blocks = [
        block([16, 3, 16, 16], true, RELU, 2),
        block([16, 3, 72, 24], false, RELU, 2),
        block([24, 3, 88, 24], false, RELU, 1),
        block([24, 5, 96, 40], true, SWISH, 2),
        block([40, 5, 240, 40], true, SWISH, 1),
        block([40, 5, 240, 40], true, SWISH, 1),
        block([40, 5, 120, 48], true, SWISH, 1),
        block([48, 5, 144, 48], true, SWISH, 1),
        block([48, 5, 288, 96], true, SWISH, 2),
        block([96, 5, 576, 96], true, SWISH, 1),
        block([96, 5, 576, 96], true, SWISH, 1),
    ];
    design(&blocks, 1024)
}

/// A stage begins with each block that has a stride; the last convolution is a stage of its own.
fn design(blocks: &[Block], hidden: u64) -> NetworkDesign {
    let mut stages: Vec<Vec<Layer>> = Vec::new();
    for (place, block) in (1..).zip(blocks) {
        if stages.is_empty() || block.stride > 1 {
            stages.push(Vec::new());
        }
        let layers = Layer::sequence(place.to_string(), vec![block.layer()]);
        stages.last_mut().expect("there is one").push(layers);
    }
    let channels = blocks.last().map_or(0, |block| block.to);
    let (place, last) = (blocks.len() + 1, 6 * channels);
    let swish = Some(SWISH);
    stages.push(vec![conv_norm(
        place.to_string(),
        Conv2d::new(channels, last, 1),
        NORM,
        swish,
    )]);
    let first = conv_norm("0", Conv2d::new(3, 16, 3).strided(2), NORM, swish);
    NetworkDesign {
        stages: numbered(vec![Layer::sequence("features", vec![first])], "features", stages),
        pooling: vec![
            Layer::new("avgpool", Op::AdaptiveAvgPool2d { side: 1 }),
            Layer::new("flat", Op::Flatten),
            Layer::sequence(
                "classifier",
                vec![
                    Layer::new("0", Op::Linear(Linear::new(last, hidden))),
                    Layer::activation("1", SWISH),
                ],
            ),
        ],
        head: "classifier.3",
        native_size: 224,
        dropout: 0.2,
        in_timm: false,
    }
}

impl Block {
    fn layer(&self) -> Layer {
        let mut layers = Vec::new();
        let mut add = |conv: Conv2d, activation| {
            layers.push(conv_norm(layers.len().to_string(), conv, NORM, activation));
        };
        let activation = Some(self.activation);
        if self.inner != self.from {
            add(Conv2d::new(self.from, self.inner, 1), activation);
        }
        let each = Conv2d::new(self.inner, self.inner, self.kernel);
        add(each.strided(self.stride).grouped(self.inner), activation);
        if self.squeezes {
            let squeezed = to_multiple_of_8((self.inner / 4) as f64);
            let gate = [Activation::Relu, Activation::HardSigmoid];
            let name = layers.len().to_string();
            layers.push(squeeze_excitation(&name, self.inner, squeezed, gate));
        }
        let project = Conv2d::new(self.inner, self.to, 1);
        layers.push(conv_norm(layers.len().to_string(), project, NORM, None));
        let branch = Layer::sequence("block", layers);
        if self.stride == 1 && self.from == self.to {
            residual(branch, 0.0, Channels::Second)
        } else {
            branch
        }
    }
}
