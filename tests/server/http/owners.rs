//! What belongs to whom: what a key makes remembers it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Api, Server, api::Answer, pictures};

/// A key that may write; its holder.
async fn writer(boss: &Api, name: &str) -> Api {
    let request = json!({"name": name, "scopes": ["write"]});
    let made = boss.post("/v1/keys", request).await.expect(201).json();
    boss.with_key(made["secret"].as_str().unwrap())
}

fn names(list: &Answer) -> Vec<String> {
    let data = list.json()["data"].as_array().unwrap().clone();
    data.iter()
        .map(|thing| thing["name"].as_str().unwrap().to_owned())
        .collect()
}

fn spec(dataset: &str, name: &str) -> Value {
    // Nothing runs on a device that is not there.
    json!({"dataset": dataset, "name": name, "device": "cuda:9", "backbone": {"weights": "none"}})
}

#[tokio::test(flavor = "multi_thread")]
async fn datasets_uploads_and_jobs_remember_the_key_that_made_them_also_when_it_is_gone() {
    let server = Server::start().await;
    let open = &server.api;
    open.upload("before", pictures::flat_archive(2, 3)).await;
    let job = open.submit(spec("before", "before")).await;
    assert_eq!((&job["owner"], &job["status"]), (&json!(null), &json!("queued")));
    let made = open
        .post("/v1/keys", json!({"name": "boss", "scopes": ["admin"]}))
        .await
        .expect(201)
        .json();
    let boss = open.with_key(made["secret"].as_str().unwrap());
    let (bees, ants) = (writer(&boss, "bees").await, writer(&boss, "ants").await);
    let id = boss.get("/v1/keys/bees").await.expect(200).json()["id"].clone();
    let owner = json!({"id": id, "name": "bees"});

    let dataset = bees.upload("theirs", pictures::flat_archive(2, 4)).await;
    assert_eq!(dataset["owner"], owner);
    let job = bees.submit(spec("theirs", "honey")).await;
    assert_eq!(job["owner"], owner);
    // Whoever brings the same again does not get it.
    let again = ants
        .put("/v1/datasets?name=theirs", pictures::flat_archive(2, 4))
        .await
        .expect(200);
    assert_eq!(again.json()["owner"], owner);
    // In pieces.
    let archive = pictures::flat_archive(2, 5);
    let begin = bees
        .request(Method::POST, "/v1/uploads")
        .header("tus-resumable", "1.0.0")
        .header("upload-length", archive.len())
        .header("upload-metadata", "name cGllY2Vz")
        .header("content-type", "application/offset+octet-stream");
    let begun = bees.send(begin.body(archive)).await.expect(201);
    let upload = begun.headers["location"].to_str().unwrap();
    assert_eq!(boss.get(upload).await.expect(200).json()["owner"], owner);
    let pieces = boss.get("/v1/datasets/pieces?wait=60").await.expect(200).json();
    assert_eq!(pieces["owner"], owner);

    let list = async |path: &str| names(&boss.get(path).await.expect(200));
    let id = owner["id"].as_str().unwrap();
    assert_eq!(
        list("/v1/datasets?owner=bees&order=asc").await,
        ["theirs", "pieces"]
    );
    assert_eq!(
        list(&format!("/v1/datasets?owner={id}&limit=1")).await,
        ["pieces"]
    );
    assert_eq!(list("/v1/datasets?owner=none").await, ["before"]);
    assert_eq!(list("/v1/jobs?owner=bees").await, ["honey"]);
    assert_eq!(list("/v1/jobs?owner=none").await, ["before"]);
    for nothing in [
        "/v1/datasets?owner=ants",
        "/v1/jobs?owner=nobody",
        "/v1/models?owner=bees",
    ] {
        assert!(list(nothing).await.is_empty(), "{nothing}");
    }

    boss.delete("/v1/keys/bees").await.expect(204);
    let dataset = boss.get("/v1/datasets/theirs").await.expect(200).json();
    assert_eq!(dataset["owner"], owner);
    // A key of the same name goes on with what the one before owned, and everybody who may write may delete it.
    writer(&boss, "bees").await;
    assert_eq!(list("/v1/jobs?owner=bees").await, ["honey"]);
    let cancel = ants.request(Method::POST, "/v1/jobs/honey/cancel");
    ants.send(cancel).await.expect(200);
    ants.delete("/v1/datasets/theirs").await.expect(204);
    server.stop().await;
}
