//! Layers as modules and as lines of the enclosing module's `forward`: the equivalent of each [`Op`] in TorchScript.
//!
//! Layers with tensors are modules, so that their tensors keep the model's names; all others are lines.

use super::{
    modules::{Builder, INPUT, Module},
    products::{decimal, product},
    tokens, windows,
};
use crate::domain::architecture::{
    Outputs,
    layer::{Activation, BatchNorm2d, Channels, Conv2d, Layer, LayerNorm, Linear, Op, Pool, joined},
    network::NetworkDesign,
};

/// Adds a layer applied to `value`; returns the name of its output.
fn layer(around: &mut Builder, layer: &Layer, prefix: &str, value: &str) -> String {
    let below = layer.prefix(prefix);
    let name = joined(prefix, &layer.name);
    match &layer.op {
        Op::Sequence(layers) if layer.name.is_empty() || !layer.has_tensors() => {
            sequence(around, layers, &below, value)
        }
        Op::Sequence(layers) => {
            let mut module = Builder::new(&class_of(&layer.name));
            let output = sequence(&mut module, layers, &below, INPUT);
            around.module(&layer.name, module.returning(&output), value)
        }
        Op::Sum(layers) => several(around, layers, &below, value, "add_", "add"),
        Op::Product(layers) => several(around, layers, &below, value, "mul", "mul"),
        Op::Concat(layers) => {
            let values = each(around, layers, &below, value).join(", ");
            around.value(&format!("torch.cat([{values}], 1)"))
        }
        Op::Conv2d(design) => around.module(&layer.name, conv2d(&name, design), value),
        Op::BatchNorm2d(design) => around.module(&layer.name, batch_norm(&name, design), value),
        Op::LayerNorm(design) => around.module(&layer.name, layer_norm(&name, design), value),
        Op::Linear(design) => around.module(&layer.name, linear(&name, design), value),
        Op::Attention(design) => around.module(&layer.name, tokens::attention(&name, design), value),
        Op::WindowAttention(design) => around.module(&layer.name, windows::attention(&name, design), value),
        Op::Neighbours(design) => around.module(&layer.name, tokens::neighbours(&name, design), value),
        Op::LearnedTokens { count, features } => {
            let tokens = around.parameter(&layer.name, name);
            let images = around.value(&format!("torch.size({value}, 0)"));
            let tokens = around.value(&format!(
                "torch.expand({tokens}, [{images}, {count}, {features}])"
            ));
            around.value(&format!("torch.cat([{tokens}, {value}], 1)"))
        }
        Op::PositionEmbedding(design) => {
            let positions = around.parameter(&layer.name, name);
            let positions = tokens::interpolated(around, design, &positions, value);
            around.value(&format!("torch.add({value}, {positions})"))
        }
        Op::LayerScale(design) => {
            let mut gamma = around.parameter(&layer.name, name);
            if design.over == Channels::Second {
                gamma = around.value(&format!("torch.view({gamma}, [1, -1, 1, 1])"));
            }
            around.value(&format!("torch.mul({value}, {gamma})"))
        }
        op => line(around, op, value),
    }
}

/// Layers one after another.
pub fn sequence<'a>(
    around: &mut Builder,
    layers: impl IntoIterator<Item = &'a Layer>,
    prefix: &str,
    value: &str,
) -> String {
    let mut value = value.to_owned();
    let mut is_own = false;
    for next in layers {
        value = match next.is_relu() && is_own {
            true => around.value(&format!("torch.relu_({value})")),
            false => layer(around, next, prefix, &value),
        };
        is_own = next.gives_its_own();
    }
    value
}

/// The outputs of several layers for the same value.
fn each(around: &mut Builder, layers: &[Layer], prefix: &str, value: &str) -> Vec<String> {
    layers
        .iter()
        .map(|branch| layer(around, branch, prefix, value))
        .collect()
}

/// Several values combined, two at a time; the first two in place, where nothing else uses the first.
fn several(
    around: &mut Builder,
    layers: &[Layer],
    prefix: &str,
    value: &str,
    own: &str,
    other: &str,
) -> String {
    let values = each(around, layers, prefix, value);
    let is_own = layers.first().is_some_and(Layer::gives_its_own);
    let mut joined = values.first().map_or(value, String::as_str).to_owned();
    for next in values.iter().skip(1) {
        let operator = if is_own { own } else { other };
        joined = around.value(&format!("torch.{operator}({joined}, {next})"));
    }
    joined
}

/// The class of a sequence with this name.
fn class_of(name: &str) -> String {
    match name.chars().next() {
        Some(first) if first.is_ascii_alphabetic() => {
            let rest = name[1..].replace(|character: char| !character.is_ascii_alphanumeric(), "_");
            format!("{}{rest}", first.to_ascii_uppercase())
        }
        _ => "Block".to_owned(),
    }
}

