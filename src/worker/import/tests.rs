//! Files as people have them, and files that are made to do harm.

use std::{
    collections::BTreeMap,
    fs,
    io::{Cursor, Write},
    path::PathBuf,
};

use tch::{Device, Kind, Tensor};
use tempfile::TempDir;

use super::*;
use crate::{
    domain::{
        architecture::Head,
        models::model_import::{DescriptionFields, ImportFormat},
        spec::JobSpec,
    },
    protocol,
    worker::{
        files::bundle::{CARD_FILE, WEIGHTS_FILE},
        nets::tests::{HEADS, with_head},
    },
};

const CLASSES: [&str; 3] = ["ants", "bees", "wasps"];

fn network() -> Network {
    Network::drawn(Architecture::Resnet20, CLASSES.len(), 5, Device::Cpu)
}

/// The network's tensors, apart from it.
fn tensors() -> StateDict {
    network()
        .state()
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.copy()))
        .collect()
}

fn bytes_of(state: &StateDict) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    state::write(&path, state, &BTreeMap::new()).unwrap();
    fs::read(path).unwrap()
}

fn described(labels: &[&str]) -> DescriptionFields {
    DescriptionFields {
        labels: Some(labels.join("\n")),
        ..DescriptionFields::default()
    }
}

/// What becomes of a file, and the folder that it was left in.
fn imported(file: &[u8], contents: ImportContents) -> (TempDir, Result<ImportResult, protocol::Refusal>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("upload");
    fs::write(&path, file).unwrap();
    let run_dir = folder.path().join("run");
    fs::create_dir(&run_dir).unwrap();
    let spec = ImportRun {
        file: path,
        contents,
        max_bytes: 8 << 20,
        max_classes: 10,
        threads: 1,
    };
    let dir = RunDir::new(run_dir);
    let reporter = Reporter::to(std::io::sink());
    let result = match run(&spec, &dir, &reporter, &StopFlag::default()).unwrap() {
        RunResult::Imported(result) => Ok(*result),
        RunResult::Refused(refused) => Err(refused),
        other => panic!("{other:?}"),
    };
    (folder, result)
}

fn as_weights(file: &[u8], fields: &DescriptionFields) -> (TempDir, Result<ImportResult, protocol::Refusal>) {
    imported(file, ImportContents::Weights(fields.check(10).unwrap()))
}

fn made(folder: &TempDir, name: &str) -> PathBuf {
    folder.path().join("run").join(name)
}

fn refusal(file: &[u8]) -> protocol::Refusal {
    as_weights(file, &described(&CLASSES)).1.unwrap_err()
}

/// As exports write them: stored, each file where it can be mapped.
fn zip_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        let options = zip::write::SimpleFileOptions::default().with_alignment(64);
        let method = match bytes.iter().any(|byte| *byte != 0) {
            true => zip::CompressionMethod::Stored,
            false => zip::CompressionMethod::Deflated,
        };
        archive
            .start_file(*name, options.compression_method(method))
            .unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, *bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

#[test]
fn weights_with_labels_become_a_model_of_ours() {
    let network = network();
    let (folder, result) = as_weights(&bytes_of(network.state()), &described(&CLASSES));
    let result = result.unwrap();
    assert_eq!(result.card.architecture, Architecture::Resnet20);
    assert_eq!(result.card.classes, CLASSES);
    assert_eq!(result.card.preprocessing, Preprocessing::whole(32));
    assert_eq!(
        (&result.card.spec, &result.card.metrics, &result.card.dataset),
        (&None, &None, &None)
    );
    assert_eq!(
        bundle::read_any_card(&made(&folder, CARD_FILE)).unwrap(),
        result.card
    );
    let weights = state::read(&made(&folder, WEIGHTS_FILE)).unwrap();
    let image = Tensor::rand([1, 3, 32, 32], (Kind::Float, Device::Cpu));
    let ours = Network::loaded(Architecture::Resnet20, 3, &weights, Device::Cpu).unwrap();
    assert!(ours.logits(&image).equal(&network.logits(&image)));
}

