//! Holds the graphs to ONNX's rules, and, computed node by node with libtorch, to the network's own logits. Other people's runtimes and
//! checker are asked by `scripts/interop`.

use std::collections::{BTreeMap, BTreeSet};

use tch::{Device, Kind, Tensor};

use super::{messages::*, *};
use crate::worker::autograd::without_gradients;
use crate::{
    domain::{
        architecture::{Architecture, Head},
        models::export::ExportFormat,
    },
    worker::{
        export::tests::{TEMPERATURE, backbone, heads, images, model, model_for_images, model_with},
        files::state::{self, StateDict},
        nets::{Network, tests::one_of_each_family, vocabulary},
    },
};

fn spec(normalize: bool, softmax: bool) -> ExportSpec {
    ExportSpec::check(
        ExportFormat::Onnx,
        normalize,
        softmax,
        Architecture::Resnet18,
        Head::Linear,
        224,
    )
    .unwrap()
}

fn written(model: &Model, spec: &ExportSpec) -> ModelProto {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    write(&path, model, spec).unwrap();
    ModelProto::decode(&*fs::read(&path).unwrap()).unwrap()
}

fn tensor_of(proto: &TensorProto) -> Tensor {
    let kind = match proto.data_type {
        FLOAT => Kind::Float,
        INT64 => Kind::Int64,
        other => panic!("{}: {other}", proto.name),
    };
    let mut tensor = Tensor::empty(&proto.dims, (kind, Device::Cpu));
    // SAFETY: it was just created, so no other tensor shares its memory.
    let memory = unsafe { state::bytes_mut(&mut tensor) };
    assert_eq!(memory.len(), proto.raw_data.len(), "{}", proto.name);
    memory.copy_from_slice(&proto.raw_data);
    tensor
}

/// Computes a graph with libtorch, one node after another.
fn computed(graph: &GraphProto, input: &Tensor) -> Tensor {
    let mut values: BTreeMap<&str, Tensor> = graph
        .initializer
        .iter()
        .map(|proto| (proto.name.as_str(), tensor_of(proto)))
        .collect();
    values.insert(&graph.input[0].name, input.shallow_clone());
    for node in &graph.node {
        let inputs: Vec<&Tensor> = node.input.iter().map(|name| &values[name.as_str()]).collect();
        for (name, output) in node.output.iter().zip(step(node, &inputs)) {
            values.insert(name, output);
        }
    }
    values[graph.output[0].name.as_str()].shallow_clone()
}

fn step(node: &NodeProto, inputs: &[&Tensor]) -> Vec<Tensor> {
    if let ("TopK", [x, k]) = (node.op_type.as_str(), inputs) {
        let axis = node.attribute.iter().find(|it| it.name == "axis");
        let (nearest, places) = x.topk(k.int64_value(&[0]), axis.unwrap().i.unwrap(), true, true);
        return vec![nearest, places];
    }
    vec![one_output(node, inputs)]
}

