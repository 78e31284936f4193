//! Holds our networks to the numbers of torchvision and timm (`tests/golden/parity.json`, made by `scripts/parity`, and `families.json`, made
//! by `scripts/parity-families`) and to their own promises.

use std::{collections::BTreeMap, fs, path::Path};

use serde::Deserialize;
use tch::{Device, Kind, Tensor};

use super::*;
use crate::worker::autograd::without_gradients;
use crate::{
    domain::architecture::{Head, HeadKind},
    files::digest,
};

/// What torchvision computed.
#[derive(Deserialize)]
pub(crate) struct Golden {
    pub classes: usize,
    pub architectures: BTreeMap<String, Anatomy>,
    pub logits: BTreeMap<String, Vec<Vec<f32>>>,
    pub sgd: Vec<SgdCase>,
    pub training: Vec<TrainingCase>,
}

/// What torchvision or timm computed for a network that is no ResNet.
#[derive(Deserialize)]
struct FamilyNetwork {
    side: i64,
    logits: Vec<Vec<f32>>,
    #[serde(flatten)]
    anatomy: Anatomy,
    auxiliary: Option<Auxiliary>,
}

/// What its auxiliary heads answer in evaluation.
#[derive(Deserialize)]
struct Auxiliary {
    side: i64,
    logits: BTreeMap<String, Vec<Vec<f32>>>,
    /// Lines `name shape`, in the order of the names.
    tensors: Vec<String>,
}

#[derive(Deserialize)]
struct Families {
    classes: usize,
    networks: BTreeMap<String, FamilyNetwork>,
}

/// One network of each family, a small one; of the ResNets all.
pub(crate) fn one_of_each_family() -> Vec<Architecture> {
    let names = [
        "efficientnet_b0",
        "efficientnet_v2_s",
        "efficientnet_lite0",
        "vgg11_bn",
        "googlenet",
        "inception_v3",
        "xception",
        "densenet121",
        "mobilenet_v2",
        "mobilenet_v3_small",
        "mnasnet0_5",
        "shufflenet_v2_x0_5",
        "squeezenet1_1",
        "regnet_y_400mf",
        "convnext_atto",
        "convnext_tiny",
        "swin_t",
        "vit_tiny_patch16_224",
        "vit_b_32",
        "vit_small_patch14_reg4_dinov2",
        "vit_small_plus_patch16_dinov3",
        "vit_base_patch32_clip_quickgelu_224",
    ];
    let all = Architecture::ALL.into_iter();
    all.filter(|it| names.contains(&it.as_str()) || it.as_str().contains("resne"))
        .collect()
}

/// Sides, in pixels, of small images that an architecture takes.
pub(crate) fn sides(architecture: Architecture) -> Vec<i64> {
    let all = [32, 64, 70, 112].into_iter();
    all.filter(|side| architecture.check_size(*side as u32).is_ok())
        .collect()
}

/// One of them: as large as the architecture needs it to tell images apart.
pub(crate) fn usual_side(architecture: Architecture) -> i64 {
    let least = i64::from(architecture.native_size()).min(64);
    let mut sides = sides(architecture).into_iter();
    sides.find(|side| *side >= least).expect("one of them fits")
}

/// The names and shapes that PyTorch's `load_state_dict(strict=True)` asks for.
#[derive(Deserialize)]
pub(crate) struct Anatomy {
    tensors: usize,
    /// SHA-256 of the lines `name shape`, in the order of the names.
    state_sha256: String,
}

#[derive(Deserialize)]
pub(crate) struct SgdCase {
    pub lr: f64,
    pub momentum: f64,
    pub nesterov: bool,
    pub weight_decay: f64,
    pub steps: usize,
    pub end: Vec<f32>,
}

#[derive(Deserialize)]
pub(crate) struct TrainingCase {
    pub frozen: Option<Stage>,
    pub lr: f64,
    pub momentum: f64,
    pub nesterov: bool,
    pub weight_decay: f64,
    pub backbone_lr_multiplier: f64,
    pub losses: Vec<f32>,
    pub logits: Vec<Vec<f32>>,
    pub layer4_running_mean: Vec<f32>,
}

