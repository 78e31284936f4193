//! MobileNetV3 (Howard et al. 2019), with torchvision's names and timm's.

use super::{
    blocks::{Norm, conv_norm, numbered_below, residual, squeeze_excitation, to_multiple_of_8},
    timm_names::{SQUEEZE, STEM, apart, inverted, within},
};
use crate::domain::architecture::{
    layer::{Activation, Channels, Conv2d, Layer, Linear, Op},
    network::{InTimm, NetworkDesign},
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
    // timm's begin where the width changes.
    let (mut stage_in_timm, mut index) = (0, 0);
    for (place, block) in (1..).zip(blocks) {
        if place > 1 && block.to != block.from {
            (stage_in_timm, index) = (stage_in_timm + 1, 0);
        }
        if stages.is_empty() || block.stride > 1 {
            stages.push(Vec::new());
        }
        let layers = Layer::sequence(place.to_string(), vec![block.layer()]);
        let layers = layers.in_timm(format!("blocks.{stage_in_timm}.{index}"));
        stages.last_mut().expect("there is one").push(layers);
        index += 1;
    }
    let channels = blocks.last().map_or(0, |block| block.to);
    let (place, last) = (blocks.len() + 1, 6 * channels);
    let swish = Some(SWISH);
    let widened = conv_norm(place.to_string(), Conv2d::new(channels, last, 1), NORM, swish);
    let in_timm = format!("blocks.{}.0", stage_in_timm + 1);
    stages.push(vec![within(widened, &in_timm, &["conv", "bn1"])]);
    let first = conv_norm("0", Conv2d::new(3, 16, 3).strided(2), NORM, swish);
    let wide = Linear {
        side_in_timm: Some(1),
        ..Linear::new(last, hidden)
    };
    NetworkDesign {
        stages: numbered_below("features", vec![apart(first, &STEM)], stages),
        pooling: vec![
            Layer::new("avgpool", Op::AdaptiveAvgPool2d { side: 1 }),
            Layer::new("flat", Op::Flatten),
            Layer::sequence(
                "classifier",
                vec![
                    Layer::new("0", Op::Linear(wide)).in_timm("conv_head"),
                    Layer::activation("1", SWISH),
                ],
            )
            .in_timm(""),
        ],
        head: "classifier.3",
        native_size: 224,
        dropout: 0.2,
        in_timm: InTimm::Renamed {
            head: "classifier",
            epsilon: Some(Norm::TORCH.epsilon),
        },
    }
}

impl Block {
    fn layer(&self) -> Layer {
        let mut layers = Vec::new();
        let add = |layers: &mut Vec<Layer>, conv: Conv2d, activation, in_timm| {
            let step = conv_norm(layers.len().to_string(), conv, NORM, activation);
            layers.push(apart(step, in_timm));
        };
        let activation = Some(self.activation);
        let expands = self.inner != self.from;
        let [expand, depthwise, project] = inverted(expands);
        if expands {
            let wider = Conv2d::new(self.from, self.inner, 1);
            add(&mut layers, wider, activation, &expand);
        }
        let each = Conv2d::new(self.inner, self.inner, self.kernel).strided(self.stride);
        add(&mut layers, each.grouped(self.inner), activation, &depthwise);
        if self.squeezes {
            let squeezed = to_multiple_of_8((self.inner / 4) as f64);
            let gate = [Activation::Relu, Activation::HardSigmoid];
            let name = layers.len().to_string();
            layers.push(squeeze_excitation(&name, [self.inner, squeezed], gate, SQUEEZE));
        }
        let narrow = Conv2d::new(self.inner, self.to, 1);
        add(&mut layers, narrow, None, &project);
        let branch = Layer::sequence("block", layers).in_timm("");
        if self.stride == 1 && self.from == self.to {
            residual(branch, 0.0, Channels::Second)
        } else {
            branch
        }
    }
}