#[test]
fn whatever_floats_they_come_in_they_are_kept_in_32_bits_and_counters_may_be_missing() {
    for kind in [Kind::Half, Kind::BFloat16, Kind::Double] {
        let mut state = tensors();
        state.retain(|name, _| !name.ends_with("num_batches_tracked"));
        for tensor in state.values_mut() {
            *tensor = tensor.to_kind(kind);
        }
        let (folder, result) = as_weights(&bytes_of(&state), &described(&CLASSES));
        let weights = state::read(&made(&folder, &result.unwrap().weights.file)).unwrap();
        assert_eq!(weights.len(), tensors().len());
        assert_eq!(weights["linear.weight"].kind(), Kind::Float);
        assert!(weights["linear.weight"].equal(&state["linear.weight"].to_kind(Kind::Float)));
        assert_eq!(weights["bn1.num_batches_tracked"].kind(), Kind::Int64);
    }
}

#[test]
fn a_bundle_comes_back_with_its_own_digests() {
    let folder = tempfile::tempdir().unwrap();
    let dir = RunDir::new(folder.path());
    let mut card = bundle::tests::card(&CLASSES);
    card.architecture = Architecture::Resnet20;
    card.temperature = 1.5;
    let files = bundle::write(&dir, network().state(), &card).unwrap();
    let (weights, json) = (
        fs::read(dir.file(WEIGHTS_FILE)).unwrap(),
        fs::read(dir.file(CARD_FILE)).unwrap(),
    );
    let flat = [(WEIGHTS_FILE, weights.as_slice()), (CARD_FILE, json.as_slice())];
    let nested = [
        ("insects-1/README.txt", &b"a model"[..]),
        ("insects-1/model.json", &json),
        ("insects-1/model.safetensors", &weights),
    ];
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&tar_of(&flat)).unwrap();
    for archive in [
        zip_of(&flat),
        zip_of(&nested),
        tar_of(&nested),
        packed.finish().unwrap(),
    ] {
        assert_eq!(ImportFormat::of(&archive), Ok(ImportFormat::Bundle));
        let (_, result) = imported(&archive, ImportContents::Bundle);
        let result = result.unwrap();
        assert_eq!(
            (result.weights.sha256, result.card_file.sha256),
            (files.weights.sha256.clone(), files.card.sha256.clone())
        );
        assert_eq!(result.card, card);
    }
}

