//! A name means one thing, and nobody moves an alias that somebody else has moved meanwhile.

use reqwest::Method;
use serde_json::{Value, json};

use super::{call, promote, quick, roll_back, tag, with_two_models};
use crate::support::{Api, api::Answer};

async fn put(api: &Api, alias: &str, body: Value, header: Option<(&str, &str)>) -> Answer {
    call(api, Method::PUT, &format!("/v1/aliases/{alias}"), body, header).await
}

#[tokio::test(flavor = "multi_thread")]
async fn names_mean_one_thing_and_nothing_is_moved_unseen() {
    let (server, [first, second]) = with_two_models().await;
    let api = &server.api;
    assert_ne!(first["id"], second["id"]);
    what_is_no_name_and_what_names_nothing_is_refused(api).await;
    let (seen, moved) = who_moves_an_alias_may_say_what_was_seen(api).await;
    what_was_not_seen_is_neither_rolled_back_nor_deleted(api, &second, &seen, &moved).await;
    a_model_whose_alias_would_name_nothing_stays(api).await;
    no_model_takes_the_name_of_an_alias(api).await;
    server.stop().await;
}

async fn what_is_no_name_and_what_names_nothing_is_refused(api: &Api) {
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
        put(api, alias, body, None).await.problem(422, "invalid");
    }
    api.put("/v1/aliases/production", b"{".to_vec())
        .await
        .problem(400, "json-invalid");
    promote(api, "thing", "insect").await.problem(409, "name-taken");
}

/// Optimistic concurrency, as datasets have it. Gives the tag of the alias as it was made, and the answer that moved it.
async fn who_moves_an_alias_may_say_what_was_seen(api: &Api) -> (String, Answer) {
    put(
        api,
        "production",
        json!({"model": "thing"}),
        Some(("if-match", "\"v1\"")),
    )
    .await
    .problem(412, "alias-changed");
    let seen = put(
        api,
        "production",
        json!({"model": "thing"}),
        Some(("if-none-match", "*")),
    )
    .await
    .expect(201);
    let seen = tag(&seen);
    put(
        api,
        "production",
        json!({"model": "thing"}),
        Some(("if-none-match", "*")),
    )
    .await
    .problem(412, "alias-changed");
    put(
        api,
        "production",
        json!({"model": "thing"}),
        Some(("if-none-match", "\"v1\"")),
    )
    .await
    .problem(400, "if-none-match-invalid");
    put(
        api,
        "production",
        json!({"model": "insect"}),
        Some(("if-match", "v1")),
    )
    .await
    .problem(400, "if-match-invalid");
    let moved = put(
        api,
        "production",
        json!({"model": "insect"}),
        Some(("if-match", &seen)),
    )
    .await
    .expect(200);
    put(
        api,
        "production",
        json!({"model": "thing"}),
        Some(("if-match", &seen)),
    )
    .await
    .problem(412, "alias-changed");
    (seen, moved)
}

async fn what_was_not_seen_is_neither_rolled_back_nor_deleted(
    api: &Api,
    second: &Value,
    seen: &str,
    moved: &Answer,
) {
    let rollback = "/v1/aliases/production/rollback";
    call(api, Method::POST, rollback, Value::Null, Some(("if-match", seen)))
        .await
        .problem(412, "alias-changed");
    call(
        api,
        Method::DELETE,
        "/v1/aliases/production",
        Value::Null,
        Some(("if-match", seen)),
    )
    .await
    .problem(412, "alias-changed");
    let now = api.get("/v1/aliases/production").await.expect(200);
    assert_eq!((tag(&now), &now.json()["model"]), (tag(moved), &second["id"]));
    call(
        api,
        Method::POST,
        rollback,
        Value::Null,
        Some(("if-match", &tag(moved))),
    )
    .await
    .expect(200);
}

/// A former one may go, and is passed over.
async fn a_model_whose_alias_would_name_nothing_stays(api: &Api) {
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
}

async fn no_model_takes_the_name_of_an_alias(api: &Api) {
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
    a_name_that_nobody_chose_gives_way(api, quick()).await;
}

/// A job without a name is called after its dataset and architecture; where an alias has that name, it gets a number.
async fn a_name_that_nobody_chose_gives_way(api: &Api, mut spec: Value) {
    spec.as_object_mut().unwrap().remove("name");
    let submit = async || {
        let job = api.submit(spec.clone()).await;
        let cancel = format!("/v1/jobs/{}/cancel", job["id"].as_str().unwrap());
        let cancelled = api.post(&cancel, json!({})).await;
        // It may run already.
        assert!([200, 202].contains(&cancelled.status), "{}", cancelled.text);
        api.finished(&job).await["name"].as_str().unwrap().to_owned()
    };
    let usual = submit().await;
    promote(api, &usual, "insect").await.expect(201);
    assert_eq!(submit().await, format!("{usual}-2"));
}
