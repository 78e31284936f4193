//! Models that are adapters: one base for several, and everywhere the answers of one whole network.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Api, Server, pictures};

const NETWORK: &str = "vit_tiny_patch16_224";

async fn trained(api: &Api, name: &str, weights: &str, more: Value) -> Value {
    let mut spec = json!({
        "dataset": "things", "name": name, "backbone": {"architecture": NETWORK, "weights": weights}, "image": {"size": 32}, "epochs": 1,
        "batch_size": 8, "optimizer": {"name": "adamw", "lr": 0.01},
    });
    for (field, value) in more.as_object().unwrap() {
        spec[field] = value.clone();
    }
    let job = api.finished(&api.submit(spec).await).await;
    assert_eq!(job["status"], "succeeded", "{job:#}");
    api.get(&format!("/v1/models/{name}")).await.expect(200).json()
}

/// A head on the backbone of `whole`, and whether nothing of that was read.
async fn headed(api: &Api, name: &str, l2: f64) -> (Value, bool) {
    let spec = json!({
        "dataset": "things", "name": name, "backbone": {"architecture": NETWORK, "weights": "whole"}, "image": {"size": 32},
        "preset": "quick", "head": {"l2": l2},
    });
    let job = api.finished(&api.submit(spec).await).await;
    assert_eq!(job["status"], "succeeded", "{job:#}");
    let events = api
        .get(&format!("/v1/jobs/{}/events", job["id"].as_str().unwrap()))
        .await;
    let model = api.get(&format!("/v1/models/{name}")).await.expect(200).json();
    (model, events.text.contains("is not read again"))
}

fn lora(seed: u64) -> Value {
    json!({"adapt": {"lora": {"rank": 4}}, "seed": seed})
}

/// Probabilities by class for an image.
async fn told(api: &Api, model: &str, image: &[u8]) -> Vec<f64> {
    let path = format!("/v1/models/{model}/predict");
    let mut found = api.put(&path, image.to_vec()).await.expect(200).json()["predictions"].clone();
    let found = found.as_array_mut().unwrap();
    found.sort_by_key(|it| it["index"].as_u64());
    found
        .iter()
        .map(|it| it["probability"].as_f64().unwrap())
        .collect()
}

fn apart(one: &[f64], other: &[f64]) -> f64 {
    let pairs = one.iter().zip(other);
    pairs.map(|(one, other)| (one - other).abs()).fold(0.0, f64::max)
}

async fn exported(api: &Api, format: &str) -> Vec<u8> {
    let path = format!("/v1/models/one/export?format={format}");
    let answer = api.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{format}");
    answer.bytes().await.unwrap().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn adapters_share_a_base_and_answer_as_whole_networks() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(3, 12)).await;
    let whole = trained(api, "whole", "none", json!({})).await;
    assert!(whole["card"]["adapter"].is_null());
    let one = trained(api, "one", "whole", lora(1)).await;
    let other = trained(api, "other", "whole", lora(2)).await;

    let adapter = &one["card"]["adapter"];
    assert_eq!(
        adapter["adapt"],
        json!({"lora": {"rank": 4, "alpha": 8.0, "targets": "attention"}})
    );
    assert_eq!(adapter["base_sha256"], other["card"]["adapter"]["base_sha256"]);
    let bytes = |model: &Value| model["bytes"].as_u64().unwrap();
    assert!(
        bytes(&one) * 50 < bytes(&whole),
        "{} of {}",
        bytes(&one),
        bytes(&whole)
    );
    assert!(adapter["parameters"].as_u64().unwrap() * 50 < 5_500_000);

    let image = pictures::png(1, 5, 36);
    let answers = [told(api, "one", &image).await, told(api, "other", &image).await];
    assert!(apart(&answers[0], &answers[1]) > 1e-6);

    // Exports are whole: imported again it is a model like any other.
    let bundle = exported(api, "bundle").await;
    api.put("/v1/models?name=again", bundle).await.expect(201);
    let again = api.get("/v1/models/again").await.expect(200).json();
    assert!(again["card"]["adapter"].is_null(), "{again:#}");
    assert!(bytes(&again) > 50 * bytes(&one));
    let found = told(api, "again", &image).await;
    assert!(apart(&found, &answers[0]) <= 1e-5, "{found:?} {answers:?}");
    for format in ["onnx", "torchscript", "timm", "safetensors"] {
        let file = exported(api, format).await;
        assert!(file.len() as u64 > 50 * bytes(&one), "{format}");
        let names_an_adapter = file.windows(6).any(|text| text == b"lora_A");
        assert!(!names_an_adapter, "{format}");
    }
    let measure = json!({"kind": "evaluate", "dataset": "things", "model": "one", "split": "train"});
    let job = api.finished(&api.submit(measure).await).await;
    assert_eq!(job["status"], "succeeded", "{job:#}");

    // The other goes on without it and without what both began with, also after a start, which looks for files that nobody names.
    for name in ["one", "whole"] {
        api.delete(&format!("/v1/models/{name}")).await.expect(204);
    }
    let data = server.stop().await;
    let server = Server::on(data, |_| {}).await;
    let found = told(&server.api, "other", &image).await;
    assert!(apart(&found, &answers[1]) <= 1e-6);
    let next = trained(&server.api, "next", "other", json!({"freeze": "backbone"})).await;
    // Of it only the head is its own; the backbone, with the adapter in it, is another base.
    assert!(next["card"]["adapter"]["adapt"].is_null());
    let base = &next["card"]["adapter"]["base_sha256"];
    assert!(base.is_string() && *base != other["card"]["adapter"]["base_sha256"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_on_one_backbone_share_it_and_do_not_read_it_again() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(3, 12)).await;
    let whole = trained(api, "whole", "none", json!({})).await;
    let (one, read_nothing) = headed(api, "one", 0.1).await;
    assert!(!read_nothing);
    let (other, read_nothing) = headed(api, "other", 0.001).await;
    assert!(read_nothing);
    let base = |model: &Value| {
        model["card"]["adapter"]["base_sha256"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(base(&one), base(&other));
    assert!(one["card"]["adapter"]["adapt"].is_null());
    let bytes = |model: &Value| model["bytes"].as_u64().unwrap();
    assert!(
        bytes(&one) * 1000 < bytes(&whole),
        "{} of {}",
        bytes(&one),
        bytes(&whole)
    );

    let image = pictures::png(1, 5, 36);
    let answers = [told(api, "one", &image).await, told(api, "other", &image).await];
    assert!(apart(&answers[0], &answers[1]) > 1e-6);
    let bundle = exported(api, "bundle").await;
    api.put("/v1/models?name=again", bundle).await.expect(201);
    assert!(apart(&told(api, "again", &image).await, &answers[0]) <= 1e-5);

    // The base stays as long as one of them, and is written again when another head needs it.
    api.delete("/v1/models/one").await.expect(204);
    let data = server.stop().await;
    let server = Server::on(data, |_| {}).await;
    assert!(apart(&told(&server.api, "other", &image).await, &answers[1]) <= 1e-6);
    server.api.delete("/v1/models/other").await.expect(204);
    let data = server.stop().await;
    let server = Server::on(data, |_| {}).await;
    let (_, read_nothing) = headed(&server.api, "later", 0.1).await;
    assert!(!read_nothing);
    assert!(apart(&told(&server.api, "later", &image).await, &answers[0]) <= 1e-6);
    server.stop().await;
}