#[test]
fn a_bundle_that_is_none_says_what_is_wrong() {
    let weights = bytes_of(network().state());
    let mut card = bundle::tests::card(&CLASSES);
    card.architecture = Architecture::Resnet20;
    let json = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut value = serde_json::to_value(&card).unwrap();
        change(&mut value);
        value.to_string().into_bytes()
    };
    let with_card = |change: &dyn Fn(&mut serde_json::Value)| {
        let archive = zip_of(&[(WEIGHTS_FILE, &weights), (CARD_FILE, &json(change))]);
        imported(&archive, ImportContents::Bundle).1.unwrap_err().message
    };
    let many: Vec<String> = (0..11).map(|number| number.to_string()).collect();
    let long = "x".repeat(600);
    for (change, word) in [
        (
            &|card: &mut serde_json::Value| card["classes"] = serde_json::json!(["a", "b", "a"]),
            "twice",
        ),
        (
            &|card: &mut _| card["classes"] = serde_json::json!(["a", "b"]),
            "3 outputs",
        ),
        (
            &|card: &mut _| card["classes"] = serde_json::json!(["a", "b", "\u{1b}[31m"]),
            "control",
        ),
        (&|card: &mut _| card["classes"] = serde_json::json!(many), "limit"),
        (
            &|card: &mut _| card["architecture"] = "resnet32".into(),
            "missing",
        ),
        (&|card: &mut _| card["architecture"] = "vgg".into(), "model.json"),
        (
            &|card: &mut _| card["preprocessing"]["crop"] = 4096.into(),
            "out of range",
        ),
        (
            &|card: &mut _| card["preprocessing"]["std"] = serde_json::json!([0.0, 1.0, 1.0]),
            "standard deviation",
        ),
        (&|card: &mut _| card["format"] = 9.into(), "format 9"),
        (
            &|card: &mut _| card["dataset"]["sha256"] = "../../etc".into(),
            "digest",
        ),
        (&|card: &mut _| card["program"] = long.clone().into(), "too long"),
        (
            &|card: &mut _| card["spec"]["metadata"] = serde_json::json!({"k": long}),
            "metadata",
        ),
        (
            &|card: &mut _| card["temperature"] = serde_json::json!(-1.0),
            "temperature",
        ),
    ] as [(&dyn Fn(&mut serde_json::Value), &str); 13]
    {
        let message = with_card(change);
        assert!(message.contains(word), "{word}: {message}");
    }
    let refused = |files: &[(&str, &[u8])]| imported(&zip_of(files), ImportContents::Bundle).1.unwrap_err();
    assert!(
        refused(&[(WEIGHTS_FILE, &weights)])
            .message
            .contains("model.json")
    );
    assert!(
        refused(&[(CARD_FILE, &json(&|_| ()))])
            .message
            .contains("model.safetensors")
    );
    let twice = [("a/model.json", &b"{}"[..]), ("b/model.json", b"{}")];
    assert!(refused(&twice).message.contains("two files"));
    let hidden = refused(&[
        ("README.txt", b""),
        ("archive/data.pkl", b"\x80\x02."),
        ("archive/data/0", b""),
    ]);
    assert!(hidden.code == protocol::Refusal::UNSUPPORTED && hidden.message.contains("torch.save"));
    let zeros = vec![0; 7 << 20];
    assert!(refused(&[(WEIGHTS_FILE, &zeros)]).message.contains("expands"));
    let large = tar_of(&[(WEIGHTS_FILE, &vec![0; 9 << 20]), (CARD_FILE, b"{}")]);
    let message = imported(&large, ImportContents::Bundle).1.unwrap_err().message;
    assert!(message.contains("larger than"), "{message}");
    let mut cut = zip_of(&[(WEIGHTS_FILE, &weights), (CARD_FILE, &json(&|_| ()))]);
    cut.truncate(cut.len() / 2);
    assert!(imported(&cut, ImportContents::Bundle).1.is_err());
}

#[test]
fn weights_that_do_not_fit_say_which_and_why() {
    let labels = as_weights(&bytes_of(network().state()), &described(&["a", "b"]))
        .1
        .unwrap_err();
    assert_eq!(labels.pointer.as_deref(), Some("/labels"));
    assert!(
        labels.message.contains("3 outputs") && labels.message.contains("2 classes"),
        "{}",
        labels.message
    );
    let other = DescriptionFields {
        architecture: Some("resnet18".into()),
        ..described(&CLASSES)
    };
    let other = as_weights(&bytes_of(network().state()), &other).1.unwrap_err();
    assert!(
        other.message.contains("resnet18") && other.message.contains("missing"),
        "{}",
        other.message
    );

    let with = |change: &dyn Fn(&mut StateDict)| {
        let mut state = tensors();
        change(&mut state);
        refusal(&bytes_of(&state)).message
    };
    let set = |name: &'static str, value: f64| {
        move |state: &mut StateDict| {
            let _ = state.get_mut(name).unwrap().get(0).fill_(value);
        }
    };
    let rename = |state: &mut StateDict| {
        let tensor = state.remove("conv1.weight").unwrap();
        state.insert("stem.conv1.weight".into(), tensor);
    };
    let double = |state: &mut StateDict| {
        let mut large = state["linear.bias"].to_kind(Kind::Double);
        let _ = large.fill_(1e300);
        state.insert("linear.bias".into(), large);
    };
    for (change, word) in [
        (&rename, "`conv1.weight`"),
        (
            &|state: &mut StateDict| drop(state.insert("extra".into(), Tensor::from(1.0))),
            "unexpected (`extra`",
        ),
        (
            &|state: &mut StateDict| drop(state.remove("bn1.bias")),
            "missing (`bn1.bias`",
        ),
        (
            &|state: &mut StateDict| {
                drop(state.insert("bn1.bias".into(), Tensor::zeros([16], (Kind::Int, Device::Cpu))))
            },
            "type Int",
        ),
        (
            &|state: &mut StateDict| {
                drop(state.insert("bn1.bias".into(), Tensor::zeros([17], (Kind::Float, Device::Cpu))))
            },
            "[17]",
        ),
        (&set("bn1.bias", f64::NAN), "not finite"),
        (&set("linear.weight", f64::INFINITY), "not finite"),
        (&set("bn1.running_var", -1.0), "below 0"),
        (&double, "not finite"),
    ] as [(&dyn Fn(&mut StateDict), &str); 9]
    {
        let message = with(change);
        assert!(message.contains(word), "{word}: {message}");
    }
    // Each number is one; what the network makes of them is none.
    let overflowing = |state: &mut StateDict| {
        let wide = |name: &str| name.ends_with("bn1.weight") || name.ends_with("bn1.bias");
        for (_, tensor) in state.iter_mut().filter(|(name, _)| wide(name)) {
            let _ = tensor.fill_(1e38);
        }
    };
    assert!(with(&overflowing).contains("no finite numbers"));
    let nothing = refusal(&bytes_of(&StateDict::from([("a".to_owned(), Tensor::from(1.0))])));
    assert_eq!(nothing.pointer.as_deref(), Some("/architecture"));
}

