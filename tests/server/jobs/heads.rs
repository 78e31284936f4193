//! Heads that are made at once from the features of a frozen backbone: the whole way from a spec to predictions and exports.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Api, Server, pictures};

fn spec(name: &str, head: Value) -> Value {
    json!({
        "dataset": "things", "name": name, "image": {"size": 32}, "split": {"val": 0.25},
        "backbone": {"architecture": "resnet20", "weights": "base"}, "freeze": "backbone", "head": head,
    })
}

async fn succeeded(api: &Api, spec: Value) -> Value {
    let job = api.finished(&api.submit(spec).await).await;
    assert_eq!(job["status"], "succeeded", "{job:#}");
    job
}

/// Whether a job took over what an earlier one computed.
async fn used_kept(api: &Api, job: &Value) -> bool {
    let path = format!("/v1/jobs/{}/events?limit=1000", job["id"].as_str().unwrap());
    let events = api.get(&path).await.expect(200).json().to_string();
    events.contains("computed by an earlier job")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_every_kind_is_made_served_measured_and_exported() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(3, 12)).await;
    let base = json!({
        "dataset": "things", "name": "base", "image": {"size": 32}, "batch_size": 8, "epochs": 2,
        "backbone": {"architecture": "resnet20", "weights": "none"},
    });
    succeeded(api, base).await;

    let first = succeeded(api, spec("path", json!({"solver": "lbfgs"}))).await;
    assert!(!used_kept(api, &first).await);
    assert!(first["spec"].get("epochs").is_none() && first["spec"]["head"]["solver"] == "lbfgs");
    let curves = format!("/v1/jobs/{}/metrics", first["id"].as_str().unwrap());
    let curves = api.get(&curves).await.expect(200).json();
    assert_eq!(
        curves["series"]["val_loss"].as_array().unwrap().len(),
        13,
        "{curves:#}"
    );

    let picture = pictures::png(1, 700, 40);
    for (name, head) in [
        ("strong", json!({"solver": "lbfgs", "l2": 0.5})),
        ("mlp", json!({"kind": "mlp", "solver": "lbfgs", "hidden": 8})),
        ("prototype", json!({"kind": "prototype"})),
        ("knn", json!({"kind": "knn", "k": 3})),
    ] {
        let job = succeeded(api, spec(name, head)).await;
        assert!(used_kept(api, &job).await, "{name}");
        let model = format!("/v1/models/{name}");
        let answer = api
            .put(&format!("{model}/predict"), picture.clone())
            .await
            .expect(200)
            .json();
        let probability = answer["predictions"][0]["probability"].as_f64().unwrap();
        assert!(probability > 0.3, "{answer:#}");
        let embedding = api
            .put(&format!("{model}/embeddings"), picture.clone())
            .await
            .expect(200)
            .json();
        assert_eq!(embedding["embedding"].as_array().unwrap().len(), 64);
        let card = api.get(&model).await.expect(200).json()["card"].clone();
        assert_eq!(
            card["head"]["kind"].as_str(),
            (name != "strong").then_some(name),
            "{card:#}"
        );
        let measured = json!({"kind": "evaluate", "model": name, "dataset": "things", "split": "val"});
        let job = succeeded(api, measured).await;
        let path = format!("/v1/jobs/{}/evaluation", job["id"].as_str().unwrap());
        let again = api.get(&path).await.expect(200).json();
        let own = api.get(&format!("{model}/evaluation")).await.expect(200).json();
        assert_eq!(again["accuracy"], own["accuracy"], "{name}");
        succeeded(
            api,
            json!({"kind": "batch-predict", "model": name, "dataset": "things"}),
        )
        .await;
        for format in ["onnx", "torchscript", "safetensors"] {
            let path = format!("{model}/export?format={format}");
            let answer = api.request(Method::GET, &path).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), 200, "{path}");
        }
        api.get(&format!("{model}/export?format=timm"))
            .await
            .problem(422, "not-supported");
        let explained = api.put(&format!("{model}/explain"), picture.clone()).await;
        match name {
            "knn" => {
                let problem = explained.problem(422, "not-supported");
                assert!(problem["detail"].as_str().unwrap().contains("`knn`"));
            }
            _ => assert_eq!(explained.expect(200).headers["content-type"], "image/png"),
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_meaning_for_a_head_is_refused_with_what_to_do() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 4)).await;
    let mut wrong = spec("x", json!({"solver": "lbfgs"}));
    wrong["backbone"]["weights"] = json!("any.pth");
    wrong["epochs"] = json!(5);
    wrong["augment"] = json!({"horizontal_flip": true});
    let problem = api.post("/v1/jobs", wrong).await.problem(422, "invalid");
    let pointers: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(pointers, ["/epochs", "/augment"], "{problem:#}");
    server.stop().await;
}
