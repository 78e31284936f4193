//! Networks for tests only, in which every [`Op`] occurs: each form of a network is compared with the trainable one.

use tch::{Device, Kind, Tensor};

use super::{
    Backbone,
    binder::Binder,
    dropout::DropoutKey,
    folded::{FoldedStages, Form},
    layers::{Mode, channels_last},
    tests::{formula, values},
    tree::Tree,
};
use crate::worker::autograd::without_gradients;
use crate::{
    domain::architecture::{
        Stage,
        init::Init,
        layer::{
            Activation, Attention, AttentionNames, BatchNorm2d, Channels, Conv2d, Layer, LayerNorm,
            LayerScale, Linear, Neighbours, Op, Padding, Pool, PositionEmbedding, Rotary,
        },
        network::{InTimm, NetworkDesign},
        shape::Shape,
        tensors::Role,
        windows::{WindowAttention, relative_positions},
    },
    worker::files::state::StateDict,
};

/// Side, in pixels, of the images that they are for.
pub const SIDE: i64 = 32;
pub const CLASSES: u64 = 5;
/// Of each token of the transformer.
const FEATURES: u64 = 24;

/// All ops: a convolutional network, a transformer, one with windows, and a network that looks images up.
pub fn networks() -> [NetworkDesign; 4] {
    [convolutional(), transformer(), windowed(), recalling()]
}

fn conv(name: &str, conv: Conv2d) -> Layer {
    Layer::new(name, Op::Conv2d(conv))
}

fn activation(activation: Activation) -> Layer {
    Layer::activation("act", activation)
}

fn pool(name: &str, side: u64, stride: u64, padding: u64, ceil: bool, op: fn(Pool) -> Op) -> Layer {
    let pool = Pool {
        side,
        stride,
        padding,
        ceil,
    };
    Layer::new(name, op(pool))
}

fn named_by_number(layers: Vec<Layer>) -> Vec<Layer> {
    let numbered = layers.into_iter().enumerate();
    numbered
        .map(|(number, layer)| Layer::new(format!("{}{number}", layer.name), layer.op))
        .collect()
}

fn convolutional() -> NetworkDesign {
    let head = Linear::new(38 * 4, 12);
    NetworkDesign {
        stages: vec![
            (Stage::STEM, stem()),
            (
                Stage::layer(1),
                vec![Layer::sequence("blocks", named_by_number(body()))],
            ),
        ],
        pooling: vec![
            Layer::new("avgpool", Op::AdaptiveAvgPool2d { side: 2 }),
            Layer::new("flat", Op::Flatten),
            Layer::new("pre_logits", Op::Linear(head)),
            Layer::activation("last_relu", Activation::Relu),
            Layer::new("dropout", Op::Dropout { probability: 0.25 }),
        ],
        head: "classifier.1",
        native_size: SIDE as u32,
        dropout: 0.0,
        in_timm: InTimm::No,
    }
}

fn stem() -> Vec<Layer> {
    let norm = BatchNorm2d {
        channels: 16,
        epsilon: 1e-3,
        momentum: 0.01,
    };
    vec![
        conv("conv_stem", Conv2d::new(3, 16, 3).strided(2).biased().same()),
        Layer::new("bn1", Op::BatchNorm2d(norm)),
        activation(Activation::HardSwish),
    ]
}

/// A mobile network's block, with its gate and the chance to be passed over.
fn inverted() -> Layer {
    let squeeze = Layer::sequence(
        "se",
        vec![
            Layer::new("squeeze", Op::AdaptiveAvgPool2d { side: 1 }),
            conv("fc1", Conv2d::new(16, 4, 1).biased()),
            Layer::activation("relu", Activation::Relu),
            conv("fc2", Conv2d::new(4, 16, 1).biased()),
            Layer::activation("gate", Activation::Sigmoid),
        ],
    );
    Layer::sequence(
        "",
        vec![
            conv("conv_dw", Conv2d::new(16, 16, 5).grouped(16).same()),
            Layer::batch_norm("bn1", 16),
            Layer::activation("silu", Activation::Silu),
            Layer::new("gated", Op::Product(vec![Layer::identity(), squeeze])),
            conv("conv_pwl", Conv2d::new(16, 16, 1)),
            Layer::batch_norm("bn2", 16),
            Layer::new(
                "drop_path",
                Op::StochasticDepth {
                    probability: 0.25,
                    over: Channels::Second,
                },
            ),
        ],
    )
}

