//! Models: what a job leaves, under which names, and as the start of the next job.

use std::fs;

use serde_json::{Value, json};

use super::{quick, train};
use crate::support::{Server, hub::Hub, pictures};
use finetuned::files::digest;

#[tokio::test(flavor = "multi_thread")]
async fn models_of_one_name_are_versions_and_a_model_is_a_base() {
    let server = Server::start().await;
    let api = &server.api;
    let dataset = api.upload("things", pictures::flat_archive(2, 8)).await;
    let first = train(api, quick()).await;
    let weights = fs::read(
        server
            .data_dir()
            .join("blobs")
            .join(&sha(&first)[..2])
            .join(sha(&first)),
    )
    .unwrap();
    assert_eq!(digest::of_bytes(&weights), sha(&first));
    assert_eq!(first["bytes"], weights.len());
    assert_eq!(first["card"]["dataset"]["sha256"], dataset["sha256"]);
    assert_eq!(first["card"]["classes"], json!(["class-0", "class-1"]));
    assert_eq!(first["card"]["preprocessing"]["crop"], 32);

    // As a base by its name: pinned to the version of that moment.
    let mut next = quick();
    next["backbone"]["weights"] = json!("thing");
    let second = train(api, next.clone()).await;
    assert_eq!((&first["version"], &second["version"]), (&json!(1), &json!(2)));
    assert_eq!(second["card"]["spec"]["backbone"]["weights"], first["id"]);
    assert_eq!(second["card"]["spec"]["freeze"], "backbone");
    for (reference, model) in [("thing", &second), ("thing@1", &first), ("thing@2", &second)] {
        assert_eq!(
            api.get(&format!("/v1/models/{reference}"))
                .await
                .expect(200)
                .json()["id"],
            model["id"]
        );
    }
    for missing in ["thing@3", "thing@", "thing@x", "other"] {
        api.get(&format!("/v1/models/{missing}"))
            .await
            .problem(404, "not-found");
    }
    next["backbone"]["architecture"] = json!("resnet34");
    let refused = api.post("/v1/jobs", next).await.problem(422, "invalid");
    assert_eq!(refused["errors"][0]["pointer"], "/backbone/weights");
    api.delete("/v1/models/thing@2").await.expect(204);
    let third = train(api, quick()).await;
    assert_eq!(third["version"], 3, "a version is never used twice");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pretrained_weights_come_from_a_hub_once_or_from_a_folder() {
    let source = Server::start().await;
    source.api.upload("things", pictures::flat_archive(2, 8)).await;
    let model = train(&source.api, quick()).await;
    let weights = fs::read(
        source
            .data_dir()
            .join("blobs")
            .join(&sha(&model)[..2])
            .join(sha(&model)),
    )
    .unwrap();
    source.stop().await;

    let hub = Hub::serving("timm/resnet18.tv_in1k", weights.clone()).await;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mine.safetensors"), &weights).unwrap();
    fs::write(
        folder.path().join("cut.safetensors"),
        &weights[..weights.len() / 2],
    )
    .unwrap();
    let server = Server::with(|config| {
        config.weights.hub_endpoint = hub.endpoint.clone();
        config.weights.offline = false;
        config.weights.weights_dir = Some(folder.path().to_owned());
    })
    .await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(3, 8)).await;
    let mut spec = quick();
    for _ in 0..2 {
        spec["backbone"]["weights"] = json!("imagenet");
        let model = train(api, spec.clone()).await;
        assert!(
            model["card"]["base_weights"]
                .as_str()
                .unwrap()
                .contains("timm/resnet18.tv_in1k"),
            "{model:#}"
        );
        assert_eq!(
            model["card"]["classes"].as_array().unwrap().len(),
            3,
            "the head is the dataset's, not the base's"
        );
    }
    assert_eq!(
        hub.downloads(),
        1,
        "the second job finds the weights in the cache"
    );
    spec["backbone"]["weights"] = json!("mine.safetensors");
    let model = train(api, spec.clone()).await;
    assert!(
        model["card"]["base_weights"]
            .as_str()
            .unwrap()
            .contains("mine.safetensors")
    );
    spec["backbone"]["weights"] = json!("cut.safetensors");
    let job = api.finished(&api.submit(spec).await).await;
    assert_eq!(job["error"]["code"], "weights_unavailable", "{job:#}");
    server.stop().await;
}

/// A repository that no catalogue knows: what it says about itself becomes the job's preprocessing, and its head is kept by name.
#[tokio::test(flavor = "multi_thread")]
async fn any_repository_in_timms_format_is_a_base_with_its_own_preprocessing() {
    let source = Server::start().await;
    source.api.upload("things", pictures::flat_archive(2, 8)).await;
    let model = train(&source.api, quick()).await;
    let blobs = source.data_dir().join("blobs");
    let weights = fs::read(blobs.join(&sha(&model)[..2]).join(sha(&model))).unwrap();
    let classes: Vec<&str> = model["card"]["classes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    let config = json!({
        "architecture": "resnet18", "num_classes": 2, "label_names": classes,
        "pretrained_cfg": {"input_size": [3, 64, 64], "interpolation": "bicubic", "crop_pct": 1.0, "mean": [0.5, 0.5, 0.5],
            "std": [0.25, 0.25, 0.25]},
    });
    source.stop().await;

    let hub = Hub::describing("someone/things", weights, config.to_string()).await;
    let server = Server::with(|config| {
        config.weights.hub_endpoint = hub.endpoint.clone();
        config.weights.offline = false;
    })
    .await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 8)).await;
    let mut spec = quick();
    spec["backbone"]["weights"] = json!("hub:someone/things");
    let model = train(api, spec.clone()).await;
    let recipe = &model["card"]["preprocessing"];
    assert_eq!(
        (&recipe["interpolation"], &recipe["mean"]),
        (&json!("bicubic"), &json!([0.5, 0.5, 0.5]))
    );
    assert_eq!(recipe["resize_to"], recipe["crop"], "nothing is cropped");
    assert_eq!(model["card"]["spec"]["image"]["std"], json!([0.25, 0.25, 0.25]));
    assert_eq!(model["card"]["base_weights"], "someone/things@main");
    let preview = json!({"backbone": spec["backbone"], "image": {"size": 32}});
    api.post("/v1/datasets/things/preview", preview).await.expect(200);

    spec["backbone"]["weights"] = json!("hub:someone/else");
    let job = api.finished(&api.submit(spec.clone()).await).await;
    assert_eq!(job["error"]["code"], "weights_unavailable", "{job:#}");
    assert!(
        job["error"]["message"].as_str().unwrap().contains("404"),
        "{job:#}"
    );
    spec["backbone"] = json!({"architecture": "resnet34", "weights": "hub:someone/things"});
    let job = api.finished(&api.submit(spec).await).await;
    assert!(
        job["error"]["message"]
            .as_str()
            .unwrap()
            .contains("they are weights of resnet18"),
        "{job:#}"
    );
    server.stop().await;
}

fn sha(model: &Value) -> &str {
    model["sha256"].as_str().unwrap()
}
