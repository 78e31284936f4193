//! ONNX: the network's design as a graph of opset 17, its weights inside under torchvision's names.
//!
//! The input `input` is `[N, 3, crop, crop]`, 32-bit floats: normalised, or pixels on the scale 0–1 where the graph normalises them itself.
//! The output is `logits`, or `probabilities` with the temperature, `[N, classes]`. N is whatever the caller sends. BatchNorm stays what it
//! is: runtimes fold it themselves, and weights can be told by their names.

mod graph;
mod messages;
#[cfg(test)]
mod tests;

use std::{fs, path::Path};

use prost::Message;

use self::{
    graph::{Graph, float, integer, integers},
    messages::{
        DimensionProto, Extent, FLOAT, GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto,
        TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
    },
};
use super::Model;
use crate::domain::{
    architecture::design::{Block, Convolution, Design, Shortcut},
    export::ExportSpec,
    preprocessing::Preprocessing,
};

/// Opset 17 belongs to version 8 of the format: ONNX 1.12 and newer, onnxruntime 1.12 and newer.
const OPSET: i64 = 17;
const IR_VERSION: i64 = 8;
/// BatchNorm's, as torch has it.
const EPSILON: f32 = 1e-5;
const INPUT: &str = "input";

/// Writes the graph of a model.
pub fn write(path: &Path, model: &Model, spec: &ExportSpec) -> anyhow::Result<()> {
    Ok(fs::write(path, message(model, spec).encode_to_vec())?)
}

fn message(model: &Model, spec: &ExportSpec) -> ModelProto {
    let card = &model.card;
    let mut graph = Graph::new(&model.state);
    let mut value = INPUT.to_owned();
    if spec.normalize {
        value = normalised(&mut graph, &value, &card.preprocessing);
    }
    let features = backbone(&mut graph, &value, &Design::of(card.architecture));
    let head = card.architecture.head();
    let [weight, bias] = ["weight", "bias"].map(|part| graph.weight(format!("{head}.{part}")));
    let mut output = graph.node(
        "Gemm",
        "logits",
        [&features, &weight, &bias],
        vec![integer("transB", 1)],
    );
    if spec.softmax {
        output = probabilities(&mut graph, &output, card.temperature as f32);
    }
    let side = i64::from(card.preprocessing.crop);
    let graph = GraphProto {
        node: graph.nodes,
        name: card.architecture.to_string(),
        initializer: graph.initializers,
        input: vec![tensor(INPUT, &[3, side, side])],
        output: vec![tensor(&output, &[card.classes.len() as i64])],
    };
    ModelProto {
        ir_version: IR_VERSION,
        producer_name: env!("CARGO_PKG_NAME").to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: OPSET,
        }],
        metadata_props: texts(model, spec),
    }
}

fn texts(model: &Model, spec: &ExportSpec) -> Vec<StringStringEntryProto> {
    let mut texts = model.texts();
    let input = if spec.normalize {
        "red, green and blue on the scale 0 to 1"
    } else {
        "red, green and blue, normalised as `preprocessing` says"
    };
    texts.insert("input".to_owned(), input.to_owned());
    let entries = texts.into_iter();
    entries
        .map(|(key, value)| StringStringEntryProto { key, value })
        .collect()
}

/// `[N, …]` of 32-bit floats.
fn tensor(name: &str, extents: &[i64]) -> ValueInfoProto {
    let numbers = extents.iter().map(|extent| Extent::Number(*extent));
    let dim = std::iter::once(Extent::Named("N".to_owned()))
        .chain(numbers)
        .map(|extent| DimensionProto { value: Some(extent) });
    let shape = TensorShapeProto { dim: dim.collect() };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type: FLOAT,
                shape: Some(shape),
            }),
        }),
    }
}

fn normalised(graph: &mut Graph, pixels: &str, preprocessing: &Preprocessing) -> String {
    let mean = graph.floats("input.mean", &[1, 3, 1, 1], &preprocessing.mean);
    let std = graph.floats("input.std", &[1, 3, 1, 1], &preprocessing.std);
    let centred = graph.node("Sub", "input.centred", [pixels, &mean], Vec::new());
    graph.node("Div", "input.normalised", [&centred, &std], Vec::new())
}