fn one_output(node: &NodeProto, inputs: &[&Tensor]) -> Tensor {
    let find = |name: &str| node.attribute.iter().find(|it| it.name == name);
    let attribute = |name: &str| find(name).unwrap_or_else(|| panic!("{}: no {name}", node.name));
    let list = |name: &str| attribute(name).ints.clone();
    let number = |name: &str| attribute(name).i.unwrap();
    let numbers = |tensor: &Tensor| Vec::<i64>::try_from(tensor).unwrap();
    // Pads come as begins and then ends.
    let around = |x: &Tensor| match list("pads").as_slice() {
        [top, left, bottom, right] => x.constant_pad_nd([*left, *right, *top, *bottom]),
        other => panic!("{other:?}"),
    };
    let even = || list("pads")[..2].to_vec();
    match (node.op_type.as_str(), inputs) {
        ("Conv", [x, weight, bias @ ..]) => {
            assert_eq!(list("kernel_shape"), weight.size()[2..]);
            let dilations = find("dilations").map_or(vec![1, 1], |it| it.ints.clone());
            let bias = bias.first().copied();
            around(x).conv2d(weight, bias, list("strides"), [0, 0], dilations, number("group"))
        }
        ("BatchNormalization", [x, scale, shift, mean, variance]) => {
            let epsilon = f64::from(attribute("epsilon").f.unwrap());
            x.batch_norm(
                Some(*scale),
                Some(*shift),
                Some(*mean),
                Some(*variance),
                false,
                0.0,
                epsilon,
                false,
            )
        }
        ("LayerNormalization", [x, scale, shift]) => {
            assert_eq!(number("axis"), -1);
            let epsilon = f64::from(attribute("epsilon").f.unwrap());
            x.layer_norm(scale.size(), Some(*scale), Some(*shift), epsilon, false)
        }
        ("Identity", [x]) => x.shallow_clone(),
        ("Relu", [x]) => x.relu(),
        ("Clip", [x, least]) => x.clamp_min(least.double_value(&[])),
        ("Clip", [x, least, most]) => x.clamp(least.double_value(&[]), most.double_value(&[])),
        ("Sigmoid", [x]) => x.sigmoid(),
        ("HardSwish", [x]) => x.hardswish(),
        ("HardSigmoid", [x]) => {
            let [slope, shift] = ["alpha", "beta"].map(|name| f64::from(attribute(name).f.unwrap()));
            (*x * slope + shift).clamp(0.0, 1.0)
        }
        ("Erf", [x]) => x.erf(),
        ("MaxPool", [x]) => {
            let ceil = find("ceil_mode").is_some();
            x.max_pool2d(list("kernel_shape"), list("strides"), even(), [1, 1], ceil)
        }
        ("AveragePool", [x]) => {
            let padding = find("pads").map_or(vec![0, 0], |_| even());
            x.avg_pool2d(list("kernel_shape"), list("strides"), padding, false, true, None)
        }
        ("Add", [a, b]) => *a + *b,
        ("Sub", [a, b]) => *a - *b,
        ("Mul", [a, b]) => *a * *b,
        ("Div", [a, b]) => *a / *b,
        ("MatMul", [a, b]) => a.matmul(b),
        ("Transpose", [x]) => x.permute(list("perm")).contiguous(),
        ("Reshape", [x, size]) => {
            let own = x.size();
            // 0 is the input's own.
            let size = numbers(size).into_iter().enumerate();
            let size: Vec<i64> = size
                .map(|(place, length)| if length == 0 { own[place] } else { length })
                .collect();
            x.reshape(size)
        }
        ("Gather", [x, index]) if index.dim() > 0 => {
            let axis = number("axis");
            let (mut size, at) = (x.size(), axis as usize);
            size.splice(at..=at, index.size());
            x.index_select(axis, &index.reshape([-1])).view(size.as_slice())
        }
        ("Gather", [x, index]) => x.select(number("axis"), index.int64_value(&[])),
        ("Shape", [x]) => Tensor::from_slice(&x.size()[..number("end") as usize]),
        ("Concat", all) => Tensor::cat(all, number("axis")),
        ("Expand", [x, size]) => x.expand(numbers(size), false),
        ("ReduceL2", [x]) => x.norm_scalaropt_dim(2.0, list("axes").as_slice(), number("keepdims") != 0),
        ("ReduceSum", [x, axes]) => {
            x.sum_dim_intlist(numbers(axes).as_slice(), number("keepdims") != 0, Kind::Float)
        }
        ("Cast", [x]) => {
            assert_eq!(number("to"), i64::from(INT64));
            x.to_kind(Kind::Int64)
        }
        ("OneHot", [x, depth, ends]) => {
            assert_eq!(number("axis"), -1);
            let [off, on] = [0, 1].map(|end| ends.double_value(&[end]));
            x.one_hot(depth.int64_value(&[])).to_kind(Kind::Float) * (on - off) + off
        }
        ("Unsqueeze", [x, axes]) => x.unsqueeze(axes.int64_value(&[0])),
        ("Log", [x]) => x.log(),
        ("ReduceMean", [x]) => x.mean_dim(list("axes").as_slice(), number("keepdims") != 0, Kind::Float),
        ("GlobalAveragePool", [x]) => x.adaptive_avg_pool2d([1, 1]),
        ("Flatten", [x]) => x.flatten(number("axis"), -1),
        ("Gemm", [x, weight, bias]) => {
            assert_eq!(number("transB"), 1);
            x.linear(weight, Some(*bias))
        }
        ("Softmax", [x]) => x.softmax(number("axis"), Kind::Float),
        ("Slice", [x, start, end, axis]) => {
            let [start, end, axis] = [start, end, axis].map(|tensor| numbers(tensor)[0]);
            x.slice(axis, start, end, 1)
        }
        ("Slice", [x, starts, ends, axes, steps]) => {
            let bounds = [starts, ends, axes, steps].map(|tensor| numbers(tensor));
            (0..2).fold(x.shallow_clone(), |x, place| {
                let [start, end, axis, step] = [0, 1, 2, 3].map(|part| bounds[part][place]);
                x.slice(axis, start, end, step)
            })
        }
        ("Pad", [x, pads]) => {
            let pads = numbers(pads);
            let (before, after) = pads.split_at(pads.len() / 2);
            // libtorch begins with the last dimension.
            let sides = before.iter().zip(after).rev();
            let sides: Vec<i64> = sides.flat_map(|(before, after)| [*before, *after]).collect();
            x.constant_pad_nd(sides)
        }
        other => panic!("{other:?}"),
    }
}

