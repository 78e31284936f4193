//! Layers as nodes of a graph: the equivalent of each [`Op`] in ONNX's opset 17.
//!
//! A node and its output have the full name of their layer; where a layer needs several nodes, the last one has that name, and the others
//! have it with a suffix.

use super::{
    graph::{Graph, float, integer, integers},
    products::{multiplied, plus},
    tokens, windows,
};
use crate::{
    domain::architecture::{
        layer::{Activation, BatchNorm2d, Channels, Conv2d, Layer, LayerNorm, Op, Pool, joined},
        shape::Shape,
    },
    worker::nets::tokens::positions,
};

/// A value of the graph and its shape for one image.
pub struct Place {
    pub value: String,
    pub shape: Shape,
}

/// Adds a layer and everything below it after `input`.
pub fn layer(graph: &mut Graph, layer: &Layer, prefix: &str, input: Place) -> Place {
    let below = layer.prefix(prefix);
    let name = joined(prefix, &layer.name);
    match &layer.op {
        Op::Sequence(layers) => sequence(graph, layers, &below, input),
        Op::Sum(layers) => several(graph, layers, &below, input, &name, "Add"),
        Op::Product(layers) => several(graph, layers, &below, input, &name, "Mul"),
        Op::Concat(layers) => {
            let (values, shapes) = each(graph, layers, &below, &input);
            let axis = vec![integer("axis", 1)];
            Place {
                value: graph.node("Concat", &name, &values, axis),
                shape: Shape::stacked(input.shape, &shapes),
            }
        }
        op => Place {
            value: one(graph, op, &name, &input),
            shape: op.output(input.shape),
        },
    }
}

fn sequence(graph: &mut Graph, layers: &[Layer], below: &str, input: Place) -> Place {
    layers
        .iter()
        .fold(input, |place, next| layer(graph, next, below, place))
}

/// The outputs of several layers for the same input.
fn each(graph: &mut Graph, layers: &[Layer], below: &str, input: &Place) -> (Vec<String>, Vec<Shape>) {
    let branch = |branch| {
        let input = Place {
            value: input.value.clone(),
            shape: input.shape,
        };
        let output = layer(graph, branch, below, input);
        (output.value, output.shape)
    };
    layers.iter().map(branch).unzip()
}

/// Several values combined, two at a time; the last node has the name.
fn several(
    graph: &mut Graph,
    layers: &[Layer],
    below: &str,
    input: Place,
    name: &str,
    operator: &str,
) -> Place {
    let (values, shapes) = each(graph, layers, below, &input);
    let count = values.len();
    let mut joined = input.value;
    for (number, value) in values.into_iter().enumerate() {
        joined = match number {
            0 => value,
            _ if number + 1 == count => graph.node(operator, name, [&*joined, &*value], Vec::new()),
            _ => graph.node(
                operator,
                &format!("{name}.{number}"),
                [&*joined, &*value],
                Vec::new(),
            ),
        };
    }
    Place {
        value: joined,
        shape: Shape::largest(input.shape, &shapes),
    }
}