fn residual() -> Layer {
    Layer::sequence(
        "",
        vec![
            conv("conv1", Conv2d::new(16, 16, 3)),
            Layer::batch_norm("bn3", 16),
            Layer::activation("relu1", Activation::Relu),
            conv("conv2", Conv2d::new(16, 16, 3)),
            Layer::batch_norm("bn4", 16),
        ],
    )
}

/// Three ways that are laid beside one another: each begins with what all of them get.
fn branches() -> Vec<Layer> {
    vec![convolved(), averaged(), largest()]
}

fn convolved() -> Layer {
    Layer::sequence(
        "branch1",
        vec![
            conv("conv", Conv2d::new(16, 8, 1)),
            Layer::batch_norm("bn", 8),
            Layer::activation("branch1.relu", Activation::Relu),
            // The first of a branch: it must leave what all branches get alone.
            Layer::new(
                "branch1.add",
                Op::Sum(vec![conv("again", Conv2d::new(8, 8, 3)), Layer::identity()]),
            ),
            Layer::activation("branch1.relu2", Activation::Relu),
        ],
    )
}

fn averaged() -> Layer {
    Layer::sequence(
        "branch2",
        vec![
            pool("avg", 3, 1, 1, false, Op::AvgPool2d),
            conv("conv", Conv2d::new(16, 8, 1).biased()),
        ],
    )
}

fn largest() -> Layer {
    Layer::sequence(
        "",
        vec![
            Layer::new(
                "branch3.add",
                Op::Sum(vec![
                    conv("branch3_conv", Conv2d::new(16, 16, 1)),
                    Layer::identity(),
                ]),
            ),
            Layer::activation("branch3.relu", Activation::Relu),
            pool("branch3.max", 3, 1, 1, false, Op::MaxPool2d),
        ],
    )
}

fn body() -> Vec<Layer> {
    let scale = Op::LayerScale(LayerScale {
        features: 32,
        initial: 1e-6,
        over: Channels::Second,
        is_map: true,
    });
    let wide = Linear {
        over: Channels::Second,
        ..Linear::new(32, 40)
    };
    let layer_norm = LayerNorm {
        features: 32,
        epsilon: 1e-6,
        over: Channels::Second,
    };
    let dilated = Conv2d {
        dilation: 2,
        padding: Padding::Each([2; 2]),
        ..Conv2d::new(32, 32, 3)
    };
    vec![
        Layer::new("add", Op::Sum(vec![inverted(), Layer::identity()])),
        Layer::new("residual", Op::Sum(vec![residual(), Layer::identity()])),
        Layer::activation("relu", Activation::Relu),
        Layer::new("concat", Op::Concat(branches())),
        Layer::new("norm", Op::LayerNorm(layer_norm)),
        activation(Activation::Gelu),
        Layer::new("gamma", scale),
        conv("dilated", dilated),
        activation(Activation::Relu6),
        conv("across", Conv2d::rectangular(32, 32, [1, 7])),
        conv("across_same", Conv2d::rectangular(32, 32, [5, 3]).same()),
        Layer::batch_norm("alone", 32),
        activation(Activation::HardSigmoid),
        conv("down", Conv2d::new(32, 32, 5).strided(2).same()),
        pool("max", 3, 2, 0, true, Op::MaxPool2d),
        Layer::new("shuffle", Op::ChannelShuffle { groups: 4 }),
        Layer::new("widened", Op::Linear(wide)),
        Layer::new("narrow", Op::Narrow { first: 3, count: 32 }),
        Layer::new("slice", Op::Subsample { stride: 2 }),
        Layer::new("pad", Op::PadChannels { channels: 3 }),
    ]
}