fn off(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.size(), expected.size());
    (found - expected).abs().max().double_value(&[]) / expected.abs().max().double_value(&[]).max(1.0)
}

#[test]
fn every_architectures_graph_is_well_formed_and_computes_its_logits() {
    for architecture in one_of_each_family() {
        // The graph is for images of one size.
        let model = model_for_images(architecture);
        let proto = written(&model, &spec(false, false));
        assert_eq!((proto.ir_version, proto.opset_import[0].version), (8, 17));
        let graph = proto.graph.unwrap();
        is_well_formed(&graph, &model.state);
        let images = images(3, architecture);
        let found = without_gradients(|| computed(&graph, &images));
        let off = off(&found, &model.network.logits(&images));
        assert!(off <= 1e-4, "{architecture} is off by {off:e}");
    }
}

#[test]
fn every_heads_graph_is_well_formed_and_computes_its_logits() {
    for (architecture, head) in heads() {
        let model = model_with(architecture, head);
        let graph = written(&model, &spec(false, true)).graph.unwrap();
        is_well_formed(&graph, &model.state);
        let images = images(3, architecture);
        let found = without_gradients(|| computed(&graph, &images));
        let expected = (model.network.logits(&images) / TEMPERATURE).softmax(1, Kind::Float);
        assert!(off(&found, &expected) <= 1e-4, "{architecture} {head:?}");
    }
}

#[test]
fn the_graph_of_a_backbone_without_a_head_gives_its_features() {
    let model = backbone();
    let graph = written(&model, &spec(false, false)).graph.unwrap();
    is_well_formed(&graph, &model.state);
    assert_eq!(graph.output[0].name, "embedding");
    let images = images(3, Architecture::Resnet20);
    let found = without_gradients(|| computed(&graph, &images));
    assert_eq!(found.size(), [3, 64]);
    assert!(off(&found, &model.network.logits(&images)) <= 1e-4);
}

/// Every value is made once, before it is used, and nothing in vain; every weight is there as it is.
fn is_well_formed(graph: &GraphProto, state: &StateDict) {
    {
        let mut known: BTreeSet<&str> = graph.initializer.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(known.len(), graph.initializer.len(), "no name is given twice");
        assert!(known.insert(&graph.input[0].name));
        let mut used = BTreeSet::new();
        for node in &graph.node {
            for input in &node.input {
                assert!(
                    known.contains(input.as_str()),
                    "{}: {input} comes later",
                    node.name
                );
                used.insert(input.as_str());
            }
            for output in &node.output {
                assert!(known.insert(output), "{output} is made twice");
            }
        }
        used.insert(&graph.output[0].name);
        assert_eq!(used, known, "nothing is made in vain");

        let weights = graph.initializer.iter().filter(|it| state.contains_key(&it.name));
        let learned = |name: &&String| !name.ends_with("num_batches_tracked");
        assert_eq!(weights.count(), state.keys().filter(learned).count());
        for it in &graph.initializer {
            if let Some(tensor) = state.get(&it.name) {
                // Positions are interpolated for the graph's images: there may be more or fewer of them.
                let sizes = [tensor.size(), it.dims.clone()].map(|mut size| {
                    if it.name.contains("pos_embed") {
                        size[1] = 0;
                    }
                    size
                });
                assert_eq!(sizes[0], sizes[1], "{}", it.name);
            }
        }
    }
}