/// A layer that is no composition.
fn one(graph: &mut Graph, op: &Op, name: &str, input: &Place) -> String {
    let value = input.value.as_str();
    let part = |word: &str| joined(name, word);
    match op {
        Op::Conv2d(design) => conv2d(graph, design, name, input),
        Op::BatchNorm2d(BatchNorm2d { epsilon, .. }) => {
            let parts = ["weight", "bias", "running_mean", "running_var"];
            let [scale, shift, mean, variance] = parts.map(|tensor| graph.weight(part(tensor)));
            let epsilon = vec![float("epsilon", *epsilon as f32)];
            let inputs = [value, &scale, &shift, &mean, &variance];
            graph.node("BatchNormalization", name, inputs, epsilon)
        }
        Op::LayerNorm(design) => layer_norm(graph, design, name, value),
        Op::Linear(design) => {
            let product = match design.bias {
                true => part("product"),
                false => name.to_owned(),
            };
            let (value, product) = match design.over {
                Channels::Last => (value.to_owned(), product),
                Channels::Second => {
                    let there = vec![integers("perm", &[0, 2, 3, 1])];
                    (
                        graph.node("Transpose", &part("last"), [value], there),
                        part("product"),
                    )
                }
            };
            let product = multiplied(graph, &value, &part("weight"), &product);
            let output = match (design.bias, design.over) {
                (false, _) => product,
                (true, Channels::Last) => plus(graph, &product, &part("bias"), name),
                (true, Channels::Second) => plus(graph, &product, &part("bias"), &part("sum")),
            };
            match design.over {
                Channels::Last => output,
                Channels::Second => {
                    let back = vec![integers("perm", &[0, 3, 1, 2])];
                    graph.node("Transpose", name, [&*output], back)
                }
            }
        }
        Op::Attention(design) => tokens::attention(graph, design, name, (value, input.shape.places())),
        Op::WindowAttention(design) => windows::attention(graph, design, name, (value, size(input.shape))),
        Op::MergePatches => windows::merged(graph, name, (value, size(input.shape))),
        Op::Neighbours(design) => tokens::neighbours(graph, design, name, value),
        Op::Normalise => {
            let axes = vec![integers("axes", &[-1]), integer("keepdims", 1)];
            let length = graph.node("ReduceL2", &part("length"), [value], axes);
            let least = graph.floats(&part("least"), &[], &[1e-12]);
            let length = graph.node("Clip", &part("divisor"), [&*length, &*least], Vec::new());
            graph.node("Div", name, [value, &*length], Vec::new())
        }
        Op::LearnedTokens { count, features } => {
            tokens::learned_tokens(graph, [*count, *features], name, value)
        }
        Op::PositionEmbedding(design) => {
            let tokens = input.shape.places() as i64;
            let embedding = graph.changed(name, |embedding| positions::for_tokens(embedding, design, tokens));
            graph.node("Add", &part("sum"), [value, &*embedding], Vec::new())
        }
        Op::LayerScale(design) => {
            let mut gamma = graph.weight(name.to_owned());
            if design.over == Channels::Second && !design.is_map {
                let size = graph.integers(&part("size"), &[1, design.features as i64, 1, 1]);
                gamma = graph.node("Reshape", &part("reshaped"), [&*gamma, &*size], Vec::new());
            }
            graph.node("Mul", &part("scaled"), [value, &*gamma], Vec::new())
        }
        Op::Activation(activation) => activated(graph, *activation, name, value),
        Op::MaxPool2d(pool) => graph.node("MaxPool", name, [value], window(*pool)),
        Op::AvgPool2d(pool) => {
            let mut window = window(*pool);
            window.push(integer("count_include_pad", 1));
            graph.node("AveragePool", name, [value], window)
        }
        Op::AdaptiveAvgPool2d { side: 1 } => graph.node("GlobalAveragePool", name, [value], Vec::new()),
        Op::AdaptiveAvgPool2d { side } => adaptive(graph, *side, name, input),
        Op::Narrow { first, count } => {
            let starts = graph.integers(&part("starts"), &[*first as i64]);
            let ends = graph.integers(&part("ends"), &[(first + count) as i64]);
            let axes = graph.integers(&part("axes"), &[1]);
            graph.node("Slice", name, [value, &starts, &ends, &axes], Vec::new())
        }
        Op::ChannelShuffle { groups } => shuffle(graph, *groups, name, input),
        Op::Flatten => graph.node("Flatten", name, [value], vec![integer("axis", 1)]),
        Op::ToTokens => {
            let size = graph.integers(&part("size"), &[0, 0, -1]);
            let flat = graph.node("Reshape", &part("flat"), [value, &*size], Vec::new());
            graph.node("Transpose", name, [&*flat], vec![integers("perm", &[0, 2, 1])])
        }
        Op::FirstToken => {
            let index = graph.integer(&part("index"), 0);
            graph.node("Gather", name, [value, &*index], vec![integer("axis", 1)])
        }
        Op::MeanToken { skipped } => {
            let axes = vec![integers("axes", &[1]), integer("keepdims", 0)];
            let starts = graph.integers(&part("starts"), &[*skipped as i64]);
            let ends = graph.integers(&part("ends"), &[i64::MAX]);
            let dimension = graph.integers(&part("axes"), &[1]);
            let inputs = [value, &starts, &ends, &dimension];
            let tokens = graph.node("Slice", &part("tokens"), inputs, Vec::new());
            graph.node("ReduceMean", name, [&*tokens], axes)
        }
        Op::Subsample { stride } => {
            let starts = graph.integers(&part("starts"), &[0, 0]);
            let ends = graph.integers(&part("ends"), &[i64::MAX; 2]);
            let axes = graph.integers(&part("axes"), &[2, 3]);
            let steps = graph.integers(&part("steps"), &[*stride as i64; 2]);
            graph.node("Slice", name, [value, &starts, &ends, &axes, &steps], Vec::new())
        }
        Op::PadChannels { channels } => {
            let channels = *channels as i64;
            let pads = graph.integers(&part("pads"), &[0, channels, 0, 0, 0, channels, 0, 0]);
            graph.node("Pad", name, [value, &*pads], Vec::new())
        }
        // Only during training.
        Op::Dropout { .. } | Op::StochasticDepth { .. } => value.to_owned(),
        Op::Sequence(_) | Op::Sum(_) | Op::Concat(_) | Op::Product(_) => {
            unreachable!("a composition is more than one node")
        }
    }
}

