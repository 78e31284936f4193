//! Backbones that learn without labels: the job, and what becomes of a model without a head everywhere.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Api, Server, pictures};

fn unlabelled(count: usize) -> Vec<u8> {
    let files: Vec<_> = (0..count)
        .map(|index| (format!("{index}.png"), pictures::png(index % 3, 60 + index, 36)))
        .collect();
    pictures::zip(files.iter().map(|(path, bytes)| (path.as_str(), bytes.clone())))
}

fn spec(dataset: &str, more: Value) -> Value {
    let mut spec = json!({
        "kind": "pretrain", "dataset": dataset, "backbone": {"architecture": "resnet20"}, "epochs": 2, "batch_size": 12,
    });
    for (field, value) in more.as_object().unwrap() {
        spec[field] = value.clone();
    }
    spec
}

async fn pretrained(api: &Api, dataset: &str, more: Value) -> Value {
    let job = api.finished(&api.submit(spec(dataset, more)).await).await;
    assert_eq!(job["status"], "succeeded", "{job:#}");
    job
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backbone_learns_from_images_without_labels_and_gives_embeddings() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("photos", unlabelled(40)).await;
    let job = pretrained(api, "photos", json!({})).await;
    assert_eq!(
        (&job["kind"], &job["name"]),
        (&json!("pretrain"), &json!("photos-resnet20-simsiam"))
    );
    let path = "/v1/models/photos-resnet20-simsiam";
    let model = api.get(path).await.expect(200).json();
    let card = &model["card"];
    assert_eq!(
        (&card["head"]["kind"], &card["classes"]),
        (&json!("none"), &json!([]))
    );
    assert_eq!(card["pretraining"]["spec"]["method"], "simsiam");
    assert!(card["pretraining"]["knn_accuracy"].is_null() && card["pretraining"]["feature_spread"].is_f64());
    let series = format!(
        "/v1/jobs/{}/metrics?series=feature_spread,train_accuracy",
        job["id"].as_str().unwrap()
    );
    let curves = api.get(&series).await.expect(200).json();
    assert_eq!(curves["series"]["feature_spread"].as_array().unwrap().len(), 2);
    assert_eq!(curves["series"]["train_accuracy"], json!([]));

    let image = pictures::png(1, 7, 36);
    let embedding = api
        .put(&format!("{path}/embeddings"), image.clone())
        .await
        .expect(200)
        .json();
    assert_eq!(embedding["embedding"].as_array().unwrap().len(), 64);
    for end in ["predict", "explain"] {
        let refused = api
            .put(&format!("{path}/{end}"), image.clone())
            .await
            .problem(409, "no-head");
        assert!(
            refused["detail"].as_str().unwrap().contains("Train a head on it"),
            "{refused}"
        );
    }
    let metadata = api
        .get("/v2/models/photos-resnet20-simsiam")
        .await
        .expect(200)
        .json();
    let outputs: Vec<_> = metadata["outputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|output| &output["name"])
        .collect();
    assert_eq!(outputs, ["embedding"]);
    let side = [1, 3, 32, 32];
    let input = json!({"inputs": [{"name": "input", "datatype": "FP32", "shape": side, "data": vec![0.5; 3 * 32 * 32]}]});
    let inferred = api
        .post("/v2/models/photos-resnet20-simsiam/infer", input)
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&inferred["outputs"][0]["name"], &inferred["outputs"][0]["shape"]),
        (&json!("embedding"), &json!([1, 64]))
    );

    for format in ["onnx", "torchscript", "safetensors"] {
        api.get(&format!("{path}/export?format={format}"))
            .await
            .expect(200);
    }
    api.get(&format!("{path}/export?format=onnx&softmax=true"))
        .await
        .expect(422);
    let bundle = api.request(Method::GET, &format!("{path}/export?format=bundle"));
    let bundle = bundle.send().await.unwrap().bytes().await.unwrap().to_vec();
    let again = api
        .put("/v1/models?name=brought", bundle)
        .await
        .expect(201)
        .json();
    assert_eq!((&again["sha256"], &again["card"]), (&model["sha256"], card));
    let alias = api
        .request(Method::PUT, "/v1/aliases/eyes")
        .json(&json!({"model": "brought"}));
    api.send(alias).await.expect(201);
    api.put("/v1/models/eyes/embeddings", image).await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trainings_begin_with_it_and_what_needs_classes_refuses_it() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(3, 16)).await;
    let job = pretrained(api, "things", json!({"name": "eyes", "method": "dino"})).await;
    let curves = api
        .get(&format!(
            "/v1/jobs/{}/metrics?series=knn_accuracy",
            job["id"].as_str().unwrap()
        ))
        .await
        .expect(200)
        .json();
    assert_eq!(curves["series"]["knn_accuracy"].as_array().unwrap().len(), 2);
    let backbone = json!({"architecture": "resnet20", "weights": "eyes"});
    let training = json!({"dataset": "things", "name": "seeing", "freeze": "backbone", "backbone": backbone, "epochs": 1});
    let trained = api.finished(&api.submit(training).await).await;
    assert_eq!(trained["status"], "succeeded", "{trained:#}");
    let seeing = api.get("/v1/models/seeing").await.expect(200).json();
    assert_eq!(
        seeing["card"]["base_weights"],
        api.get("/v1/models/eyes").await.expect(200).json()["id"]
    );
    let further = spec(
        "things",
        json!({"name": "eyes", "backbone": backbone, "epochs": 1}),
    );
    assert_eq!(
        api.finished(&api.submit(further).await).await["status"],
        "succeeded"
    );

    for (refused, pointer) in [
        (
            json!({"kind": "evaluate", "model": "eyes", "dataset": "things"}),
            "/model",
        ),
        (
            json!({"kind": "batch-predict", "model": "eyes", "dataset": "things"}),
            "/model",
        ),
        (
            json!({"dataset": "things", "backbone": {"architecture": "resnet20"}, "distill": {"teacher": "eyes"}}),
            "/distill/teacher/0",
        ),
    ] {
        let problem = api.post("/v1/jobs", refused).await.expect(422).json();
        let fault = &problem["errors"][0];
        assert_eq!(
            (&fault["pointer"], &fault["code"]),
            (&json!(pointer), &json!("no_head")),
            "{problem}"
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_images_are_too_few_to_learn_from() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("few", unlabelled(5)).await;
    let problem = api
        .post("/v1/jobs", spec("few", json!({})))
        .await
        .expect(422)
        .json();
    assert_eq!(problem["errors"][0]["code"], "too_few_images", "{problem}");
    assert!(
        problem["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains("at least 16"),
        "{problem}"
    );
    server.stop().await;
}