fn transformer() -> NetworkDesign {
    let patches = Conv2d {
        stride: 8,
        padding: Padding::Each([0; 2]),
        bias: true,
        ..Conv2d::new(3, FEATURES, 8)
    };
    NetworkDesign {
        stages: vec![
            (
                Stage::STEM,
                vec![
                    Layer::sequence(
                        "patch_embed",
                        vec![conv("proj", patches), Layer::new("tokens", Op::ToTokens)],
                    ),
                    Layer::new(
                        "cls_token",
                        Op::LearnedTokens {
                            count: 1,
                            features: FEATURES,
                        },
                    ),
                    Layer::new(
                        "pos_embed",
                        Op::PositionEmbedding(PositionEmbedding {
                            grid: 4,
                            prefix: 1,
                            features: FEATURES,
                        }),
                    ),
                ],
            ),
            (
                Stage::layer(1),
                vec![Layer::sequence("blocks", vec![block(0), block(1)])],
            ),
        ],
        // The class token's vector concatenated with the mean of all.
        pooling: vec![
            norm("norm"),
            Layer::new(
                "both",
                Op::Concat(vec![
                    Layer::new("first", Op::FirstToken),
                    Layer::new("mean", Op::MeanToken { skipped: 1 }),
                ]),
            ),
        ],
        head: "head",
        native_size: SIDE as u32,
        dropout: 0.0,
        in_timm: InTimm::No,
    }
}

/// Windows of 3 × 3 on maps of 10, 5 and 3 positions along a side: with and without a shift, larger than the map, and smaller.
fn windowed() -> NetworkDesign {
    let patches = Conv2d::new(3, 8, 3).strided(3).padded(0).biased();
    let attended = |name: &str, features: u64, shift: u64| {
        let attention = WindowAttention {
            features,
            heads: 2,
            window: 3,
            shift,
            init: Init::Normal(0.02),
            has_positions: true,
        };
        let dropped = Op::StochasticDepth {
            probability: 0.1,
            over: Channels::Second,
        };
        let branch = vec![
            Layer::new("attn", Op::WindowAttention(attention)),
            Layer::new("drop_path", dropped),
        ];
        let sum = Op::Sum(vec![Layer::sequence("", branch), Layer::identity()]);
        Layer::sequence(name, vec![Layer::new("add", sum)])
    };
    let merge = |name: &str| Layer::new(name, Op::MergePatches);
    let blocks = vec![
        attended("0", 8, 0),
        attended("1", 8, 1),
        merge("merge1"),
        attended("2", 32, 0),
        attended("3", 32, 2),
        merge("merge2"),
        attended("4", 128, 1),
    ];
    NetworkDesign {
        stages: vec![
            (Stage::STEM, vec![conv("proj", patches)]),
            (Stage::block(1), vec![Layer::sequence("blocks", blocks)]),
        ],
        pooling: vec![
            Layer::new("avgpool", Op::AdaptiveAvgPool2d { side: 1 }),
            Layer::new("flat", Op::Flatten),
        ],
        head: "head",
        native_size: SIDE as u32,
        dropout: 0.0,
        in_timm: InTimm::No,
    }
}

/// A network whose features are votes.
fn recalling() -> NetworkDesign {
    let neighbours = Neighbours {
        images: 11,
        features: 16,
        classes: 6,
        k: 7,
        temperature: 0.5,
    };
    NetworkDesign {
        stages: vec![(Stage::STEM, stem())],
        pooling: vec![
            Layer::new("avgpool", Op::AdaptiveAvgPool2d { side: 1 }),
            Layer::new("flat", Op::Flatten),
            Layer::new("normalise", Op::Normalise),
            Layer::new("neighbours", Op::Neighbours(neighbours)),
            Layer::new("dropout", Op::Dropout { probability: 0.25 }),
        ],
        head: "fc",
        native_size: SIDE as u32,
        dropout: 0.0,
        in_timm: InTimm::No,
    }
}

fn norm(name: &str) -> Layer {
    let norm = LayerNorm {
        features: FEATURES,
        epsilon: 1e-6,
        over: Channels::Last,
    };
    Layer::new(name, Op::LayerNorm(norm))
}