pub(crate) fn golden() -> Golden {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/parity.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn families() -> Families {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Numbers in [-1, 1) that depend on a name and a place: `values` of `scripts/parity`, as 64-bit floats.
pub(crate) fn values(name: &str, shape: &[i64]) -> Tensor {
    let low = 0xffff_ffffi64;
    let start = name.bytes().fold(0x811c_9dc5i64, |hash, byte| {
        ((hash ^ i64::from(byte)) * 0x0100_0193) & low
    });
    let count: i64 = shape.iter().product();
    let masked = |x: Tensor| x.bitwise_and(low);
    let shifted = |x: &Tensor, bits: i64| x.bitwise_xor_tensor(&x.bitwise_right_shift_tensor_scalar(bits));
    let x = masked(Tensor::arange(count, (Kind::Int64, Device::Cpu)) * 0x9e37_79b1i64 + start);
    let x = masked(shifted(&x, 16) * 0x85eb_ca6bi64);
    let x = masked(shifted(&x, 13) * 0xc2b2_ae35i64);
    let x = shifted(&x, 16);
    (x.to_kind(Kind::Double) / f64::from(1u32 << 31) - 1.0).reshape(shape)
}

/// A tensor of a network: `formula` of `scripts/parity`.
pub(crate) fn formula(name: &str, shape: &[i64]) -> Tensor {
    let base = values(name, shape);
    let scaled = match shape {
        [_, inputs, height, width] => base * (6.0 / (inputs * height * width) as f64).sqrt(),
        [_, _] => base * 0.1,
        _ if name.ends_with("running_var") => base * 0.5 + 1.0,
        _ if name.ends_with(".weight") => base * 0.25 + 0.6,
        _ => base * 0.1,
    };
    scaled.to_kind(Kind::Float)
}

/// Weights whose every tensor the formula gives.
fn weights_by_formula(architecture: Architecture, classes: usize) -> StateDict {
    let fault = Network::loaded(architecture, classes, &StateDict::new(), Device::Cpu).unwrap_err();
    let tensors = fault.missing.into_iter();
    tensors
        .map(|binder::Missing { name, shape }| (name.clone(), formula(&name, &shape)))
        .collect()
}

/// One head of each kind, for a few classes.
pub(crate) const HEADS: [Head; 4] = [
    Head::Linear,
    Head::Mlp { hidden: 24 },
    Head::Prototype,
    Head::Knn {
        images: 30,
        k: 9,
        temperature: 0.2,
    },
];

/// A network with such a head whose tensors look like real ones.
pub(crate) fn with_head(architecture: Architecture, head: Head, classes: usize) -> Network {
    let outputs = Outputs { head, classes };
    let network = Network::drawn(architecture, outputs, 3, Device::Cpu);
    without_gradients(|| {
        for (name, tensor) in network.state() {
            let shape = tensor.size();
            let wanted = match name.rsplit('.').next() {
                Some("labels") => {
                    Tensor::arange(shape[0], (Kind::Float, Device::Cpu)).remainder(classes as f64)
                }
                Some("bank") => values(name, &shape).to_kind(Kind::Float).abs(),
                _ if name.contains("prototypes") => values(name, &shape).to_kind(Kind::Float),
                _ => continue,
            };
            tensor.shallow_clone().copy_(&wanted);
        }
    });
    network
}

#[test]
fn heads_are_found_by_their_tensors_and_kept_where_they_fit() {
    let architecture = Architecture::Resnet20;
    for head in HEADS {
        let network = with_head(architecture, head, 3);
        let found = heads::found(network.state(), architecture).unwrap();
        assert_eq!((found.kind, found.classes), (head.kind().unwrap(), 3));
        let known = matches!(head, Head::Knn { .. });
        assert_eq!(found.head(), (!known).then_some(head));
        for wanted in HEADS {
            for classes in [3, 4] {
                let outputs = Outputs {
                    head: wanted,
                    classes,
                };
                let tuned = Network::fine_tuned(architecture, outputs, network.state(), 0, Device::Cpu);
                let (tuned, origin) = tuned.unwrap();
                let kept = wanted == head && classes == 3 && head.kind().is_some_and(HeadKind::learns);
                let drawn = HeadOrigin::Drawn { left_out: Some(3) };
                assert_eq!(origin, if kept { HeadOrigin::Weights } else { drawn });
                assert_eq!(tuned.outputs(), outputs);
                assert_eq!(tuned.logits(&images(2)).size(), [2, classes as i64]);
            }
        }
        let loaded = |head| {
            Network::loaded(
                architecture,
                Outputs { head, classes: 3 },
                network.state(),
                Device::Cpu,
            )
        };
        for other in HEADS {
            assert_eq!(loaded(other).is_ok(), other == head, "{head:?} {other:?}");
        }
    }
}

#[test]
fn neighbours_vote_as_in_dino() {
    let head = HEADS[3];
    let network = with_head(Architecture::Resnet20, head, 3);
    let features = values("query", &[4, 64]).to_kind(Kind::Float).abs();
    let found = network.head(&features);
    let [bank, labels] =
        ["bank", "labels"].map(|part| &network.state()[&format!("linear.neighbours.{part}")]);
    for row in 0..4 {
        let query = features.get(row);
        let query = &query / query.norm();
        let mut near: Vec<(f64, usize)> = (0..30)
            .map(|image| {
                let cosine = bank.get(image).dot(&query).double_value(&[]);
                (cosine, labels.double_value(&[image]) as usize)
            })
            .collect();
        near.sort_by(|one, other| other.0.total_cmp(&one.0));
        let mut votes = [0.0; 3];
        near.iter()
            .take(9)
            .for_each(|(cosine, class)| votes[*class] += (cosine / 0.2).exp());
        let total: f64 = votes.iter().sum();
        for (class, votes) in votes.into_iter().enumerate() {
            let expected = (votes / total).max(1e-6).ln();
            let off = (found.double_value(&[row, class as i64]) - expected).abs();
            assert!(off < 1e-3, "{row} {class}: {off}");
        }
    }
}

#[test]
fn a_head_of_another_kind_makes_the_same_of_a_map_and_of_its_mean() {
    let architecture = Architecture::Squeezenet1x1;
    for head in HEADS {
        let network = with_head(architecture, head, 3);
        let last = architecture.last_stage();
        let features = without_gradients(|| network.stages(&images(2), None, last, Mode::Eval));
        assert_eq!(features.size(), [2, 512, 3, 3]);
        let of_vectors = vectors(&features);
        assert_eq!(of_vectors.size(), [2, 512]);
        let off = network.head(&features) - network.head_of_vectors(&of_vectors);
        let is_same = off.abs().max().double_value(&[]) < 1e-5;
        // The published head has a ReLU before the mean.
        assert_eq!(is_same, head != Head::Linear, "{head:?}");
        let folded = folded::Folded::of(&network, Kind::Float, Device::Cpu);
        let distance = folded::distance(
            &network.logits(&images(2)),
            &folded.packed_for(2, 64).logits(&images(2)),
        );
        assert!(distance.unwrap() < 1e-4, "{head:?}");
    }
}

/// The network whose every tensor the formula gives.
pub(crate) fn by_formula(architecture: Architecture, classes: usize) -> Network {
    let weights = weights_by_formula(architecture, classes);
    Network::loaded(architecture, classes, &weights, Device::Cpu).unwrap()
}

pub(crate) fn images(count: i64) -> Tensor {
    images_of(count, 64)
}

fn images_of(count: i64, side: i64) -> Tensor {
    let images = (values("pictures", &[count, 3, side, side]) * 2.0).to_kind(Kind::Float);
    layers::channels_last(&images)
}

/// Of the images that an architecture's golden logits are for.
fn side(architecture: Architecture) -> i64 {
    if architecture.native_size() == 32 { 32 } else { 64 }
}

/// The largest difference between a tensor and numbers that it should hold.
pub(crate) fn distance(tensor: &Tensor, numbers: &[f32]) -> f64 {
    let flat = tensor.detach().to_kind(Kind::Double).flatten(0, -1);
    let expected = Tensor::from_slice(numbers).to_kind(Kind::Double);
    assert_eq!(flat.size(), expected.size());
    (flat - expected).abs().max().double_value(&[])
}

#[test]
fn every_architecture_computes_pytorchs_logits() {
    let (golden, families) = (golden(), families());
    let known = golden.logits.len() + families.networks.len();
    assert_eq!(known, Architecture::ALL.len());
    for architecture in Architecture::ALL {
        let name = architecture.as_str();
        let (side, expected, most) = match families.networks.get(name) {
            Some(network) => {
                let expected = network.logits.concat();
                // Of the largest logit, which the formula makes small in some families and large in others.
                let largest = expected
                    .iter()
                    .fold(0.0, |largest: f32, logit| largest.max(logit.abs()));
                (network.side, expected, 1e-4 * f64::from(largest))
            }
            None => (side(architecture), golden.logits[name].concat(), 1e-4),
        };
        let network = by_formula(architecture, golden.classes);
        let off = distance(&network.logits(&images_of(2, side)), &expected);
        assert!(off <= most, "{architecture} is off by {off:e}, at most {most:e}");
    }
}

#[test]
fn auxiliary_heads_answer_as_torchvisions_and_have_exactly_its_tensors() {
    let families = families();
    let with_heads = Architecture::ALL.into_iter().filter_map(|architecture| {
        let network = families.networks.get(architecture.as_str())?;
        Some((architecture, network.auxiliary.as_ref()?))
    });
    let mut found = 0;
    for (architecture, expected) in with_heads {
        let heads = architecture.auxiliary_heads(families.classes as u64);
        let places: Vec<_> = heads.iter().map(|head| head.begins).collect();
        let images = images_of(2, expected.side);
        let through = (None, architecture.last_stage());
        let network = by_formula(architecture, families.classes);
        let (_, seen) = without_gradients(|| network.stages_seen_at(&images, through, Mode::Eval, &places));
        assert_eq!(seen.len(), expected.logits.len());
        let mut tensors = Vec::new();
        for (head, seen) in heads.iter().zip(&seen) {
            let layers = aside::Aside::drawn(&head.layer, 1, Device::Cpu);
            let state = layers.state().iter();
            let state: StateDict = state
                .map(|(name, own)| match own.kind() {
                    Kind::Int64 => (name.clone(), own.shallow_clone()),
                    _ => (name.clone(), formula(name, &own.size())),
                })
                .collect();
            layers.restore(&state).unwrap();
            tensors.extend(
                state
                    .iter()
                    .map(|(name, tensor)| format!("{name} {:?}", tensor.size())),
            );
            let logits = layers.forward(seen, Mode::Eval);
            let expected = expected.logits[&head.layer.name].concat();
            let largest = expected
                .iter()
                .fold(0.0, |most: f32, logit| most.max(logit.abs()));
            let off = distance(&logits, &expected) / f64::from(largest);
            assert!(off <= 1e-4, "{architecture} {}: {off:e}", head.layer.name);
        }
        tensors.sort();
        assert_eq!(tensors, expected.tensors);
        found += 1;
    }
    assert_eq!(found, 2);
}

#[test]
fn every_architecture_has_exactly_the_tensors_that_pytorch_loads_strictly() {
    let (golden, families) = (golden(), families());
    assert_eq!(golden.classes, families.classes);
    for architecture in Architecture::ALL {
        let expected = match families.networks.get(architecture.as_str()) {
            Some(network) => &network.anatomy,
            None => &golden.architectures[architecture.as_str()],
        };
        let tensors = architecture.design().tensors(golden.classes as u64);
        let mut shapes: Vec<_> = tensors
            .into_iter()
            .map(|(_, name, tensor)| (name, tensor.shape))
            .collect();
        shapes.sort();
        let lines: Vec<_> = shapes
            .iter()
            .map(|(name, shape)| format!("{name} {shape:?}\n"))
            .collect();
        assert_eq!(lines.len(), expected.tensors, "{architecture}");
        let ours = digest::of_bytes(lines.concat().as_bytes());
        assert_eq!(ours, expected.state_sha256, "{architecture}: {lines:#?}");
    }
}

#[test]
fn as_many_numbers_learn_as_the_server_tells() {
    for architecture in one_of_each_family() {
        let network = Network::drawn(architecture, 7, 0, Device::Cpu);
        let named: Vec<_> = network
            .state()
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.size()))
            .collect();
        let mut designed: Vec<_> = (architecture.design().tensors(7).into_iter())
            .map(|(_, name, tensor)| (name, tensor.shape.iter().map(|length| *length as i64).collect()))
            .collect();
        designed.sort();
        assert_eq!(named, designed, "{architecture}");
        let learning: usize = network.parameters().iter().map(|it| it.tensor.numel()).sum();
        assert_eq!(learning as u64, architecture.parameters(7), "{architecture}");
    }
}

