//! Networks trained by others, on images that are not ours: PyTorch's scores must be reproduced, starting from the JPEG files.
//!
//! Weights and images are beside the repository where the project is developed and in CI; elsewhere these tests report that they were
//! skipped, and `nets/tests.rs` compares the same networks with PyTorch's logits.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use serde_json::json;
use tch::{Device, Tensor};

use super::{HeadOrigin, Network, input};
use crate::{
    domain::{architecture::Architecture, models::preprocessing::Preprocessing, spec::JobSpec},
    protocol::WeightsSource,
    worker::{
        files::state::StateDict,
        pixels,
        process::child::{Reporter, StopFlag},
        weights,
    },
};

#[path = "../../../tests/server/support/shared.rs"]
mod shared;

fn base_weights(path: PathBuf, architecture: Architecture) -> StateDict {
    let origin = "published.safetensors".to_owned();
    let source = WeightsSource::File {
        path,
        origin,
        sha256: None,
    };
    let reporter = Reporter::to(std::io::sink());
    let loaded = weights::obtain(&source, architecture, &reporter, &StopFlag::default());
    loaded.unwrap().unwrap().state
}

/// The files of the test split, each with the index of its class among the sorted names.
fn test_split(archive: &Path) -> Vec<(Vec<u8>, usize)> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(File::open(archive).unwrap()));
    let mut files = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let class = path.strip_prefix("test/").and_then(|rest| rest.split_once('/'));
        if let Some((class, name)) = class.filter(|(_, name)| name.ends_with(".jpg")) {
            assert!(!name.contains('/'), "{path}");
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            files.push((class.to_owned(), bytes));
        }
    }
    let mut classes: Vec<String> = files.iter().map(|(class, _)| class.clone()).collect();
    classes.sort();
    classes.dedup();
    assert_eq!((files.len(), classes.len()), (500, 10));
    let index = |class: String| classes.binary_search(&class).unwrap();
    files
        .into_iter()
        .map(|(class, bytes)| (bytes, index(class)))
        .collect()
}

/// How many of the images a network classifies correctly.
fn score(network: &Network, files: &[(Vec<u8>, usize)], recipe: &Preprocessing) -> i64 {
    let side = i64::from(recipe.crop);
    let mut right = 0;
    for files in files.chunks(100) {
        let mut rgb = Vec::new();
        for (bytes, _) in files {
            rgb.extend(pixels::prepare(bytes, recipe, 1 << 20).unwrap().rgb);
        }
        let labels: Vec<i64> = files.iter().map(|(_, class)| *class as i64).collect();
        let images = Tensor::from_slice(&rgb).view([files.len() as i64, side, side, 3]);
        let logits = network.logits(&input::normalised(&images, recipe, Device::Cpu));
        let hits = logits.argmax(1, false).eq_tensor(&Tensor::from_slice(&labels));
        right += hits.sum(tch::Kind::Int64).int64_value(&[]);
    }
    right
}

#[test]
fn published_cifar_networks_score_what_pytorch_scores_with_them() {
    let Some(archive) = shared::file("data/cifar10-small.tar.gz") else {
        return;
    };
    let files = test_split(&archive);
    for (architecture, pytorchs) in [(Architecture::Resnet20, 390), (Architecture::Resnet56, 412)] {
        let Some(path) = shared::file(&format!("weights/{architecture}-cifar10.safetensors")) else {
            return;
        };
        let spec =
            JobSpec::parse(&json!({"dataset": "cifar", "backbone": {"architecture": architecture}})).unwrap();
        let weights = base_weights(path, architecture);
        let network = Network::loaded(architecture, 10, &weights, Device::Cpu).unwrap();
        let right = score(&network, &files, &spec.preprocessing());
        println!("{architecture}: {right} of {}", files.len());
        assert!(
            (right - pytorchs).abs() <= 2,
            "{architecture}: {right}, PyTorch {pytorchs}"
        );
    }
}

#[test]
fn half_precision_weights_of_a_resnet18_are_a_base_to_train_from() {
    let architecture = Architecture::Resnet18;
    let Some(path) = shared::file("weights/resnet18-cifar10-64.safetensors") else {
        return;
    };
    let weights = base_weights(path, architecture);
    let (_, head) = Network::fine_tuned(architecture, 2, &weights, 0, Device::Cpu).unwrap();
    assert_eq!(head, HeadOrigin::Drawn { left_out: Some(10) });
    let (network, head) = Network::fine_tuned(architecture, 10, &weights, 0, Device::Cpu).unwrap();
    assert_eq!(head, HeadOrigin::Weights);
    if let Some(archive) = shared::file("data/cifar10-small.tar.gz") {
        let right = score(&network, &test_split(&archive), &Preprocessing::whole(64));
        println!("{architecture}: {right} of 500");
        // Up to twice the size, where one level more or less in a pixel changes some predictions.
        assert!((right - 426).abs() <= 5, "{right}, PyTorch 426");
    }
}
