//! What is written, read back: by libtorch, by readers of zip and safetensors, and compared with the network that it was made of.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    path::PathBuf,
};

use serde_json::Value;
use tch::{CModule, Kind, Tensor};
use zip::ZipArchive;

use super::*;
use crate::worker::autograd::without_gradients;
use crate::{
    domain::{
        architecture::{Architecture, Head, Outputs},
        models::{
            export::{ExportFormat, ExportSpec},
            preprocessing::Preprocessing,
        },
    },
    worker::nets::{
        layers::channels_last,
        tests::{HEADS, by_formula, one_of_each_family, usual_side, values, with_head},
    },
};

pub const TEMPERATURE: f64 = 1.5;
const CLASSES: [&str; 3] = ["ants", "bees", "cats"];

fn card(architecture: Architecture) -> ModelCard {
    ModelCard {
        architecture,
        temperature: TEMPERATURE,
        ..bundle::tests::card(&CLASSES)
    }
}

/// A model whose every number is known, in any architecture.
pub fn model(architecture: Architecture) -> Model {
    let network = by_formula(architecture, CLASSES.len());
    Model::new(card(architecture), "insects@2".to_owned(), network)
}

/// The same for the images that [`images`] gives.
pub fn model_for_images(architecture: Architecture) -> Model {
    let mut model = model(architecture);
    model.card.preprocessing = Preprocessing::for_size(usual_side(architecture) as u32);
    model
}

/// Normalised images, as large as the architecture needs them to be told apart.
pub fn images(count: i64, architecture: Architecture) -> Tensor {
    let side = usual_side(architecture);
    let images = values("exported", &[count, 3, side, side]) * 2.0;
    channels_last(&images.to_kind(Kind::Float))
}

/// The export of a model of `architecture`, made by a whole run, and the folder that it lies in.
fn exported(architecture: Architecture, format: ExportFormat) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let dir = RunDir::new(folder.path());
    let run = run_of(&dir, architecture, format);
    let RunResult::Exported { file } = super::run(&run, &dir, &StopFlag::default()).unwrap() else {
        panic!("no export");
    };
    let path = dir.file(&file.file);
    assert_eq!(fs::metadata(&path).unwrap().len(), file.bytes);
    (folder, path)
}

fn run_of(dir: &RunDir, architecture: Architecture, format: ExportFormat) -> ExportRun {
    let network = by_formula(architecture, CLASSES.len());
    let files = bundle::write(dir, network.state(), &card(architecture)).unwrap();
    ExportRun {
        model: files.at(dir),
        title: "insects@2".to_owned(),
        spec: ExportSpec::check(format, false, false, architecture, Head::Linear, 224).unwrap(),
    }
}

fn entries(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut archive = ZipArchive::new(File::open(path).unwrap()).unwrap();
    (0..archive.len())
        .map(|index| {
            let mut entry = archive.by_index(index).unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            assert_eq!(entry.data_start().unwrap() % 64, 0, "{:?}", entry.name());
            (entry.name().unwrap().into_owned(), bytes)
        })
        .collect()
}

#[test]
fn every_architecture_is_a_module_that_libtorch_loads_with_torchvisions_parameters() {
    for architecture in one_of_each_family() {
        let model = model_for_images(architecture);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.pt");
        torchscript::write(&path, &model).unwrap();
        let module = torchscript::loaded(&path).unwrap();
        for count in [1, 3] {
            let images = images(count, architecture);
            let expected = model.network.logits(&images);
            let found = without_gradients(|| module.forward_ts(&[&images])).unwrap();
            let off = (&found - &expected).abs().max().double_value(&[]);
            let scale = expected.abs().max().double_value(&[]).max(1.0);
            assert!(off <= 1e-4 * scale, "{architecture} is off by {off:e}");
        }
        let mut names: Vec<String> = module
            .named_parameters()
            .unwrap()
            .into_iter()
            .map(|(name, tensor)| {
                assert!(tensor.equal(&model.state[&name]), "{name}");
                assert!(tensor.requires_grad(), "{name}");
                name
            })
            .collect();
        names.sort();
        let expected: Vec<String> = model.network.parameters().into_iter().map(|it| it.name).collect();
        assert_eq!(names, expected, "{architecture}");
    }
}

/// A model of an architecture with a head of any kind.
pub fn model_with(architecture: Architecture, head: Head) -> Model {
    let network = with_head(architecture, head, CLASSES.len());
    let mut card = ModelCard {
        head,
        ..card(architecture)
    };
    card.preprocessing = Preprocessing::for_size(usual_side(architecture) as u32);
    Model::new(card, "insects@2".to_owned(), network)
}