#[test]
fn stages_one_after_another_compute_what_the_whole_does() {
    for architecture in [Architecture::Resnet18, Architecture::Resnet20] {
        let network = by_formula(architecture, 10);
        let images = images_of(2, side(architecture));
        let whole = network.logits(&images);
        let last = architecture.last_stage();
        for cut in architecture.stages() {
            let logits = without_gradients(|| {
                let mut features = network.stages(&images, None, cut, Mode::Eval);
                if cut != last {
                    features = network.stages(&features, Some(cut), last, Mode::Eval);
                }
                network.head(&features)
            });
            assert!(logits.equal(&whole), "{architecture}, cut after {cut:?}");
        }
    }
}

#[test]
fn the_state_has_torchvisions_names_and_weights_are_channels_last() {
    let network = Network::drawn(Architecture::Resnet50, 10, 7, Device::Cpu);
    let state = network.state();
    assert_eq!(state.len(), 320, "torchvision's resnet50 has as many");
    assert_eq!(state["layer1.0.downsample.0.weight"].size(), [256, 64, 1, 1]);
    assert_eq!(state["layer4.2.bn3.running_var"].size(), [2048]);
    assert_eq!(state["bn1.num_batches_tracked"].kind(), Kind::Int64);
    assert_eq!(state["conv1.weight"].stride(), [147, 1, 21, 3]);
    assert_eq!(state["layer1.0.conv1.weight"].stride(), [64, 1, 64, 64]);
}