fn conv2d(name: &str, design: &Conv2d) -> Module {
    let mut module = Builder::new("Conv2d");
    let weight = module.parameter("weight", joined(name, "weight"));
    let bias = match design.bias {
        true => module.parameter("bias", joined(name, "bias")),
        false => "None".to_owned(),
    };
    let stride = module.integer("stride", design.stride);
    let dilation = module.integer("dilation", design.dilation);
    let groups = module.integer("groups", design.groups);
    let (input, padding) = match design.even_padding() {
        Some(padding) => {
            let mut side = |slot, axis: usize| module.integer(slot, padding[axis]);
            let padding = [side("padding", 0), side("padding_across", 1)];
            (INPUT.to_owned(), padding)
        }
        None => {
            let mut side = |slot, axis: usize| module.integer(slot, design.reach()[axis]);
            let reach = [side("reach", 0), side("reach_across", 1)];
            (
                padded(&mut module, &stride, &reach),
                ["0", "0"].map(str::to_owned),
            )
        }
    };
    let [rows, columns] = padding;
    let value = module.value(&format!(
        "torch.conv2d({input}, {weight}, {bias}, [{stride}, {stride}], [{rows}, {columns}], [{dilation}, {dilation}], {groups})"
    ));
    module.returning(&value)
}

/// The input with TensorFlow's `SAME` padding, the odd zero at the end.
fn padded(module: &mut Builder, stride: &str, reach: &[String; 2]) -> String {
    let mut around = |dimension: u64, reach: &str| {
        let length = module.value(&format!("torch.size({INPUT}, {dimension})"));
        let up = module.value(&format!("torch.sub(torch.add({length}, {stride}), 1)"));
        let steps = module.value(&format!("torch.sub(torch.floordiv({up}, {stride}), 1)"));
        let seen = module.value(&format!("torch.add(torch.mul({steps}, {stride}), {reach})"));
        let all = module.value(&format!("ops.prim.max(torch.sub({seen}, {length}), 0)"));
        let before = module.value(&format!("torch.floordiv({all}, 2)"));
        let after = module.value(&format!("torch.sub({all}, {before})"));
        [before, after]
    };
    let [[top, bottom], [left, right]] = [around(2, &reach[0]), around(3, &reach[1])];
    module.value(&format!(
        "torch.constant_pad_nd({INPUT}, [{left}, {right}, {top}, {bottom}], 0)"
    ))
}

/// Like `torch.nn.BatchNorm2d`, also when the module is trained.
fn batch_norm(name: &str, design: &BatchNorm2d) -> Module {
    let mut module = Builder::new("BatchNorm2d");
    let [weight, bias] = ["weight", "bias"].map(|slot| module.parameter(slot, joined(name, slot)));
    let [mean, variance, counter] = ["running_mean", "running_var", "num_batches_tracked"]
        .map(|slot| module.buffer(slot, joined(name, slot)));
    let training = module.training();
    module.lines([
        format!("if {training}:"),
        format!("  _ = torch.add_({counter}, 1)"),
        "else:".to_owned(),
        "  pass".to_owned(),
    ]);
    let (momentum, epsilon) = (decimal(design.momentum), decimal(design.epsilon));
    let value = module.value(&format!(
        "torch.batch_norm({INPUT}, {weight}, {bias}, {mean}, {variance}, {training}, {momentum}, {epsilon}, True)"
    ));
    module.returning(&value)
}

fn layer_norm(name: &str, design: &LayerNorm) -> Module {
    let mut module = Builder::new("LayerNorm");
    let [weight, bias] = ["weight", "bias"].map(|slot| module.parameter(slot, joined(name, slot)));
    let features = module.integer("features", design.features);
    let epsilon = decimal(design.epsilon);
    let normalised = |module: &mut Builder, value: &str| {
        module.value(&format!(
            "torch.layer_norm({value}, [{features}], {weight}, {bias}, {epsilon}, True)"
        ))
    };
    let value = match design.over {
        Channels::Last => normalised(&mut module, INPUT),
        Channels::Second => {
            let last = module.value(&format!("torch.permute({INPUT}, [0, 2, 3, 1])"));
            let value = normalised(&mut module, &last);
            module.value(&format!("torch.permute({value}, [0, 3, 1, 2])"))
        }
    };
    module.returning(&value)
}

fn linear(name: &str, design: &Linear) -> Module {
    let mut module = Builder::new("Linear");
    let value = match design.over {
        Channels::Last => product(&mut module, name, "", design.bias, INPUT),
        Channels::Second => {
            let last = module.value(&format!("torch.permute({INPUT}, [0, 2, 3, 1])"));
            let value = product(&mut module, name, "", design.bias, &last);
            module.value(&format!("torch.permute({value}, [0, 3, 1, 2])"))
        }
    };
    module.returning(&value)
}

