//! Xception (Chollet 2017), with the names of timm's `legacy_xception`.

use super::blocks::{Norm, conv, global_pooling, numbered, pool};
use crate::domain::architecture::{
    layer::{Activation, Conv2d, Layer, Op, Pool},
    network::{InTimm, NetworkDesign},
};

const NORM: Norm = Norm::TORCH;

/// A separable convolution of a block: from and to so many channels.
type Separable = [u64; 2];

pub fn xception() -> NetworkDesign {
    let mut stem = normalised("conv1", "bn1", Conv2d::new(3, 32, 3).strided(2).padded(0));
    stem.extend(normalised("conv2", "bn2", Conv2d::new(32, 64, 3).padded(0)));
    let entry = vec![
        block(1, &[[64, 128], [128, 128]], true),
        block(2, &[[128, 256], [256, 256]], true),
        block(3, &[[256, 728], [728, 728]], true),
    ];
    let middle = (4..12)
        .map(|number| block(number, &[[728; 2]; 3], false))
        .collect();
    let mut exit = vec![block(12, &[[728, 728], [728, 1024]], true)];
    for (number, [from, to]) in [(3, [1024, 1536]), (4, [1536, 2048])] {
        exit.push(separable(format!("conv{number}"), [from, to]));
        exit.push(NORM.layer(format!("bn{number}"), to));
        exit.push(Layer::activation(format!("act{number}"), Activation::Relu));
    }
    NetworkDesign {
        stages: numbered(stem, "", vec![entry, middle, exit]),
        pooling: global_pooling(),
        head: "fc",
        native_size: 299,
        dropout: 0.0,
        in_timm: InTimm::Same,
    }
}

fn normalised(name: &str, norm: &str, design: Conv2d) -> Vec<Layer> {
    vec![
        conv(name, design),
        NORM.layer(norm, design.to),
        Layer::activation(format!("{norm}.act"), Activation::Relu),
    ]
}

/// Depthwise, then 1×1.
fn separable(name: impl Into<String>, [from, to]: Separable) -> Layer {
    let layers = vec![
        conv("conv1", Conv2d::new(from, from, 3).grouped(from)),
        conv("pointwise", Conv2d::new(from, to, 1)),
    ];
    Layer::sequence(name, layers)
}

/// ReLU, convolution, BatchNorm, as often as there are convolutions; the first block begins without ReLU. `halves`: half as high and wide,
/// with a projection as shortcut.
fn block(number: u8, convolutions: &[Separable], halves: bool) -> Layer {
    let mut layers = Vec::new();
    let mut add = |op: Op| layers.push(Layer::new(layers.len().to_string(), op));
    for (index, channels) in convolutions.iter().enumerate() {
        if index > 0 || number > 1 {
            add(Op::Activation(Activation::Relu));
        }
        add(separable("", *channels).op);
        add(NORM.layer("", channels[1]).op);
    }
    if halves {
        let widest = Pool {
            padding: 1,
            ..pool(3, 2)
        };
        add(Op::MaxPool2d(widest));
    }
    let (from, to) = (convolutions[0][0], convolutions[convolutions.len() - 1][1]);
    let shortcut = match halves {
        false => Layer::identity(),
        true => Layer::sequence(
            "",
            vec![
                conv("skip", Conv2d::new(from, to, 1).strided(2)),
                NORM.layer("skipbn", to),
            ],
        ),
    };
    let sum = Op::Sum(vec![Layer::sequence("rep", layers), shortcut]);
    Layer::sequence(format!("block{number}"), vec![Layer::new("add", sum)])
}