#[test]
fn files_that_lie_are_refused_and_messages_stay_short() {
    let whole = bytes_of(network().state());
    let with_header =
        |header: &str, data: &[u8]| [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat();
    let overlapping = r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#;
    let absurd = r#"{"a":{"dtype":"F32","shape":[0,9223372036854775807],"data_offsets":[0,0]}}"#;
    let small = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#;
    for (file, what) in [
        (whole[..whole.len() - 1].to_vec(), "cut"),
        ([&whole[..], b"PK\x03\x04"].concat(), "trailing bytes"),
        (
            [&u64::MAX.to_le_bytes()[..], b"{}"].concat(),
            "a header of all bytes",
        ),
        (
            [&(17u64 << 20).to_le_bytes()[..], &vec![b' '; 18 << 20]].concat(),
            "a huge header",
        ),
        (with_header(overlapping, &[0; 3]), "overlapping"),
        (with_header(absurd, &[]), "impossible shape"),
        (with_header(small, &[0; 4]), "wrong size"),
        (with_header("{", &[]), "no JSON"),
        (with_header("{}", &[]), "nothing"),
    ] {
        let fault = refusal(&file);
        assert!(
            fault.code != protocol::Refusal::UNSUPPORTED && !fault.message.is_empty(),
            "{what}"
        );
    }
    let name = "n\u{1b}".repeat(100_000);
    let state = StateDict::from([(name, Tensor::from(1.0))]);
    let fields = DescriptionFields {
        architecture: Some("resnet20".into()),
        ..described(&CLASSES)
    };
    let fault = as_weights(&bytes_of(&state), &fields).1.unwrap_err();
    assert!(fault.message.chars().count() < 700 && !fault.message.chars().any(char::is_control));
}

#[test]
fn names_of_other_programs_are_made_ours_and_it_is_told() {
    let network = network();
    let image = Tensor::rand([1, 3, 32, 32], (Kind::Float, Device::Cpu));
    for (prefix, head) in [
        ("module.", "linear"),
        ("_orig_mod.", "fc"),
        ("model.backbone.", "linear.1"),
        ("module.encoder_q.", "classifier"),
        ("", "last_linear"),
    ] {
        let renamed = tensors()
            .into_iter()
            .map(|(name, tensor)| match name.strip_prefix("linear.") {
                Some(part) => (format!("{prefix}{head}.{part}"), tensor),
                None => (format!("{prefix}{name}"), tensor),
            });
        let (folder, result) = as_weights(&bytes_of(&renamed.collect()), &described(&CLASSES));
        let result = result.unwrap_or_else(|refused| panic!("{}", refused.message));
        assert_eq!(result.card.architecture, Architecture::Resnet20);
        assert!(
            result.remarks.iter().any(|remark| remark.contains(prefix)),
            "{:?}",
            result.remarks
        );
        let weights = state::read(&made(&folder, WEIGHTS_FILE)).unwrap();
        let ours = Network::loaded(Architecture::Resnet20, 3, &weights, Device::Cpu).unwrap();
        assert!(ours.logits(&image).equal(&network.logits(&image)));
    }
}

#[test]
fn what_has_no_head_for_the_classes_says_so() {
    let mut without: StateDict = tensors()
        .into_iter()
        .map(|(name, tensor)| (format!("net.{name}"), tensor))
        .collect();
    without.retain(|name, _| !name.contains("linear."));
    let message = refusal(&bytes_of(&without)).message;
    assert!(
        message.contains("`linear.weight`") && message.contains("`net.`"),
        "{message}"
    );
}

#[test]
fn a_file_of_torch_save_is_imported_and_code_in_one_is_refused() {
    let golden = |name: &str| {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/torch");
        fs::read(folder.join(name)).unwrap()
    };
    for name in ["state.pth", "checkpoint.pth.tar"] {
        assert_eq!(
            ImportFormat::of(&golden(name)[..512]),
            Ok(ImportFormat::Torch),
            "{name}"
        );
        // Tensors, but those of no network.
        let refused = refusal(&golden(name));
        assert_eq!(
            refused.pointer.as_deref(),
            Some("/architecture"),
            "{name}: {}",
            refused.message
        );
    }
    for (name, word) in [
        ("with-code.pth", "`argparse.Namespace`"),
        ("module.pth", "torch.save(model.state_dict()"),
        ("legacy.pth", "torch.load("),
    ] {
        let refused = refusal(&golden(name));
        assert!(refused.message.contains(word), "{name}: {}", refused.message);
    }
}

#[test]
fn a_card_without_a_training_reads_back() {
    let (folder, result) = as_weights(&bytes_of(network().state()), &described(&CLASSES));
    let path = made(&folder, &result.unwrap().card_file.file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains("\"spec\"") && !text.contains("\"metrics\"") && !text.contains("\"dataset\""));
    // Parts of a dataset are then cut as a training would by default.
    let spec = JobSpec::parse(&serde_json::json!({"dataset": "d"})).unwrap();
    assert_eq!(bundle::read_any_card(&path).unwrap().split(), spec.split);
}

#[test]
fn every_head_comes_back_in_a_bundle_and_those_that_their_tensors_tell_without() {
    for head in HEADS {
        let network = with_head(Architecture::Resnet20, head, CLASSES.len());
        let mut card = bundle::tests::card(&CLASSES);
        (card.architecture, card.head) = (Architecture::Resnet20, head);
        let folder = tempfile::tempdir().unwrap();
        let dir = RunDir::new(folder.path());
        let files = bundle::write(&dir, network.state(), &card).unwrap();
        let read = |name: &str| fs::read(dir.file(name)).unwrap();
        let (weights, json) = (read(WEIGHTS_FILE), read(CARD_FILE));
        let archive = zip_of(&[(WEIGHTS_FILE, &weights), (CARD_FILE, &json)]);
        let (_, result) = imported(&archive, ImportContents::Bundle);
        let result = result.unwrap();
        assert_eq!(
            (&result.card, &result.weights.sha256),
            (&card, &files.weights.sha256)
        );
        let (_, alone) = as_weights(&weights, &described(&CLASSES));
        match head {
            Head::Knn { .. } => assert!(alone.unwrap_err().message.contains("import the bundle")),
            _ => assert_eq!(alone.unwrap().card.head, head),
        }
    }
}

#[test]
fn more_neighbours_than_images_are_refused() {
    let head = Head::Knn {
        images: 30,
        k: 31,
        temperature: 0.1,
    };
    let network = with_head(Architecture::Resnet20, HEADS[3], CLASSES.len());
    let mut card = bundle::tests::card(&CLASSES);
    (card.architecture, card.head) = (Architecture::Resnet20, head);
    let json = serde_json::to_vec(&card).unwrap();
    let archive = zip_of(&[(WEIGHTS_FILE, &bytes_of(network.state())), (CARD_FILE, &json)]);
    let refused = imported(&archive, ImportContents::Bundle).1.unwrap_err();
    assert!(
        refused.message.contains("more neighbours than images"),
        "{}",
        refused.message
    );
}
