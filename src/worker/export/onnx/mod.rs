//! ONNX: the network's layers as a graph of opset 17, including its weights under torchvision's names.
//!
//! The input `input` is `[N, 3, crop, crop]`, 32-bit floats: normalised, or pixels scaled to 0–1 where the graph includes the
//! normalisation. The output is `logits`, or `probabilities` with the temperature, `[N, classes]`; of a backbone without a head it is
//! `embedding`, `[N, features]`. N is dynamic. BatchNorm is not folded:
//! runtimes do that themselves, and the weights keep their names.

mod graph;
mod layers;
mod messages;
mod products;
#[cfg(test)]
mod tests;
mod tokens;
mod windows;

use std::{fs, path::Path};

use prost::Message;

use self::{
    graph::{Graph, integer},
    messages::{
        DimensionProto, Extent, FLOAT, GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto,
        TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
    },
};
use super::Model;
use crate::domain::{
    architecture::{Head, Outputs, network::NetworkDesign, shape::Shape},
    models::{export::ExportSpec, model::ModelCard, preprocessing::Preprocessing},
    spec::Task,
};

/// Opset 17 belongs to version 8 of the format: ONNX 1.12 and newer, onnxruntime 1.12 and newer.
const OPSET: i64 = 17;
const IR_VERSION: i64 = 8;
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
    let mut output = output(
        &mut graph,
        card.architecture.design(),
        card.outputs(),
        value,
        card.preprocessing.crop,
    );
    if spec.softmax {
        output = probabilities(&mut graph, &output, card);
    }
    let side = i64::from(card.preprocessing.crop);
    let graph = GraphProto {
        node: graph.nodes,
        name: card.architecture.to_string(),
        initializer: graph.initializers,
        input: vec![tensor(INPUT, &[3, side, side])],
        output: vec![tensor(&output, &[width(card)])],
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

/// Numbers for each image.
fn width(card: &ModelCard) -> i64 {
    match card.head {
        Head::None => card.architecture.features() as i64,
        _ => card.classes.len() as i64,
    }
}

/// From `input`, `[N, 3, side, side]`, to the logits `[N, classes]`, or to the feature vectors of a network without a head.
fn output(graph: &mut Graph, design: &NetworkDesign, outputs: Outputs, input: String, side: u32) -> String {
    let mut place = layers::Place {
        value: input,
        shape: Shape::image(side.into()),
    };
    for layer in design.backbone() {
        place = layers::layer(graph, layer, "", place);
    }
    if !outputs.head.is_linear() || design.has_map_features() {
        let head = design.head_of(outputs.head, outputs.classes as u64);
        let place = layers::layer(graph, &head, "", place);
        let name = match outputs.head {
            Head::None => "embedding",
            _ => "logits",
        };
        return graph.node("Identity", name, [&place.value], Vec::new());
    }
    let [weight, bias] = ["weight", "bias"].map(|part| graph.weight(format!("{}.{part}", design.head)));
    graph.node(
        "Gemm",
        "logits",
        [&place.value, &weight, &bias],
        vec![integer("transB", 1)],
    )
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

fn probabilities(graph: &mut Graph, logits: &str, card: &ModelCard) -> String {
    if card.task == Task::MultiTask {
        return probabilities_of_tasks(graph, logits, card);
    }
    let temperature = graph.floats("temperature", &[], &[card.temperature as f32]);
    let calibrated = graph.node("Div", "logits.calibrated", [logits, &temperature], Vec::new());
    if card.task == Task::MultiLabel {
        return graph.node("Sigmoid", "probabilities", [&calibrated], Vec::new());
    }
    graph.node(
        "Softmax",
        "probabilities",
        [&calibrated],
        vec![integer("axis", 1)],
    )
}

/// A softmax over the classes of each task, in the order of the classes.
fn probabilities_of_tasks(graph: &mut Graph, logits: &str, card: &ModelCard) -> String {
    let mut parts = Vec::new();
    let mut places = vec![0; card.classes.len()];
    let mut place = 0;
    for (number, task) in card.tasks.iter().enumerate() {
        let name = |part: &str| format!("tasks.{number}.{part}");
        let classes: Vec<i64> = task.classes.iter().map(|class| i64::from(*class)).collect();
        let own = graph.integers(&name("classes"), &classes);
        let axis = || vec![integer("axis", 1)];
        let own = graph.node("Gather", &name("logits"), [logits, &own], axis());
        let temperature = graph.floats(&name("temperature"), &[], &[task.temperature as f32]);
        let calibrated = graph.node("Div", &name("calibrated"), [&own, &temperature], Vec::new());
        parts.push(graph.node("Softmax", &name("probabilities"), [&calibrated], axis()));
        for class in &task.classes {
            places[*class as usize] = place;
            place += 1;
        }
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let joined = graph.node("Concat", "tasks.probabilities", parts, vec![integer("axis", 1)]);
    let places = graph.integers("tasks.places", &places);
    graph.node(
        "Gather",
        "probabilities",
        [&joined, &places],
        vec![integer("axis", 1)],
    )
}
