//! SqueezeNet 1.0 and 1.1 (Iandola et al. 2016), with torchvision's names. timm does not have them.
//!
//! The published head is no linear layer for a feature vector: at each position of the last map it is a 1×1 convolution with a ReLU, and the
//! logits are the means over all positions. The ReLU comes before the mean, so no vector says enough. The network therefore has no pooling
//! of its own: the head gets the map, and its tensors have torchvision's names and shapes. Wherever a feature vector is asked for (embeddings,
//! heads of other kinds, comparisons of features), it is the mean of the map. [`super::super::head`] has these heads.

use super::blocks::{conv, numbered, pool};
use crate::domain::architecture::{
    Stage,
    init::Init,
    layer::{Activation, Conv2d, Layer, Op, Pool},
    network::{InTimm, NetworkDesign},
};

/// A part of `features`, whose places in it are the names of its layers.
enum Part {
    /// Channels of the squeezing convolution, and of each of the two that expand.
    Fire(u64, u64),
    Pool,
}
use Part::{Fire, Pool as Pooled};

pub fn squeezenet1_0() -> NetworkDesign {
    let stages: [&[Part]; 3] = [
        &[Fire(16, 64), Fire(16, 64), Fire(32, 128), Pooled],
        &[Fire(32, 128), Fire(48, 192), Fire(48, 192), Fire(64, 256), Pooled],
        &[Fire(64, 256)],
    ];
    design(Conv2d::new(3, 96, 7), &stages)
}

/// As exact with less than half of the multiply-adds, say its authors.
pub fn squeezenet1_1() -> NetworkDesign {
    let stages: [&[Part]; 3] = [
        &[Fire(16, 64), Fire(16, 64), Pooled],
        &[Fire(32, 128), Fire(32, 128), Pooled],
        &[Fire(48, 192), Fire(48, 192), Fire(64, 256), Fire(64, 256)],
    ];
    design(Conv2d::new(3, 64, 3), &stages)
}

fn design(first: Conv2d, stages: &[&[Part]]) -> NetworkDesign {
    let stem = vec![
        conv("0", initialised(first.strided(2).padded(0))),
        Layer::activation("1", Activation::Relu),
        largest(2),
    ];
    let (mut place, mut channels) = (3, first.to);
    let mut layers = |parts: &&[Part]| -> Vec<Layer> {
        let mut layers = Vec::new();
        for part in *parts {
            layers.push(match part {
                Pooled => largest(place),
                Fire(squeezed, expanded) => fire(place, [channels, *squeezed, *expanded]),
            });
            if let Fire(_, expanded) = part {
                channels = 2 * expanded;
            }
            place += 1;
        }
        layers
    };
    let stages: Vec<_> = stages.iter().map(&mut layers).collect();
    let mut stages = numbered(Vec::new(), "features", stages);
    stages[0] = (Stage::STEM, vec![Layer::sequence("features", stem)]);
    NetworkDesign {
        stages,
        pooling: Vec::new(),
        head: "classifier.1",
        native_size: 224,
        dropout: 0.5,
        in_timm: InTimm::No,
    }
}

fn largest(place: u64) -> Layer {
    let pool = Pool {
        ceil: true,
        ..pool(3, 2)
    };
    Layer::new(place.to_string(), Op::MaxPool2d(pool))
}

fn fire(place: u64, [from, squeezed, expanded]: [u64; 3]) -> Layer {
    let activated = |name: &str, design: Conv2d| {
        let layers = vec![
            conv(name, initialised(design)),
            Layer::activation(format!("{name}_activation"), Activation::Relu),
        ];
        Layer::sequence("", layers)
    };
    let branches = vec![
        activated("expand1x1", Conv2d::new(squeezed, expanded, 1)),
        activated("expand3x3", Conv2d::new(squeezed, expanded, 3)),
    ];
    let layers = vec![
        activated("squeeze", Conv2d::new(from, squeezed, 1)),
        Layer::new("concat", Op::Concat(branches)),
    ];
    Layer::sequence(place.to_string(), layers)
}

/// With a bias, and initialised as in torchvision: `kaiming_uniform_`.
fn initialised(design: Conv2d) -> Conv2d {
    let inputs = design.from * design.kernel.iter().product::<u64>();
    Conv2d {
        bias: true,
        init: Init::Uniform((6.0 / inputs as f64).sqrt()),
        ..design
    }
}
