//! What is written down of a model: its name, what people note about it, where it comes from.

use reqwest::Method;
use serde_json::{Value, json};

use super::{call, id, quick, train, with_two_models};

#[tokio::test(flavor = "multi_thread")]
async fn models_are_renamed_annotated_and_traced() {
    let (server, [first, _]) = with_two_models().await;
    let api = &server.api;
    let patch = async |path: &str, body: Value| call(api, Method::PATCH, path, body, None).await;
    let metadata = json!({"metadata": {"stage": "tried", "note": "x"}});
    let model = patch("/v1/models/thing", metadata).await.expect(200).json();
    assert_eq!(model["metadata"], json!({"stage": "tried", "note": "x"}));
    let request = api
        .request(Method::PATCH, "/v1/models/thing")
        .header("content-type", "application/merge-patch+json");
    let model = api
        .send(request.body(r#"{"metadata": {"note": null, "by": "me"}}"#))
        .await
        .expect(200)
        .json();
    assert_eq!(model["metadata"], json!({"stage": "tried", "by": "me"}));
    let renamed = patch("/v1/models/thing", json!({"name": "object"}))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&renamed["id"], &renamed["name"], &renamed["version"]),
        (&first["id"], &json!("object"), &json!(1))
    );
    assert_eq!(renamed["metadata"], model["metadata"]);
    api.get("/v1/models/thing").await.problem(404, "not-found");
    // Into a name that is there: its next version.
    let merged = patch("/v1/models/object", json!({"name": "insect"}))
        .await
        .expect(200)
        .json();
    assert_eq!(merged["version"], 2);
    let faults = patch(
        "/v1/models/insect",
        json!({"name": "a b", "metadata": {"n": 1}, "card": {}}),
    )
    .await
    .problem(422, "invalid");
    assert_eq!(faults["errors"].as_array().unwrap().len(), 3);
    patch("/v1/models/nothing", json!({"name": "x"}))
        .await
        .problem(404, "not-found");

    let mut next = quick();
    next["backbone"]["weights"] = json!(first["id"]);
    next["metadata"] = json!({"ticket": "42"});
    let tuned = train(api, next).await;
    assert_eq!(tuned["metadata"], json!({"ticket": "42"}));
    let lineage = api
        .get(&format!("/v1/models/{}/lineage", id(&tuned)))
        .await
        .expect(200)
        .json();
    let [own, base] = lineage["models"].as_array().unwrap().as_slice() else {
        panic!("{lineage:#}");
    };
    assert_eq!((&own["model"], &base["model"]), (&tuned["id"], &first["id"]));
    assert_eq!(own["job"], json!({"id": tuned["job"], "deleted": false}));
    assert_eq!(
        own["base_weights"],
        json!({"from": "model", "origin": first["id"], "sha256": first["sha256"]})
    );
    assert_eq!(
        base["base_weights"],
        json!({"from": "none", "origin": null, "sha256": null})
    );
    let dataset = api.get("/v1/datasets/things").await.expect(200).json();
    for field in ["id", "name", "version", "content_sha256", "sha256"] {
        assert_eq!(own["dataset"][field], dataset[field], "{field}");
    }
    // What is gone is still told.
    api.delete(&format!("/v1/jobs/{}", tuned["job"].as_str().unwrap()))
        .await
        .expect(204);
    api.delete("/v1/datasets/things").await.expect(204);
    let lineage = api.get("/v1/models/thing/lineage").await.expect(200).json();
    let own = &lineage["models"][0];
    assert_eq!(
        (&own["job"]["deleted"], &own["dataset"]["deleted"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(own["dataset"]["content_sha256"], dataset["content_sha256"]);
    server.stop().await;
}
