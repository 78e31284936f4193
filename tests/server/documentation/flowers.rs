//! What the documents talk of: a server with the dataset and the models `flowers`, and files with the names that they use.

use std::{fs, path::Path};

use finetuned::config::Config;
use serde_json::json;
use tokio::sync::OnceCell;

use crate::support::{Api, Server, pictures};

const CLASSES: [&str; 3] = ["daisies", "roses", "tulips"];

/// The files that the documents name, in the folder in which their commands are typed.
pub async fn lay_out(folder: &Path) {
    let files = [
        ("flowers.zip", flowers()),
        ("rose.jpg", pictures::png(1, 40, 64)),
        ("tulip.jpg", pictures::png(2, 41, 64)),
        ("a.jpg", pictures::png(1, 42, 64)),
        ("b.jpg", pictures::png(1, 43, 64)),
        ("resnet18.safetensors", base().await.weights.clone()),
        ("bundle.zip", base().await.bundle.clone()),
        ("classes.txt", CLASSES.join("\n").into_bytes()),
    ];
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).unwrap();
    }
    let weights = folder.join("weights");
    fs::create_dir(&weights).unwrap();
    fs::copy(
        folder.join("resnet18.safetensors"),
        weights.join("resnet18.safetensors"),
    )
    .unwrap();
}

/// Eight drawn images of each class.
fn flowers() -> Vec<u8> {
    let images = CLASSES.iter().enumerate().flat_map(|(class, name)| {
        (0..8).map(move |index| (format!("{name}/{index}.png"), pictures::png(class, index, 64)))
    });
    let images: Vec<_> = images.collect();
    pictures::zip(images.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())))
}

/// A small model, as files: it stands for ImageNet's, which lie behind a network.
struct Base {
    weights: Vec<u8>,
    bundle: Vec<u8>,
}

async fn base() -> &'static Base {
    static BASE: OnceCell<Base> = OnceCell::const_new();
    BASE.get_or_init(|| async {
        let server = Server::with(patient).await;
        let api = &server.api;
        api.upload("flowers", flowers()).await;
        train(api, "none").await;
        let export = async |format: &str| {
            let path = format!("/v1/models/flowers/export?format={format}");
            let answer = api.request(reqwest::Method::GET, &path).send().await.unwrap();
            answer.error_for_status().unwrap().bytes().await.unwrap().to_vec()
        };
        let base = Base {
            weights: export("safetensors").await,
            bundle: export("bundle").await,
        };
        server.stop().await;
        base
    })
    .await
}

async fn train(api: &Api, weights: &str) {
    let spec = json!({
        "dataset": "flowers", "name": "flowers", "backbone": {"weights": weights}, "image": {"size": 32}, "epochs": 1
    });
    let job = api.finished(&api.submit(spec).await).await;
    assert_eq!(job["status"], "succeeded", "{job:#}");
}

/// An empty server that has weights for a ResNet-18.
pub async fn with_weights() -> Server {
    let base = base().await;
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("own-weights");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("resnet18.safetensors"), &base.weights).unwrap();
    Server::on(data, |config| {
        config.weights.weights_dir = Some(folder);
        patient(config);
    })
    .await
}

/// Many of these tests at once keep a machine busy, and none of them is about how long an answer takes.
fn patient(config: &mut Config) {
    config.limits.predict_deadline_seconds = 240;
    config.limits.export_deadline_seconds = 240;
    config.limits.import_deadline_seconds = 240;
    config.limits.preview_deadline_seconds = 240;
}

/// A server with the dataset `flowers`, and with two versions of the model `flowers`.
pub async fn with_flowers() -> Server {
    let server = with_weights().await;
    server.api.upload("flowers", flowers()).await;
    train(&server.api, "imagenet").await;
    train(&server.api, "imagenet").await;
    server
}