#[test]
fn every_word_of_the_vocabulary_is_computed_as_it_is_trained() {
    for design in vocabulary::networks() {
        let tensors = vocabulary::state(&design).into_iter();
        let state: StateDict = tensors
            .map(|(name, tensor)| (name, tensor.contiguous()))
            .collect();
        let mut graph = Graph::new(&state);
        let output = output(
            &mut graph,
            &design,
            Outputs::from(vocabulary::CLASSES as usize),
            INPUT.to_owned(),
            vocabulary::SIDE as u32,
        );
        let graph = GraphProto {
            node: graph.nodes,
            name: "vocabulary".to_owned(),
            initializer: graph.initializers,
            input: vec![tensor(INPUT, &[3, vocabulary::SIDE, vocabulary::SIDE])],
            output: vec![tensor(&output, &[vocabulary::CLASSES as i64])],
        };
        is_well_formed(&graph, &state);
        let images = vocabulary::images(3);
        let found = without_gradients(|| computed(&graph, &images));
        let off = off(&found, &vocabulary::logits(&design, &images));
        assert!(off <= 1e-4, "off by {off:e}");
    }
}

#[test]
fn normalisation_and_softmax_are_in_the_graph_where_they_are_asked_for() {
    let architecture = Architecture::Resnet20;
    let model = model(architecture);
    let pixels = (images(2, architecture) + 2.0) / 4.0;
    let recipe = &model.card.preprocessing;
    let channels = |values: &[f32; 3]| Tensor::from_slice(values).view([1, 3, 1, 1]);
    let normalised = (&pixels - channels(&recipe.mean)) / channels(&recipe.std);
    let logits = model.network.logits(&normalised);
    let probabilities = (&logits / TEMPERATURE).softmax(1, Kind::Float);
    for (wish, name, input, expected) in [
        (spec(true, false), "logits", &pixels, &logits),
        (spec(false, true), "probabilities", &normalised, &probabilities),
        (spec(true, true), "probabilities", &pixels, &probabilities),
    ] {
        let proto = written(&model, &wish);
        let told: BTreeMap<&str, &str> = proto
            .metadata_props
            .iter()
            .map(|entry| (entry.key.as_str(), entry.value.as_str()))
            .collect();
        assert_eq!(told["labels"], r#"["ants","bees","cats"]"#);
        assert_eq!(told["input"].contains("0 to 1"), wish.normalize);
        let graph = proto.graph.unwrap();
        assert_eq!(graph.output[0].name, name);
        let found = without_gradients(|| computed(&graph, input));
        assert!(off(&found, expected) <= 1e-4, "{name}");
    }
    let other = Network::drawn(architecture, 3, 5, Device::Cpu).logits(&normalised);
    assert!(off(&other, &logits) > 1e-2, "another network is far from it");
}

#[test]
fn the_batch_has_a_name_and_everything_else_a_number() {
    let proto = written(&model(Architecture::Resnet18), &spec(false, false));
    let graph = proto.graph.unwrap();
    let shape = |value: &ValueInfoProto| {
        let tensor = value.r#type.clone().unwrap().tensor_type.unwrap();
        assert_eq!(tensor.elem_type, FLOAT);
        let extents = tensor.shape.unwrap().dim.into_iter();
        extents.map(|dim| dim.value.unwrap()).collect::<Vec<_>>()
    };
    let named = || Extent::Named("N".to_owned());
    let [three, side] = [3, 32].map(Extent::Number);
    assert_eq!(
        shape(&graph.input[0]),
        [named(), three.clone(), side.clone(), side]
    );
    assert_eq!(shape(&graph.output[0]), [named(), three]);
}
