//! Jobs and models say which version they are of, and hold it.

use reqwest::Method;
use serde_json::{Value, json};

use super::{add, change, images};
use crate::support::{Server, pictures};

#[tokio::test(flavor = "multi_thread")]
async fn jobs_and_models_are_pinned_to_a_version() {
    let server = Server::start().await;
    let api = &server.api;
    let first = api.upload("things", pictures::flat_archive(2, 6)).await;
    // A device that is not there keeps the job in the queue.
    let spec = json!({"dataset": "things", "device": "cuda:9", "backbone": {"weights": "none"}});
    let waiting = api.submit(spec.clone()).await;
    let more: Vec<(String, Vec<u8>)> = (0..4)
        .map(|index| (format!("{index}.png"), pictures::png(1, 70 + index, 48)))
        .collect();
    let more = more
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.clone()))
        .collect();
    let second = add(api, "?class=class-1", more).await.expect(201).json()["dataset"].clone();
    let waiting = api
        .get(&format!("/v1/jobs/{}", waiting["id"].as_str().unwrap()))
        .await
        .expect(200)
        .json();
    assert_eq!(
        waiting["dataset"],
        json!({"id": first["id"], "version": 1, "content_sha256": first["content_sha256"]})
    );
    let old = json!({"dataset": "things@1", "device": "cuda:9", "backbone": {"weights": "none"}});
    assert_eq!(api.submit(old).await["dataset"]["version"], 1);
    assert_eq!(api.submit(spec).await["dataset"]["version"], 2);
    api.post("/v1/jobs", json!({"dataset": "things@3"}))
        .await
        .problem(422, "invalid");
    api.delete("/v1/datasets/things")
        .await
        .problem(409, "dataset-in-use");
    api.delete("/v1/datasets/things@1")
        .await
        .problem(422, "version-not-deletable");

    // A training over both segments; what it made says which version that was.
    let spec = json!({
        "dataset": "things", "name": "things", "epochs": 1, "image": {"size": 32}, "batch_size": 4, "freeze": "none",
        "backbone": {"weights": "none"}
    });
    let job = api.finished(&api.submit(spec).await).await;
    assert_eq!(job["status"], "succeeded", "{job:#}");
    let model = api
        .get(&format!("/v1/models/{}", job["model"].as_str().unwrap()))
        .await
        .expect(200)
        .json();
    let lineage = &model["card"]["dataset"];
    assert_eq!(
        (&lineage["version"], &lineage["content_sha256"]),
        (&json!(2), &second["content_sha256"])
    );
    let metrics = &model["card"]["metrics"];
    let counted = metrics["train_images"].as_u64().unwrap() + metrics["val_images"].as_u64().unwrap();
    assert_eq!(counted, 16);

    // A version that cannot train is refused, another one of the same dataset is not.
    let all = images(api, "&class=class-1").await;
    let edits: Vec<Value> = all
        .iter()
        .map(|image| json!({"id": image["id"], "class": "class-0"}))
        .collect();
    change(
        api,
        Method::PATCH,
        "/v1/datasets/things/images",
        json!({"images": edits}),
        None,
    )
    .await
    .expect(200);
    let refused = api
        .post("/v1/jobs", json!({"dataset": "things"}))
        .await
        .problem(422, "invalid");
    assert_eq!(refused["errors"][0]["code"], "one_class");
    api.post("/v1/jobs?dry_run=true", json!({"dataset": "things@2"}))
        .await
        .expect(200);
    server.stop().await;
}