fn probabilities(graph: &mut Graph, logits: &str, temperature: f32) -> String {
    let temperature = graph.floats("temperature", &[], &[temperature]);
    let calibrated = graph.node("Div", "logits.calibrated", [logits, &temperature], Vec::new());
    graph.node(
        "Softmax",
        "probabilities",
        [&calibrated],
        vec![integer("axis", 1)],
    )
}

/// From `[N, 3, H, W]` to the feature vectors `[N, features]`.
fn backbone(graph: &mut Graph, input: &str, design: &Design) -> String {
    let stem = design.stem();
    let mut value = conv_norm(graph, input, "", ["conv1", "bn1"], &stem.convolution);
    value = relu(graph, "relu", &value);
    if stem.pooling {
        let window = vec![
            integers("kernel_shape", &[3, 3]),
            integers("strides", &[2, 2]),
            integers("pads", &[1; 4]),
        ];
        value = graph.node("MaxPool", "maxpool", [&value], window);
    }
    for (stage, blocks) in design.blocks() {
        for (index, block) in blocks.iter().enumerate() {
            value = residual(graph, &value, &format!("{}.{index}.", stage.as_str()), block);
        }
    }
    let pooled = graph.node("GlobalAveragePool", "avgpool", [&value], Vec::new());
    graph.node("Flatten", "features", [&pooled], vec![integer("axis", 1)])
}

fn residual(graph: &mut Graph, input: &str, prefix: &str, block: &Block) -> String {
    let mut value = input.to_owned();
    for (number, convolution) in (1..).zip(&block.branch) {
        let (conv, norm) = (format!("conv{number}"), format!("bn{number}"));
        value = conv_norm(graph, &value, prefix, [&conv, &norm], convolution);
        if number < block.branch.len() {
            value = relu(graph, &format!("{prefix}relu{number}"), &value);
        }
    }
    let shortcut = match &block.shortcut {
        Shortcut::Identity => input.to_owned(),
        Shortcut::Projection(convolution) => {
            let names = ["downsample.0", "downsample.1"];
            conv_norm(graph, input, prefix, names, convolution)
        }
        Shortcut::Padded { stride, channels } => {
            padded(graph, input, prefix, *stride as i64, *channels as i64)
        }
    };
    let sum = graph.node("Add", &format!("{prefix}add"), [&value, &shortcut], Vec::new());
    relu(graph, &format!("{prefix}relu"), &sum)
}

fn conv_norm(
    graph: &mut Graph,
    input: &str,
    prefix: &str,
    [conv, norm]: [&str; 2],
    design: &Convolution,
) -> String {
    let [side, stride, groups] = [design.side, design.stride, design.groups].map(|size| size as i64);
    let weight = graph.weight(format!("{prefix}{conv}.weight"));
    let window = vec![
        integers("kernel_shape", &[side; 2]),
        integers("strides", &[stride; 2]),
        integers("pads", &[side / 2; 4]),
        integer("group", groups),
    ];
    let value = graph.node("Conv", &format!("{prefix}{conv}"), [input, &weight], window);
    let parts = ["weight", "bias", "running_mean", "running_var"];
    let [scale, shift, mean, variance] = parts.map(|part| graph.weight(format!("{prefix}{norm}.{part}")));
    graph.node(
        "BatchNormalization",
        &format!("{prefix}{norm}"),
        [&value, &scale, &shift, &mean, &variance],
        vec![float("epsilon", EPSILON)],
    )
}

fn relu(graph: &mut Graph, name: &str, input: &str) -> String {
    graph.node("Relu", name, [input], Vec::new())
}

/// Every `stride`-th pixel of both directions, `channels` of zeros before and as many after.
fn padded(graph: &mut Graph, input: &str, prefix: &str, stride: i64, channels: i64) -> String {
    let name = |part: &str| format!("{prefix}shortcut.{part}");
    let starts = graph.integers(&name("starts"), &[0, 0]);
    let ends = graph.integers(&name("ends"), &[i64::MAX; 2]);
    let axes = graph.integers(&name("axes"), &[2, 3]);
    let steps = graph.integers(&name("steps"), &[stride; 2]);
    let fewer = graph.node(
        "Slice",
        &name("slice"),
        [input, &starts, &ends, &axes, &steps],
        Vec::new(),
    );
    let pads = graph.integers(&name("pads"), &[0, channels, 0, 0, 0, channels, 0, 0]);
    graph.node("Pad", &name("pad"), [&fewer, &pads], Vec::new())
}