/// A layer without tensors.
fn line(around: &mut Builder, op: &Op, value: &str) -> String {
    let expression = match *op {
        Op::Activation(activation) => activated(activation, value),
        Op::MaxPool2d(pool) => {
            let [side, stride, padding] = sizes(pool);
            let ceil = boolean(pool.ceil);
            format!("torch.max_pool2d({value}, {side}, {stride}, {padding}, [1, 1], {ceil})")
        }
        Op::AvgPool2d(pool) => {
            let [side, stride, padding] = sizes(pool);
            let ceil = boolean(pool.ceil);
            format!("torch.avg_pool2d({value}, {side}, {stride}, {padding}, {ceil}, True, None)")
        }
        Op::AdaptiveAvgPool2d { side } => format!("torch.adaptive_avg_pool2d({value}, [{side}, {side}])"),
        Op::Flatten => format!("torch.flatten({value}, 1)"),
        Op::ToTokens => format!("torch.transpose(torch.flatten({value}, 2), 1, 2)"),
        Op::FirstToken => format!("torch.select({value}, 1, 0)"),
        Op::MeanToken { skipped } => {
            let tokens = around.value(&format!("torch.slice({value}, 1, {skipped})"));
            format!("torch.mean({tokens}, [1])")
        }
        Op::Normalise => {
            let length = around.value(&format!("torch.norm({value}, 2, [-1], True)"));
            format!("torch.div({value}, torch.clamp_min({length}, 1e-12))")
        }
        Op::MergePatches => windows::merged(around, value),
        Op::Subsample { stride } => {
            let end = i64::MAX;
            let rows = around.value(&format!("torch.slice({value}, 2, 0, {end}, {stride})"));
            format!("torch.slice({rows}, 3, 0, {end}, {stride})")
        }
        Op::Narrow { first, count } => format!("torch.slice({value}, 1, {first}, {})", first + count),
        Op::ChannelShuffle { groups } => format!("torch.channel_shuffle({value}, {groups})"),
        Op::PadChannels { channels } => {
            format!("torch.constant_pad_nd({value}, [0, 0, 0, 0, {channels}, {channels}], 0)")
        }
        Op::Dropout { probability } => {
            let training = around.training();
            format!("torch.dropout({value}, {}, {training})", decimal(probability))
        }
        Op::StochasticDepth { probability, over } => {
            let training = around.training();
            let dimensions = match over {
                Channels::Second => "[1, 2, 3]",
                Channels::Last => "[1, 2]",
            };
            let ones = around.value(&format!(
                "torch.ones_like(torch.mean({value}, {dimensions}, True))"
            ));
            let kept = around.value(&format!(
                "torch.dropout({ones}, {}, {training})",
                decimal(probability)
            ));
            format!("torch.mul({value}, {kept})")
        }
        Op::Conv2d(_)
        | Op::BatchNorm2d(_)
        | Op::LayerNorm(_)
        | Op::Linear(_)
        | Op::Attention(_)
        | Op::WindowAttention(_)
        | Op::Neighbours(_)
        | Op::LearnedTokens { .. }
        | Op::PositionEmbedding(_)
        | Op::LayerScale(_)
        | Op::Sequence(_)
        | Op::Sum(_)
        | Op::Concat(_)
        | Op::Product(_) => unreachable!("{op:?} has tensors or is a composition"),
    };
    around.value(&expression)
}

fn activated(activation: Activation, value: &str) -> String {
    let operator = match activation {
        Activation::Relu => "relu",
        Activation::Relu6 => "relu6",
        Activation::Silu => "silu",
        Activation::Gelu => "gelu",
        Activation::Sigmoid => "sigmoid",
        Activation::HardSwish => "hardswish",
        Activation::HardSigmoid => "hardsigmoid",
        Activation::QuickGelu => {
            return format!("torch.mul({value}, torch.sigmoid(torch.mul({value}, 1.702)))");
        }
    };
    format!("torch.{operator}({value})")
}

fn sizes(pool: Pool) -> [String; 3] {
    [pool.side, pool.stride, pool.padding].map(|size| format!("[{size}, {size}]"))
}

fn boolean(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

/// The module of a whole network: `[N, 3, H, W]` to logits `[N, classes]`.
pub fn of(design: &NetworkDesign, outputs: Outputs) -> Module {
    let head = design.head_of(outputs.head, outputs.classes as u64);
    let mut root = Builder::new("Network");
    let value = sequence(&mut root, &design.merged(head), "", INPUT);
    let mut root = root.returning(&value);
    root.name_classes(&mut Vec::new());
    root
}