#[test]
fn the_seed_draws_the_weights() {
    let drawn = |seed| Network::drawn(Architecture::Resnet18, 3, seed, Device::Cpu);
    let (one, same, other) = (drawn(1), drawn(1), drawn(2));
    assert!(
        one.state()
            .iter()
            .all(|(name, tensor)| tensor.equal(&same.state()[name]))
    );
    assert!(!one.state()["conv1.weight"].equal(&other.state()["conv1.weight"]));
}

#[test]
fn weights_that_do_not_fit_are_refused_by_name() {
    let mut weights = weights_by_formula(Architecture::Resnet18, 10);
    weights.remove("bn1.weight");
    weights.insert("layer9.weight".into(), Tensor::from(1.0));
    weights.insert("fc.bias".into(), Tensor::from_slice(&[f32::NAN; 10]));
    weights.insert("conv1.weight".into(), Tensor::from_slice(&[1f32, 2.0]));
    weights.insert("bn1.bias".into(), Tensor::from_slice(&[1i64; 64]));
    let fault = Network::loaded(Architecture::Resnet18, 10, &weights, Device::Cpu).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "the weights do not match resnet18: 1 missing (`bn1.weight`), 1 unexpected (`layer9.weight`), \
         3 unusable (`conv1.weight` has shape [2] instead of [64, 3, 7, 7], `bn1.bias` has type Int64 instead of a \
         floating-point type, `fc.bias` contains numbers that are not finite)"
    );
    let smaller = weights_by_formula(Architecture::Resnet18, 10);
    let fault = Network::loaded(Architecture::Resnet34, 10, &smaller, Device::Cpu).unwrap_err();
    let names: Vec<_> = fault.missing.iter().map(|it| it.name.as_str()).collect();
    assert!(
        names.contains(&"layer3.5.bn2.weight") && fault.unexpected.is_empty(),
        "{fault}"
    );
}

