//! Aliases: they stand wherever a model does, and go forward and back.

use reqwest::Method;
use serde_json::{Value, json};

use super::{id, promote, quick, roll_back, tag, train, with_two_models};
use crate::support::{Api, api::Answer, pictures};

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_works_wherever_a_model_does_and_walks_back() {
    let (server, [first, second]) = with_two_models().await;
    let api = &server.api;
    let picture = pictures::png(0, 3, 40);
    let created = promote(api, "production", "thing").await.expect(201);
    assert_eq!(created.headers["location"], "/v1/aliases/production");
    let alias = created.json();
    assert_eq!(
        (&alias["model"], &alias["model_name"], &alias["history"]),
        (&first["id"], &json!("thing"), &json!([]))
    );
    let of_revision = format!("\"v{}.", alias["revision"]);
    assert!(tag(&created).starts_with(&of_revision), "{}", tag(&created));
    every_way_to_ask_takes_an_alias(api, &first, &picture).await;
    jobs_are_pinned_to_what_an_alias_names(api, &first).await;
    a_promotion_moves_an_alias_and_keeps_what_it_named(api, &first, &second, &picture).await;
    let back = a_rollback_walks_back_to_the_first(api, &first, &second).await;
    aliases_are_listed_in_pages(api).await;
    assert_eq!(
        tag(&api.get("/v1/aliases/production").await.expect(200)),
        tag(&back)
    );
    a_deleted_alias_names_nothing(api, picture).await;
    server.stop().await;
}

async fn every_way_to_ask_takes_an_alias(api: &Api, first: &Value, picture: &[u8]) {
    let answer = api
        .put("/v1/models/production/predict", picture.to_vec())
        .await
        .expect(200);
    assert_eq!(answer.json()["model"], first["id"]);
    assert_eq!(answer.headers["model-id"], id(first));
    let answer = api
        .put("/v1/models/production/embeddings", picture.to_vec())
        .await
        .expect(200);
    assert_eq!(answer.json()["model"], first["id"]);
    // A PNG: the client here reads texts only.
    let explained = api
        .request(Method::PUT, "/v1/models/production/explain")
        .body(picture.to_vec())
        .send()
        .await
        .unwrap();
    assert_eq!(
        (explained.status().as_u16(), &explained.headers()["model-id"]),
        (200, &id(first).parse().unwrap())
    );
    let labels = api
        .put("/predictions/production", picture.to_vec())
        .await
        .expect(200);
    assert!(labels.json().get("class-0").is_some(), "{}", labels.text);
    assert_eq!(labels.headers["model-id"], id(first));
    assert_eq!(
        api.get("/v2/models/production").await.expect(200).json()["name"],
        "thing"
    );
    let input = json!({"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64(picture)]});
    let inferred = api
        .post("/v2/models/production/infer", json!({"inputs": [input]}))
        .await
        .expect(200);
    assert_eq!(
        (
            &inferred.json()["model_name"],
            inferred.headers["model-id"].to_str().unwrap()
        ),
        (&json!("thing"), id(first))
    );
    api.get("/v1/models/production/evaluation").await.expect(200);
    assert_eq!(
        api.get("/v1/models/production").await.expect(200).json()["aliases"],
        json!(["production"])
    );
}

/// To what it names when they are submitted.
async fn jobs_are_pinned_to_what_an_alias_names(api: &Api, first: &Value) {
    let evaluated = api
        .submit(json!({"kind": "evaluate", "model": "production", "dataset": "things"}))
        .await;
    assert_eq!(evaluated["spec"]["model"], first["id"]);
    let mut next = quick();
    next["backbone"]["weights"] = json!("production");
    let tuned = train(api, next).await;
    assert_eq!(tuned["card"]["spec"]["backbone"]["weights"], first["id"]);
    assert_eq!(api.finished(&evaluated).await["status"], "succeeded");
}

/// Another alias can be what is promoted, too.
async fn a_promotion_moves_an_alias_and_keeps_what_it_named(
    api: &Api,
    first: &Value,
    second: &Value,
    picture: &[u8],
) {
    promote(api, "staging", id(second)).await.expect(201);
    let moved = promote(api, "production", "staging").await.expect(200).json();
    assert_eq!(
        (&moved["model"], &moved["history"][0]["model"]),
        (&second["id"], &first["id"])
    );
    let answer = api
        .put("/v1/models/production/predict", picture.to_vec())
        .await
        .expect(200)
        .json();
    assert_eq!(answer["model"], second["id"]);
    let same = promote(api, "production", "staging").await.expect(200).json();
    assert_eq!(same, moved, "what is so already makes no history");
    promote(api, "production", "thing@2").await.expect(200);
}

/// Back, and further back, and no further. Gives the answer to the last that went.
async fn a_rollback_walks_back_to_the_first(api: &Api, first: &Value, second: &Value) -> Answer {
    assert_eq!(
        roll_back(api, "production").await.expect(200).json()["model"],
        second["id"]
    );
    let back = roll_back(api, "production").await.expect(200);
    assert_eq!(
        (&back.json()["model"], &back.json()["history"]),
        (&first["id"], &json!([]))
    );
    roll_back(api, "production").await.problem(409, "no-former-model");
    roll_back(api, "nothing").await.problem(404, "not-found");
    back
}

async fn aliases_are_listed_in_pages(api: &Api) {
    let list = api.get("/v1/aliases").await.expect(200).json();
    let names: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|alias| alias["name"].clone())
        .collect();
    assert_eq!(names, ["production", "staging"]);
    let page = api
        .get("/v1/aliases?limit=1&after=production")
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&page["data"][0]["name"], &page["has_more"]),
        (&json!("staging"), &json!(false))
    );
    api.get("/v1/aliases?limit=0").await.problem(422, "invalid");
}

async fn a_deleted_alias_names_nothing(api: &Api, picture: Vec<u8>) {
    api.delete("/v1/aliases/production").await.expect(204);
    api.get("/v1/aliases/production").await.problem(404, "not-found");
    api.delete("/v1/aliases/production")
        .await
        .problem(404, "not-found");
    api.put("/v1/models/production/predict", picture)
        .await
        .problem(404, "not-found");
}

fn base64(bytes: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(bytes)
}

/// An alias is not moved to a model that cannot answer, and goes on naming the one that can.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_cannot_be_loaded_is_not_promoted() {
    let (server, [first, second]) = with_two_models().await;
    let api = &server.api;
    promote(api, "production", id(&first)).await.expect(201);
    let digest = second["sha256"].as_str().unwrap();
    let blob = server.data_dir().join("blobs").join(&digest[..2]).join(digest);
    std::fs::write(&blob, b"not what it was").unwrap();
    promote(api, "production", id(&second))
        .await
        .problem(500, "data-damaged");
    promote(api, "canary", id(&second))
        .await
        .problem(500, "data-damaged");
    api.get("/v1/aliases/canary").await.problem(404, "not-found");
    let alias = api.get("/v1/aliases/production").await.expect(200).json();
    assert_eq!((&alias["model"], &alias["history"]), (&first["id"], &json!([])));
    let answer = api
        .put("/v1/models/production/predict", pictures::png(0, 1, 40))
        .await
        .expect(200)
        .json();
    assert_eq!(answer["model"], first["id"]);
    server.stop().await;
}