/// Each kind of head, on feature vectors and on maps.
pub fn heads() -> impl Iterator<Item = (Architecture, Head)> {
    let architectures = [Architecture::Resnet20, Architecture::Squeezenet1x1];
    architectures
        .into_iter()
        .flat_map(|it| HEADS.map(|head| (it, head)))
}

#[test]
fn every_head_is_a_module_that_libtorch_loads() {
    for (architecture, head) in heads() {
        let model = model_with(architecture, head);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.pt");
        torchscript::write(&path, &model).unwrap();
        let module = torchscript::loaded(&path).unwrap();
        let images = images(3, architecture);
        let expected = model.network.logits(&images);
        let found = without_gradients(|| module.forward_ts(&[&images])).unwrap();
        let off = (&found - &expected).abs().max().double_value(&[]);
        assert!(
            off <= 1e-4 * expected.abs().max().double_value(&[]).max(1.0),
            "{architecture} {head:?}: {off:e}"
        );
        let written = folder.path().join("model.safetensors");
        state::write(&written, &model.state, &model.texts_of_torch()).unwrap();
        let back = state::read(&written).unwrap();
        let outputs = model.card.outputs();
        assert_eq!(outputs, Outputs { head, classes: 3 });
        let network = Network::loaded(architecture, outputs, &back, Device::Cpu).unwrap();
        assert!(network.logits(&images).equal(&expected));
    }
}

/// A backbone alone.
pub fn backbone() -> Model {
    let (architecture, outputs) = (Architecture::Resnet20, Outputs::FEATURES);
    let whole = by_formula(architecture, 3);
    let state = whole
        .state()
        .iter()
        .filter(|(name, _)| !name.starts_with("linear"));
    let state = state
        .map(|(name, tensor)| (name.clone(), tensor.copy()))
        .collect();
    let network = Network::loaded(architecture, outputs, &state, Device::Cpu).unwrap();
    let card = ModelCard {
        head: Head::None,
        classes: Vec::new(),
        ..card(architecture)
    };
    Model::new(card, "photos@1".to_owned(), network)
}

#[test]
fn a_backbone_without_a_head_is_a_module_of_feature_vectors() {
    let model = backbone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.pt");
    torchscript::write(&path, &model).unwrap();
    let module = torchscript::loaded(&path).unwrap();
    let images = images(3, Architecture::Resnet20);
    let found = without_gradients(|| module.forward_ts(&[&images])).unwrap();
    let whole = by_formula(Architecture::Resnet20, 3);
    let expected = without_gradients(|| {
        let last = Architecture::Resnet20.last_stage();
        whole.stages(&images, None, last, crate::worker::nets::layers::Mode::Eval)
    });
    assert_eq!(found.size(), [3, 64]);
    assert!((found - expected).abs().max().double_value(&[]) < 1e-4);
    let checked = |softmax| {
        ExportSpec::check(
            ExportFormat::Onnx,
            false,
            softmax,
            Architecture::Resnet20,
            Head::None,
            32,
        )
    };
    assert!(checked(false).is_ok());
    assert_eq!(checked(true).unwrap_err()[0].pointer, "/softmax");
    let timm =
        |architecture| ExportSpec::check(ExportFormat::Timm, false, false, architecture, Head::None, 224);
    assert!(timm(Architecture::Resnet18).is_ok());
}

#[test]
fn a_module_that_is_trained_on_moves_its_statistics() {
    let model = model(Architecture::Resnet20);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.pt");
    torchscript::write(&path, &model).unwrap();
    let mut module = torchscript::loaded(&path).unwrap();
    let images = images(4, Architecture::Resnet20);
    let forward = |module: &CModule| module.forward_ts(&[&images]).unwrap();
    let before = forward(&module);
    module.f_set_train().unwrap();
    let loss = forward(&module).square().mean(Kind::Float);
    loss.backward();
    let parameters = module.named_parameters().unwrap();
    assert!(
        parameters
            .iter()
            .all(|(_, tensor)| tensor.grad().norm().double_value(&[]) > 0.0)
    );
    module.f_set_eval().unwrap();
    assert!((forward(&module) - before).abs().max().double_value(&[]) > 1e-4);
}

#[test]
fn the_same_model_makes_the_same_bytes_in_every_format() {
    for format in ExportFormat::ALL {
        let (_one, first) = exported(Architecture::Resnet18, format);
        let (_other, second) = exported(Architecture::Resnet18, format);
        // The card of a test names a dataset of its own.
        if !matches!(format, ExportFormat::Bundle | ExportFormat::Torchscript) {
            assert!(
                fs::read(first).unwrap() == fs::read(second).unwrap(),
                "{format:?}"
            );
            continue;
        }
        let (first, second) = (entries(&first), entries(&second));
        assert!(first.keys().eq(second.keys()));
        for (name, bytes) in &first {
            assert!(bytes == &second[name] || name.ends_with("model.json"), "{name}");
        }
    }
}

