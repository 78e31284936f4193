//! The registry: aliases that are moved while they are asked, names, metadata, where a model comes from.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use reqwest::Method;
use serde_json::{Value, json};

use super::{quick, train};
use crate::support::{Api, Server, api::Answer, pictures};

/// A server with two models whose classes have nothing in common: `thing` of `class-0` and `class-1`, `insect` of `ants`, `bees` and
/// `wasps`.
pub async fn with_two_models() -> (Server, [Value; 2]) {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 8)).await;
    let insects: Vec<(String, Vec<u8>)> = ["ants", "bees", "wasps"]
        .iter()
        .enumerate()
        .flat_map(|(class, name)| {
            (0..8).map(move |index| (format!("{name}/{index}.png"), pictures::png(class, index, 40)))
        })
        .collect();
    let insects = pictures::zip(insects.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())));
    api.upload("insects", insects).await;
    let first = train(api, quick()).await;
    let mut spec = quick();
    spec["dataset"] = json!("insects");
    spec["name"] = json!("insect");
    let second = train(api, spec).await;
    (server, [first, second])
}

fn id(object: &Value) -> &str {
    object["id"].as_str().unwrap()
}

async fn call(api: &Api, method: Method, path: &str, body: Value, header: Option<(&str, &str)>) -> Answer {
    let mut request = api.request(method, path);
    if !body.is_null() {
        request = request.json(&body);
    }
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    api.send(request).await
}

async fn promote(api: &Api, alias: &str, model: &str) -> Answer {
    call(
        api,
        Method::PUT,
        &format!("/v1/aliases/{alias}"),
        json!({"model": model}),
        None,
    )
    .await
}

async fn roll_back(api: &Api, alias: &str) -> Answer {
    call(
        api,
        Method::POST,
        &format!("/v1/aliases/{alias}/rollback"),
        Value::Null,
        None,
    )
    .await
}