#[test]
fn a_head_for_other_classes_is_left_out_and_one_for_as_many_kept() {
    let weights = weights_by_formula(Architecture::Resnet18, 10);
    let tuned = |weights: &StateDict, classes| {
        Network::fine_tuned(Architecture::Resnet18, classes, weights, 0, Device::Cpu).unwrap()
    };
    let (network, origin) = tuned(&weights, 3);
    assert_eq!(origin, HeadOrigin::Drawn { left_out: Some(10) });
    assert_eq!(network.state()["fc.weight"].size(), [3, 512]);
    assert!(network.state()["layer4.0.conv2.weight"].equal(&weights["layer4.0.conv2.weight"]));
    let (network, origin) = tuned(&weights, 10);
    assert_eq!(origin, HeadOrigin::Weights);
    assert!(network.state()["fc.weight"].equal(&weights["fc.weight"]));
    let headless: StateDict = weights
        .into_iter()
        .filter(|(name, _)| !name.starts_with("fc."))
        .collect();
    assert_eq!(tuned(&headless, 3).1, HeadOrigin::Drawn { left_out: None });
    assert!(Network::loaded(Architecture::Resnet18, 10, &headless, Device::Cpu).is_err());
}

#[test]
fn half_precision_weights_become_single_and_what_was_given_stays_as_it_was() {
    let mut weights = weights_by_formula(Architecture::Resnet18, 10);
    let single = weights["layer1.0.bn1.bias"].shallow_clone();
    for (name, kind) in [
        ("layer1.0.bn1.bias", Kind::Half),
        ("conv1.weight", Kind::BFloat16),
    ] {
        let half = weights[name].to_kind(kind);
        weights.insert(name.into(), half);
    }
    let network = Network::loaded(Architecture::Resnet18, 10, &weights, Device::Cpu).unwrap();
    let loaded = &network.state()["layer1.0.bn1.bias"];
    assert_eq!(loaded.kind(), Kind::Float);
    assert!((loaded - single).abs().max().double_value(&[]) < 1e-3);
    for (name, tensor) in network.state() {
        let _ = tensor.shallow_clone().zero_();
        if let Some(given) = weights.get(name) {
            assert_ne!(given.abs().sum(Kind::Double).double_value(&[]), 0.0, "{name}");
        }
    }
}

