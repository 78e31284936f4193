//! What several families build from.

use super::timm_names::Names;
use crate::domain::architecture::{
    Stage,
    layer::{Activation, BatchNorm2d, Channels, Conv2d, Layer, Op, Pool},
};

/// The constants of BatchNorm, which differ between the programs that networks come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    pub epsilon: f64,
    pub momentum: f64,
}

impl Norm {
    pub const TORCH: Norm = Norm {
        epsilon: 1e-5,
        momentum: 0.1,
    };
    pub const TENSORFLOW: Norm = Norm {
        epsilon: 1e-3,
        momentum: 0.01,
    };

    pub fn layer(self, name: impl Into<String>, channels: u64) -> Layer {
        let Norm { epsilon, momentum } = self;
        let norm = BatchNorm2d {
            channels,
            epsilon,
            momentum,
        };
        Layer::new(name, Op::BatchNorm2d(norm))
    }
}

pub fn conv(name: impl Into<String>, conv: Conv2d) -> Layer {
    Layer::new(name, Op::Conv2d(conv))
}

/// torchvision's `Conv2dNormActivation`: the convolution is `0`, the normalisation `1`, the activation `2`.
pub fn conv_norm(
    name: impl Into<String>,
    design: Conv2d,
    norm: Norm,
    activation: Option<Activation>,
) -> Layer {
    let mut layers = vec![conv("0", design), norm.layer("1", design.to)];
    layers.extend(activation.map(|activation| Layer::activation("2", activation)));
    Layer::sequence(name, layers)
}

/// Each channel multiplied by a factor that depends on the means of all of them (Hu et al. 2018, "Squeeze-and-Excitation Networks"), with
/// torchvision's names: `fc1`, `fc2` below `name`; in timm those given, below `se`.
pub fn squeeze_excitation(
    name: &str,
    [channels, squeezed]: [u64; 2],
    [activation, gate]: [Activation; 2],
    [first, second]: Names,
) -> Layer {
    let excitation = vec![
        Layer::new("avgpool", Op::AdaptiveAvgPool2d { side: 1 }),
        conv("fc1", Conv2d::new(channels, squeezed, 1).biased()).in_timm(first),
        Layer::activation("activation", activation),
        conv("fc2", Conv2d::new(squeezed, channels, 1).biased()).in_timm(second),
        Layer::activation("scale_activation", gate),
    ];
    let factors = vec![Layer::identity(), Layer::sequence(name, excitation).in_timm("se")];
    Layer::new(format!("{name}.scale"), Op::Product(factors))
}

/// A branch whose output is added to its input; the branch is left out with this probability in training (Huang et al. 2016).
pub fn residual(branch: Layer, drop_probability: f64, over: Channels) -> Layer {
    let mut layers = vec![branch];
    if drop_probability > 0.0 {
        let probability = drop_probability;
        layers.push(Layer::new("drop_path", Op::StochasticDepth { probability, over }));
    }
    Layer::new(
        "add",
        Op::Sum(vec![Layer::sequence("", layers), Layer::identity()]),
    )
}

/// The mean over all positions, as a vector.
pub fn global_pooling() -> Vec<Layer> {
    vec![
        Layer::new("avgpool", Op::AdaptiveAvgPool2d { side: 1 }),
        Layer::new("features", Op::Flatten),
    ]
}

/// A pooling without padding that takes windows of `side × side`.
pub fn pool(side: u64, stride: u64) -> Pool {
    Pool {
        side,
        stride,
        padding: 0,
        ceil: false,
    }
}

/// The nearest multiple of 8 that is at most a tenth smaller (`_make_divisible` of torchvision).
pub fn to_multiple_of_8(channels: f64) -> u64 {
    let nearest = (((channels + 4.0) as u64) / 8 * 8).max(8);
    if (nearest as f64) < 0.9 * channels {
        nearest + 8
    } else {
        nearest
    }
}

/// The number of blocks times this factor, rounded up.
pub fn scaled_depth(blocks: u64, factor: f64) -> u64 {
    (blocks as f64 * factor).ceil() as u64
}

/// Stages `stage1`, `stage2`, … with these layers, each below `name`; the first after `stem`.
pub fn numbered(stem: Vec<Layer>, name: &str, stages: Vec<Vec<Layer>>) -> Vec<(Stage, Vec<Layer>)> {
    let number = |(index, layers)| (Stage::of(index as u8 + 1), vec![Layer::sequence(name, layers)]);
    let stages = stages.into_iter().enumerate().map(number);
    std::iter::once((Stage::STEM, stem)).chain(stages).collect()
}

/// The same for stages that torchvision has below `name`, with the stem, and timm without it.
pub fn numbered_below(name: &str, stem: Vec<Layer>, stages: Vec<Vec<Layer>>) -> Vec<(Stage, Vec<Layer>)> {
    let below = |layers| vec![Layer::sequence(name, layers).in_timm("")];
    let number = |(index, layers)| (Stage::of(index as u8 + 1), below(layers));
    let numbered = stages.into_iter().enumerate().map(number);
    std::iter::once((Stage::STEM, below(stem)))
        .chain(numbered)
        .collect()
}