fn tag(answer: &Answer) -> String {
    answer.headers["etag"].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_works_wherever_a_model_does_and_walks_back() {
    let (server, [first, second]) = with_two_models().await;
    let api = &server.api;
    let created = promote(api, "production", "thing").await.expect(201);
    assert_eq!(created.headers["location"], "/v1/aliases/production");
    let alias = created.json();
    assert_eq!(
        (&alias["model"], &alias["model_name"], &alias["history"]),
        (&first["id"], &json!("thing"), &json!([]))
    );
    assert_eq!(tag(&created), format!("\"v{}\"", alias["revision"]));

    // Every way to ask.
    let picture = pictures::png(0, 3, 40);
    let answer = api
        .put("/v1/models/production/predict", picture.clone())
        .await
        .expect(200);
    assert_eq!(answer.json()["model"], first["id"]);
    assert_eq!(answer.headers["model-id"], id(&first));
    let answer = api
        .put("/v1/models/production/embeddings", picture.clone())
        .await
        .expect(200);
    assert_eq!(answer.json()["model"], first["id"]);
    // A PNG: the client here reads texts only.
    let explained = api
        .request(Method::PUT, "/v1/models/production/explain")
        .body(picture.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(
        (explained.status().as_u16(), &explained.headers()["model-id"]),
        (200, &id(&first).parse().unwrap())
    );
    let labels = api
        .put("/predictions/production", picture.clone())
        .await
        .expect(200);
    assert!(labels.json().get("class-0").is_some(), "{}", labels.text);
    assert_eq!(labels.headers["model-id"], id(&first));
    assert_eq!(
        api.get("/v2/models/production").await.expect(200).json()["name"],
        "thing"
    );
    let input = json!({"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64(&picture)]});
    let inferred = api
        .post("/v2/models/production/infer", json!({"inputs": [input]}))
        .await
        .expect(200);
    assert_eq!(
        (
            &inferred.json()["model_name"],
            inferred.headers["model-id"].to_str().unwrap()
        ),
        (&json!("thing"), id(&first))
    );
    api.get("/v1/models/production/evaluation").await.expect(200);
    assert_eq!(
        api.get("/v1/models/production").await.expect(200).json()["aliases"],
        json!(["production"])
    );
    // Jobs are pinned to what it names now.
    let evaluated = api
        .submit(json!({"kind": "evaluate", "model": "production", "dataset": "things"}))
        .await;
    assert_eq!(evaluated["spec"]["model"], first["id"]);
    let mut next = quick();
    next["backbone"]["weights"] = json!("production");
    let tuned = train(api, next).await;
    assert_eq!(tuned["card"]["spec"]["backbone"]["weights"], first["id"]);
    assert_eq!(api.finished(&evaluated).await["status"], "succeeded");

    // Promotion, and another alias as what is promoted.
    promote(api, "staging", id(&second)).await.expect(201);
    let moved = promote(api, "production", "staging").await.expect(200).json();
    assert_eq!(
        (&moved["model"], &moved["history"][0]["model"]),
        (&second["id"], &first["id"])
    );
    let answer = api
        .put("/v1/models/production/predict", picture.clone())
        .await
        .expect(200)
        .json();
    assert_eq!(answer["model"], second["id"]);
    let same = promote(api, "production", "staging").await.expect(200).json();
    assert_eq!(same, moved, "what is so already makes no history");
    promote(api, "production", "thing@2").await.expect(200);

    // Back, and further back, and no further.
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
    assert_eq!(
        tag(&api.get("/v1/aliases/production").await.expect(200)),
        tag(&back)
    );
    api.delete("/v1/aliases/production").await.expect(204);
    api.get("/v1/aliases/production").await.problem(404, "not-found");
    api.delete("/v1/aliases/production")
        .await
        .problem(404, "not-found");
    api.put("/v1/models/production/predict", picture)
        .await
        .problem(404, "not-found");
    server.stop().await;
}

fn base64(bytes: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn names_mean_one_thing_and_nothing_is_moved_unseen() {
    let (server, [first, second]) = with_two_models().await;
    let api = &server.api;
    let put = async |alias: &str, body: Value, header| {
        call(api, Method::PUT, &format!("/v1/aliases/{alias}"), body, header).await
    };
    for (alias, body) in [
        ("mdl_1", json!({"model": "thing"})),
        ("weights.pth", json!({"model": "thing"})),
        ("a%40b", json!({"model": "thing"})),
        ("production", json!({"model": "nothing"})),
        ("production", json!({"model": "thing@7"})),
        ("production", json!({"model": 7})),
        ("production", json!({})),
        ("production", json!({"model": "thing", "version": 1})),
        ("production", json!([])),
    ] {
        put(alias, body, None).await.problem(422, "invalid");
    }
    api.put("/v1/aliases/production", b"{".to_vec())
        .await
        .problem(400, "json-invalid");
    promote(api, "thing", "insect").await.problem(409, "name-taken");

    // Optimistic concurrency, as datasets have it.
    put(
        "production",
        json!({"model": "thing"}),
        Some(("if-match", "\"v1\"")),
    )
    .await
    .problem(412, "alias-changed");
    let seen = put(
        "production",
        json!({"model": "thing"}),
        Some(("if-none-match", "*")),
    )
    .await
    .expect(201);
    let seen = tag(&seen);
    put(
        "production",
        json!({"model": "thing"}),
        Some(("if-none-match", "*")),
    )
    .await
    .problem(412, "alias-changed");
    put(
        "production",
        json!({"model": "thing"}),
        Some(("if-none-match", "\"v1\"")),
    )
    .await
    .problem(400, "if-none-match-invalid");
    put("production", json!({"model": "insect"}), Some(("if-match", "v1")))
        .await
        .problem(400, "if-match-invalid");
    let moved = put(
        "production",
        json!({"model": "insect"}),
        Some(("if-match", &seen)),
    )
    .await
    .expect(200);
    put("production", json!({"model": "thing"}), Some(("if-match", &seen)))
        .await
        .problem(412, "alias-changed");
    let rollback = "/v1/aliases/production/rollback";
    call(
        api,
        Method::POST,
        rollback,
        Value::Null,
        Some(("if-match", &seen)),
    )
    .await
    .problem(412, "alias-changed");
    call(
        api,
        Method::DELETE,
        "/v1/aliases/production",
        Value::Null,
        Some(("if-match", &seen)),
    )
    .await
    .problem(412, "alias-changed");
    let now = api.get("/v1/aliases/production").await.expect(200);
    assert_eq!((tag(&now), &now.json()["model"]), (tag(&moved), &second["id"]));
    call(
        api,
        Method::POST,
        rollback,
        Value::Null,
        Some(("if-match", &tag(&moved))),
    )
    .await
    .expect(200);

    // A model whose alias would name nothing stays; a former one may go, and is passed over.
    let refused = api.delete("/v1/models/thing").await.problem(409, "model-in-use");
    assert!(
        refused["detail"].as_str().unwrap().contains("`production`"),
        "{refused}"
    );
    promote(api, "production", "insect").await.expect(200);
    api.delete("/v1/models/thing").await.expect(204);
    assert_eq!(
        api.get("/v1/aliases/production").await.expect(200).json()["history"],
        json!([])
    );
    roll_back(api, "production").await.problem(409, "no-former-model");
    assert_eq!(
        api.get("/v1/models").await.expect(200).json()["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_ne!(first["id"], second["id"]);

    // No model takes an alias's name.
    let mut spec = quick();
    spec["name"] = json!("production");
    api.post("/v1/jobs", spec.clone())
        .await
        .problem(409, "name-taken");
    api.post("/v1/jobs?dry_run=true", spec)
        .await
        .problem(409, "name-taken");
    let rename = call(
        api,
        Method::PATCH,
        "/v1/models/insect",
        json!({"name": "production"}),
        None,
    )
    .await;
    rename.problem(409, "name-taken");
    server.stop().await;
}

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

/// Many clients ask an alias while it is moved to and fro.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_load_every_answer_is_wholly_one_of_the_two_models() {
    const CLIENTS: usize = 16;
    const MOVES: usize = 30;
    let (server, models) = with_two_models().await;
    let api = &server.api;
    let picture = pictures::png(1, 9, 40);
    // What each of the two says by itself, by its id.
    let mut alone = Vec::new();
    for model in &models {
        let answer = api
            .put(&format!("/v1/models/{}/predict", id(model)), picture.clone())
            .await
            .expect(200)
            .json();
        alone.push((id(model).to_owned(), answer["predictions"].clone()));
    }
    assert_ne!(alone[0].1, alone[1].1);
    promote(api, "production", id(&models[0])).await.expect(201);

    let over = Arc::new(AtomicBool::new(false));
    let answers = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (api, picture, alone) = (api.clone(), picture.clone(), alone.clone());
            let (over, answers) = (over.clone(), answers.clone());
            tokio::spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    let answer = api
                        .put("/v1/models/production/predict", picture.clone())
                        .await
                        .expect(200);
                    let told = answer.headers["model-id"].to_str().unwrap().to_owned();
                    let answer = answer.json();
                    let which = alone
                        .iter()
                        .position(|(model, _)| answer["model"] == model.as_str());
                    let which = which.unwrap_or_else(|| panic!("neither answered: {answer:#}"));
                    assert_eq!(told, alone[which].0);
                    assert_same(&answer["predictions"], &alone[which].1);
                    answers[which].fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for number in 0..MOVES {
        // To the second model and back, half of the times by a rollback. What an alias names is asked right after its move.
        let to = 1 - number % 2;
        let moved = match number % 4 {
            3 => roll_back(api, "production").await.expect(200),
            _ => promote(api, "production", id(&models[to])).await.expect(200),
        };
        assert_eq!(moved.json()["model"], models[to]["id"]);
        let after = api
            .put("/v1/models/production/predict", picture.clone())
            .await
            .expect(200)
            .json();
        assert_eq!(
            after["model"], models[to]["id"],
            "the move is done when it is answered"
        );
    }
    over.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    let [first, second] = [&answers[0], &answers[1]].map(|count| count.load(Ordering::SeqCst));
    println!("{MOVES} moves under {CLIENTS} clients: {first} and {second} answers");
    assert!(
        first > MOVES && second > MOVES,
        "{first} and {second} answers are too few to say anything"
    );
    server.stop().await;
}

#[track_caller]
fn assert_same(found: &Value, expected: &Value) {
    let (found, expected) = (found.as_array().unwrap(), expected.as_array().unwrap());
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(
            (&found["label"], &found["index"]),
            (&expected["label"], &expected["index"])
        );
        let apart = found["probability"].as_f64().unwrap() - expected["probability"].as_f64().unwrap();
        assert!(apart.abs() <= 1e-5, "{found} and {expected}");
    }
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