fn conv2d(graph: &mut Graph, design: &Conv2d, name: &str, input: &Place) -> String {
    let [stride, dilation, groups] = [design.stride, design.dilation, design.groups].map(|size| size as i64);
    let weight = graph.weight(joined(name, "weight"));
    let mut inputs = vec![input.value.clone(), weight];
    if design.bias {
        inputs.push(graph.weight(joined(name, "bias")));
    }
    let mut window = vec![
        integers("kernel_shape", &design.kernel.map(|length| length as i64)),
        integers("strides", &[stride; 2]),
        integers("pads", &pads(design, input.shape)),
        integer("group", groups),
    ];
    if dilation != 1 {
        window.push(integers("dilations", &[dilation; 2]));
    }
    graph.node("Conv", name, &inputs, window)
}

/// Height and width of a map.
fn size(input: Shape) -> [u64; 2] {
    let Shape::Map { height, width, .. } = input else {
        unreachable!("a layer over positions gets a map");
    };
    [height, width]
}

/// Padding at the start of both directions, then at the end, for an input of this size: the graph's images have a fixed size.
fn pads(design: &Conv2d, input: Shape) -> [i64; 4] {
    let [[top, bottom], [left, right]] = design.padding_of(size(input));
    [top, left, bottom, right].map(|places| places as i64)
}

fn window(pool: Pool) -> Vec<super::messages::AttributeProto> {
    let mut window = vec![
        integers("kernel_shape", &[pool.side as i64; 2]),
        integers("strides", &[pool.stride as i64; 2]),
        integers("pads", &[pool.padding as i64; 4]),
    ];
    if pool.ceil {
        window.push(integer("ceil_mode", 1));
    }
    window
}

/// The channels as `[groups, channels / groups]`, transposed.
fn shuffle(graph: &mut Graph, groups: u64, name: &str, input: &Place) -> String {
    let Shape::Map {
        channels,
        height,
        width,
    } = input.shape
    else {
        unreachable!("a shuffle gets a map");
    };
    let part = |word: &str| joined(name, word);
    let [groups, each, channels, height, width] =
        [groups, channels / groups, channels, height, width].map(|length| length as i64);
    let apart = graph.integers(&part("apart"), &[0, groups, each, height, width]);
    let apart = graph.node("Reshape", &part("groups"), [&*input.value, &*apart], Vec::new());
    let order = vec![integers("perm", &[0, 2, 1, 3, 4])];
    let turned = graph.node("Transpose", &part("ordered"), [&*apart], order);
    let whole = graph.integers(&part("whole"), &[0, channels, height, width]);
    graph.node("Reshape", name, [&*turned, &*whole], Vec::new())
}

/// ONNX only has poolings of windows of one size. Where the areas are not equal, the means are products with two matrices.
fn adaptive(graph: &mut Graph, side: u64, name: &str, input: &Place) -> String {
    let Shape::Map { height, width, .. } = input.shape else {
        unreachable!("a pooling gets a map");
    };
    if height % side != 0 || width % side != 0 {
        let part = |word: &str| joined(name, word);
        let [rows, columns] = [height, width].map(|length| means(side, length));
        let rows = graph.floats(&part("rows"), &[side as i64, height as i64], &rows);
        let columns = graph.floats(&part("columns"), &[side as i64, width as i64], &columns);
        let turned = vec![integers("perm", &[1, 0])];
        let columns = graph.node("Transpose", &part("columns.transposed"), [&*columns], turned);
        let across = graph.node("MatMul", &part("across"), [&*input.value, &*columns], Vec::new());
        return graph.node("MatMul", name, [&*rows, &*across], Vec::new());
    }
    let [height, width] = [height, width].map(|length| (length / side) as i64);
    let window = vec![
        integers("kernel_shape", &[height, width]),
        integers("strides", &[height, width]),
    ];
    graph.node("AveragePool", name, [&*input.value], window)
}