fn linear(name: &str, from: u64, to: u64) -> Layer {
    let linear = Linear {
        bias: to > from,
        init: Init::Normal(0.02),
        ..Linear::new(from, to)
    };
    Layer::new(name, Op::Linear(linear))
}

/// The block of this number, with its tensors named as in timm.
fn block(number: u64) -> Layer {
    let attention = Attention {
        features: FEATURES,
        heads: 3,
        bias: number == 0,
        init: Init::Normal(0.02),
        names: [AttentionNames::Timm, AttentionNames::Torch][number as usize % 2],
        rotary: [
            None,
            Some(Rotary {
                prefix: 1,
                base: 100.0,
            }),
        ][number as usize % 2],
    };
    let scale = Op::LayerScale(LayerScale {
        features: FEATURES,
        initial: 1e-5,
        over: Channels::Last,
        is_map: false,
    });
    let attended = vec![
        norm("norm1"),
        Layer::new("attn", Op::Attention(attention)),
        Layer::sequence("ls1", vec![Layer::new("gamma", scale)]),
        Layer::new(
            "drop_path",
            Op::StochasticDepth {
                probability: 0.1,
                over: Channels::Last,
            },
        ),
    ];
    let widened = vec![
        norm("norm2"),
        Layer::sequence(
            "mlp",
            vec![
                linear("fc1", FEATURES, 2 * FEATURES),
                Layer::activation(
                    "gelu",
                    [Activation::Gelu, Activation::QuickGelu][number as usize % 2],
                ),
                linear("fc2", 2 * FEATURES, FEATURES),
            ],
        ),
    ];
    let added = |name: &str, layers| {
        let branches = vec![Layer::sequence("", layers), Layer::identity()];
        Layer::new(format!("blocks.{number}.{name}"), Op::Sum(branches))
    };
    Layer::sequence(
        number.to_string(),
        vec![added("add1", attended), added("add2", widened)],
    )
}

/// Every tensor of a network by a formula.
pub fn state(design: &NetworkDesign) -> StateDict {
    let named = design.tensors(CLASSES).into_iter().map(|(_, name, tensor)| {
        let shape: Vec<i64> = tensor.shape.iter().map(|length| *length as i64).collect();
        let numbers = match tensor.shape.as_slice() {
            _ if tensor.is_computed() => match tensor.role {
                Role::RelativePositions { window } => Tensor::from_slice(&relative_positions(window)),
                other => unreachable!("{other:?} is a weight"),
            },
            [] => Tensor::from(0i64),
            // Classes of the rows of a bank.
            _ if tensor.name == "labels" => {
                Tensor::arange(shape[0], (Kind::Float, Device::Cpu)).remainder(6.0)
            }
            _ => formula(&name, &shape),
        };
        (name, numbers)
    });
    named.collect()
}

pub fn images(count: i64) -> Tensor {
    let images = values("vocabulary", &[count, 3, SIDE, SIDE]) * 2.0;
    channels_last(&images.to_kind(Kind::Float))
}

/// The trainable form and its tensors.
struct Trained {
    backbone: Backbone,
    head: Tree,
    state: StateDict,
}

fn trained(design: &NetworkDesign) -> Trained {
    let state = state(design);
    let mut binder = Binder::given(&state, Device::Cpu);
    let backbone = Backbone::build(design, &mut binder);
    let head = Tree::build(&design.head(CLASSES), "", &mut binder);
    let taken = binder.into_drawn();
    assert!(taken.keys().eq(state.keys()), "every tensor of the design");
    Trained {
        backbone,
        head,
        state: taken,
    }
}

/// Logits of the trainable form.
pub fn logits(design: &NetworkDesign, images: &Tensor) -> Tensor {
    let trained = trained(design);
    without_gradients(|| logits_of(&trained, design, images, Mode::Eval))
}

fn logits_of(trained: &Trained, design: &NetworkDesign, images: &Tensor, mode: Mode) -> Tensor {
    let through = (None, design.last_stage());
    let features = trained.backbone.forward(images, through, mode, &mut |_, _, _| {});
    trained.head.forward(&features, mode)
}