#[test]
fn in_16_bits_a_network_says_nearly_the_same_and_its_weights_learn_in_32() {
    for (kind, most) in [(Kind::BFloat16, 0.05), (Kind::Half, 0.01)] {
        let full = Network::drawn(Architecture::Resnet18, 4, 1, Device::Cpu);
        let half = Network::drawn(Architecture::Resnet18, 4, 1, Device::Cpu).computing_in(kind);
        let (expected, got) = (full.logits(&images(3)), half.logits(&images(3)));
        assert_eq!(got.kind(), Kind::Float);
        let off = (&got - &expected).abs().max().double_value(&[]) / expected.abs().max().double_value(&[]);
        assert!(off > 0.0 && off < most, "{kind:?}: {off}");

        let key = dropout::DropoutKey {
            seed: 0,
            step: 0,
            first_row: 0,
        };
        let weight = half.state()["layer3.0.conv1.weight"].set_requires_grad(true);
        let features = half.stages(&images(3), None, Stage::layer(4), Mode::Train(key));
        half.head(&features).square().mean(Kind::Float).backward();
        let gradient = weight.grad();
        assert_eq!(
            (gradient.kind(), gradient.stride()),
            (Kind::Float, weight.stride())
        );
        assert!(gradient.norm().double_value(&[]) > 0.0);
        assert!(half.state().values().all(|tensor| tensor.kind() != kind));
    }
}