#[test]
fn safetensors_tell_labels_and_preprocessing() {
    let (_folder, path) = exported(Architecture::Resnet18, ExportFormat::Safetensors);
    let told = state::read_metadata(&path).unwrap();
    assert_eq!(
        (told["format"].as_str(), told["architecture"].as_str()),
        ("pt", "resnet18")
    );
    assert_eq!(told["labels"], r#"["ants","bees","cats"]"#);
    assert_eq!(
        (told["model"].as_str(), told["temperature"].as_str()),
        ("insects@2", "1.5")
    );
    let recipe: Value = serde_json::from_str(&told["preprocessing"]).unwrap();
    assert_eq!(recipe["crop"], 32);
    assert!(told["preprocessing"].contains("[0.485,0.456,0.406]"), "{told:?}");
    let model = model(Architecture::Resnet18);
    let state = state::read(&path).unwrap();
    assert!(state.keys().eq(model.state.keys()));
    assert!(
        state
            .iter()
            .all(|(name, tensor)| tensor.equal(&model.state[name]))
    );
}

#[test]
fn a_bundle_is_the_models_own_files() {
    let (folder, path) = exported(Architecture::Resnet20, ExportFormat::Bundle);
    let found = entries(&path);
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(names, ["model.json", "model.safetensors"]);
    for (name, bytes) in found {
        assert!(fs::read(folder.path().join(&name)).unwrap() == bytes, "{name}");
    }
}

#[test]
fn a_folder_for_timm_has_its_configuration_and_a_card_for_people() {
    let (_folder, path) = exported(Architecture::Resnext50, ExportFormat::Timm);
    let found = entries(&path);
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(names, ["README.md", "config.json", "model.safetensors"]);
    let config: Value = serde_json::from_slice(&found["config.json"]).unwrap();
    assert_eq!(config["architecture"], "resnext50_32x4d");
    assert_eq!(
        (&config["num_classes"], &config["num_features"]),
        (&3.into(), &2048.into())
    );
    assert_eq!(config["label_names"], serde_json::json!(CLASSES));
    assert_eq!(
        config["pretrained_cfg"]["mean"],
        serde_json::json!([0.485, 0.456, 0.406])
    );
    assert_eq!(config["pretrained_cfg"]["pool_size"], serde_json::json!([1, 1]));
    let readme = String::from_utf8(found["README.md"].clone()).unwrap();
    assert!(
        readme.contains("# insects@2") && readme.contains("- `bees`"),
        "{readme}"
    );
}

#[test]
fn a_folder_for_timm_has_timms_names() {
    let (_folder, path) = exported(Architecture::MobilenetV3Small, ExportFormat::Timm);
    let found = entries(&path);
    let config: Value = serde_json::from_slice(&found["config.json"]).unwrap();
    assert_eq!(config["architecture"], "mobilenetv3_small_100");
    assert_eq!(config["pretrained_cfg"]["classifier"], "classifier");
    assert_eq!(config["pretrained_cfg"]["first_conv"], "conv_stem");
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("model.safetensors");
    fs::write(&weights, &found["model.safetensors"]).unwrap();
    let state = state::read(&weights).unwrap();
    assert_eq!(state["conv_head.weight"].size(), [1024, 576, 1, 1]);
    assert!(state.keys().all(|name| !name.starts_with("features.")));
}

#[test]
fn a_model_whose_weights_are_not_its_own_is_not_exported() {
    for format in [ExportFormat::Bundle, ExportFormat::Onnx] {
        let folder = tempfile::tempdir().unwrap();
        let dir = RunDir::new(folder.path());
        let mut run = run_of(&dir, Architecture::Resnet20, format);
        run.model.sha256 = "0".repeat(64);
        let fault = super::run(&run, &dir, &StopFlag::default()).unwrap_err();
        assert!(fault.to_string().contains("is damaged"), "{fault}");
    }
}

#[test]
fn who_is_asked_to_stop_leaves_without_a_result() {
    let folder = tempfile::tempdir().unwrap();
    let dir = RunDir::new(folder.path());
    let run = run_of(&dir, Architecture::Resnet20, ExportFormat::Onnx);
    let stop = StopFlag::default();
    stop.set();
    assert!(super::run(&run, &dir, &stop).unwrap_err().is::<Stopped>());
}