fn off(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.size(), expected.size());
    let scale = expected.abs().max().double_value(&[]);
    (found - expected).abs().max().double_value(&[]) / scale.max(1e-3)
}

#[test]
fn what_answers_computes_what_trains() {
    for design in networks() {
        let expected = logits(&design, &images(3));
        assert_eq!(expected.size(), [3, CLASSES as i64]);
        let spread = expected.std(false).double_value(&[]);
        assert!(spread > 1e-3 && spread.is_finite(), "{expected:?}");
        let trained = trained(&design);
        let all = (None, design.last_stage());
        let form = Form {
            kind: Kind::Float,
            device: Device::Cpu,
            shares: false,
        };
        let stages = FoldedStages::of(&design, &trained.state, all, form);
        let pooling = FoldedStages::pooling(&design, &trained.state, form);
        let packed = stages.packed_for([3, 3, SIDE, SIDE]);
        for (form, stages) in [("folded", &stages), ("packed", &packed)] {
            let input = images(3);
            let found = without_gradients(|| {
                let features = pooling.forward(&stages.forward(&input));
                trained.head.forward(&features, Mode::Eval)
            });
            assert!(input.equal(&images(3)), "{form}: the input has changed");
            assert!(
                off(&found, &expected) < 1e-4,
                "{form}: {}",
                off(&found, &expected)
            );
        }
    }
}

#[test]
fn what_passes_through_has_the_shape_that_is_written_down() {
    for design in networks() {
        for side in [SIDE, SIDE + 16] {
            let (mut activations, mut shape) = (images(2), Shape::image(SIDE as u64));
            let has_positions = design.tensors(1).iter().any(|(_, name, _)| name == "pos_embed");
            if side != SIDE && !has_positions {
                activations =
                    channels_last(&activations.upsample_bilinear2d([side, side], false, None, None));
                shape = Shape::image(side as u64);
            }
            let state = state(&design);
            let mut binder = Binder::given(&state, Device::Cpu);
            for layer in design.backbone() {
                let tree = Tree::build(layer, "", &mut binder);
                activations = without_gradients(|| tree.forward(&activations, Mode::Eval));
                shape = layer.follow("", shape, &mut |_, _, _| {});
                let expected = match shape {
                    Shape::Map {
                        channels,
                        height,
                        width,
                    } => vec![2, channels, height, width],
                    Shape::Tokens { count, features } => vec![2, count, features],
                    Shape::Vector { features } => vec![2, features],
                };
                let found: Vec<u64> = activations
                    .size()
                    .into_iter()
                    .map(|length| length as u64)
                    .collect();
                assert_eq!(found, expected, "{}", layer.name);
            }
        }
    }
}

#[test]
fn everything_that_can_learn_learns_and_a_step_can_be_repeated() {
    for design in networks() {
        let gradients = |step| {
            let trained = trained(&design);
            let learning: Vec<String> = design
                .tensors(CLASSES)
                .into_iter()
                .filter_map(|(_, name, tensor)| tensor.learns().then_some(name))
                .collect();
            for name in &learning {
                let _ = trained.state[name].set_requires_grad(true);
            }
            let key = DropoutKey {
                seed: 3,
                step,
                first_row: 0,
            };
            let logits = logits_of(&trained, &design, &images(8), Mode::Train(key));
            logits.square().mean(Kind::Float).backward();
            learning
                .into_iter()
                .map(|name| {
                    let gradient = trained.state[&name].grad();
                    assert!(gradient.defined(), "{name} has no gradient");
                    (name, gradient)
                })
                .collect::<Vec<_>>()
        };
        let first = gradients(1);
        for (name, gradient) in &first {
            assert!(gradient.isfinite().all().int64_value(&[]) != 0, "{name}");
        }
        let learning = first
            .iter()
            .filter(|(_, gradient)| gradient.norm().double_value(&[]) > 0.0);
        assert!(learning.count() * 10 > first.len() * 9);
        let same =
            |other: Vec<(String, Tensor)>| first.iter().zip(&other).all(|(one, two)| one.1.equal(&two.1));
        assert!(same(gradients(1)), "the same key");
        assert!(!same(gradients(2)), "another key");
    }
}