/// The matrix `[side, length]` that takes means over parts of a row as `torch.nn.AdaptiveAvgPool2d` does.
fn means(side: u64, length: u64) -> Vec<f32> {
    let mut matrix = vec![0.0; (side * length) as usize];
    for part in 0..side {
        let (first, end) = (part * length / side, ((part + 1) * length).div_ceil(side));
        let row = &mut matrix[(part * length) as usize..];
        row[first as usize..end as usize].fill(1.0 / (end - first) as f32);
    }
    matrix
}

/// ONNX normalises over the last dimensions, so channels in the second are transposed there and back.
fn layer_norm(graph: &mut Graph, design: &LayerNorm, name: &str, value: &str) -> String {
    let part = |word: &str| joined(name, word);
    let [weight, bias] = ["weight", "bias"].map(|tensor| graph.weight(part(tensor)));
    let attributes = || vec![integer("axis", -1), float("epsilon", design.epsilon as f32)];
    match design.over {
        Channels::Last => graph.node("LayerNormalization", name, [value, &weight, &bias], attributes()),
        Channels::Second => {
            let there = vec![integers("perm", &[0, 2, 3, 1])];
            let last = graph.node("Transpose", &part("last"), [value], there);
            let inputs = [&*last, &*weight, &*bias];
            let normalised = graph.node("LayerNormalization", &part("normalised"), inputs, attributes());
            graph.node(
                "Transpose",
                name,
                [&*normalised],
                vec![integers("perm", &[0, 3, 1, 2])],
            )
        }
    }
}

/// Opset 17 has no SiLU, and GELU was only added in opset 20.
fn activated(graph: &mut Graph, activation: Activation, name: &str, value: &str) -> String {
    let part = |word: &str| joined(name, word);
    match activation {
        Activation::Relu => graph.node("Relu", name, [value], Vec::new()),
        Activation::Relu6 => {
            let [least, most] =
                [("least", 0.0), ("most", 6.0)].map(|(word, bound)| graph.floats(&part(word), &[], &[bound]));
            graph.node("Clip", name, [value, &*least, &*most], Vec::new())
        }
        Activation::Silu => {
            let sigmoid = graph.node("Sigmoid", &part("sigmoid"), [value], Vec::new());
            graph.node("Mul", name, [value, &*sigmoid], Vec::new())
        }
        Activation::Gelu => {
            let root = graph.floats(&part("root"), &[], &[std::f32::consts::SQRT_2]);
            let [one, half] =
                [("one", 1.0), ("half", 0.5)].map(|(word, number)| graph.floats(&part(word), &[], &[number]));
            let divided = graph.node("Div", &part("divided"), [value, &*root], Vec::new());
            let error = graph.node("Erf", &part("erf"), [&*divided], Vec::new());
            let share = graph.node("Add", &part("share"), [&*error, &*one], Vec::new());
            let whole = graph.node("Mul", &part("product"), [value, &*share], Vec::new());
            graph.node("Mul", name, [&*whole, &*half], Vec::new())
        }
        Activation::QuickGelu => {
            let slope = graph.floats(&part("slope"), &[], &[1.702]);
            let scaled = graph.node("Mul", &part("scaled"), [value, &*slope], Vec::new());
            let share = graph.node("Sigmoid", &part("sigmoid"), [&*scaled], Vec::new());
            graph.node("Mul", name, [value, &*share], Vec::new())
        }
        Activation::Sigmoid => graph.node("Sigmoid", name, [value], Vec::new()),
        Activation::HardSwish => graph.node("HardSwish", name, [value], Vec::new()),
        Activation::HardSigmoid => {
            let slope = vec![float("alpha", 1.0 / 6.0), float("beta", 0.5)];
            graph.node("HardSigmoid", name, [value], slope)
        }
    }
}
