//! `ETag`, `If-None-Match` and `If-Match`: what a client has seen need not be sent again, and nothing is changed that it has not seen.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    models::quick,
    support::{Api, Server, api::Answer, pictures},
};

async fn call(api: &Api, method: Method, path: &str, body: Option<Value>, header: (&str, &str)) -> Answer {
    let request = api.request(method, path).header(header.0, header.1);
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    api.send(request).await
}

/// The tag of something, which a GET with it need not send again.
async fn tag(api: &Api, path: &str) -> String {
    let answer = api.get(path).await.expect(200);
    let tag = answer.headers["etag"].to_str().unwrap().to_owned();
    let known = call(api, Method::GET, path, None, ("if-none-match", &tag))
        .await
        .expect(304);
    assert_eq!(known.headers["etag"], tag.as_str());
    let other = call(api, Method::GET, path, None, ("if-none-match", "\"other\"")).await;
    assert_eq!((other.status, other.text), (200, answer.text));
    tag
}

async fn held(api: &Api, method: Method, path: &str, body: Option<Value>, tag: &str) -> Answer {
    call(api, method, path, body, ("if-match", tag)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_changed_that_the_client_has_not_seen() {
    let server = Server::with(|config| {
        config.webhooks.webhook_targets = vec!["https://hooks.example.org".parse().unwrap()];
    })
    .await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 12)).await;
    jobs(api).await;
    models(api).await;
    datasets(api).await;
    webhooks(api).await;
    keys(api).await;
    server.stop().await;
}

async fn jobs(api: &Api) {
    let mut spec = quick();
    spec["device"] = json!("cuda:9");
    let job = api.submit(spec).await;
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    let cancel = format!("{path}/cancel");
    let queued = tag(api, &path).await;
    held(api, Method::POST, &cancel, None, "\"other\"")
        .await
        .problem(412, "changed");
    held(api, Method::POST, &cancel, None, "other")
        .await
        .problem(400, "if-match-invalid");
    held(api, Method::POST, &cancel, None, &queued).await.expect(200);
    held(api, Method::DELETE, &path, None, &queued)
        .await
        .problem(412, "changed");
    let cancelled = tag(api, &path).await;
    assert_ne!(cancelled, queued);
    held(api, Method::DELETE, &path, None, &cancelled)
        .await
        .expect(204);
}

async fn models(api: &Api) {
    let job = api.submit(quick()).await;
    let job = api.finished(&job).await;
    let path = format!("/v1/models/{}", job["model"].as_str().unwrap());
    let patch = |note: &str| Some(json!({"metadata": {"note": note}}));
    let first = tag(api, &path).await;
    let changed = held(api, Method::PATCH, &path, patch("a"), &first)
        .await
        .expect(200);
    assert_eq!(changed.headers["etag"], tag(api, &path).await.as_str());
    held(api, Method::PATCH, &path, patch("b"), &first)
        .await
        .problem(412, "changed");
    held(api, Method::DELETE, &path, None, &first)
        .await
        .problem(412, "changed");
    assert_eq!(api.get(&path).await.json()["metadata"], json!({"note": "a"}));
    held(api, Method::DELETE, &path, None, "*").await.expect(204);
}

async fn datasets(api: &Api) {
    let path = "/v1/datasets/things";
    let first = tag(api, path).await;
    api.post(&format!("{path}/split"), json!({})).await.expect(201);
    let second = tag(api, path).await;
    assert!(
        first.starts_with("\"v1.") && second.starts_with("\"v2."),
        "{first} {second}"
    );
    for stale in [first.as_str(), "\"v1\"", "\"v7\""] {
        held(api, Method::DELETE, path, None, stale)
            .await
            .problem(412, "version-changed");
        for query in ["", "?dry_run=true"] {
            let reread = format!("{path}/reread{query}");
            held(api, Method::POST, &reread, Some(json!({})), stale)
                .await
                .problem(412, "version-changed");
        }
    }
    let reread = format!("{path}/reread?dry_run=true");
    held(api, Method::POST, &reread, Some(json!({})), "")
        .await
        .problem(400, "if-match-invalid");
    held(api, Method::POST, &reread, Some(json!({})), &second)
        .await
        .expect(200);
    tag(api, &format!("{path}/versions/1")).await;
    held(api, Method::DELETE, path, None, &second).await.expect(204);
}

async fn webhooks(api: &Api) {
    let request = json!({"url": "https://hooks.example.org/a", "events": ["job.failed"]});
    let webhook = api.post("/v1/webhooks", request).await.expect(201).json();
    let path = format!("/v1/webhooks/{}", webhook["id"].as_str().unwrap());
    let first = tag(api, &path).await;
    let patch = || Some(json!({"description": "nights"}));
    held(api, Method::PATCH, &path, patch(), "\"other\"")
        .await
        .problem(412, "changed");
    let changed = held(api, Method::PATCH, &path, patch(), &first).await.expect(200);
    let second = tag(api, &path).await;
    assert_eq!(changed.headers["etag"], second.as_str());
    for method in [Method::PATCH, Method::DELETE] {
        held(api, method, &path, patch(), &first)
            .await
            .problem(412, "changed");
    }
    held(api, Method::DELETE, &path, None, &second).await.expect(204);
}

async fn keys(api: &Api) {
    let boss = api
        .post("/v1/keys", json!({"name": "boss", "scopes": ["admin"]}))
        .await
        .expect(201)
        .json();
    let boss = api.with_key(boss["secret"].as_str().unwrap());
    boss.post("/v1/keys", json!({"name": "camera", "scopes": ["predict"]}))
        .await
        .expect(201);
    let path = "/v1/keys/camera";
    let good = tag(&boss, path).await;
    held(&boss, Method::DELETE, path, None, "\"other\"")
        .await
        .problem(412, "changed");
    held(&boss, Method::DELETE, path, None, &good).await.expect(204);
    assert_ne!(tag(&boss, path).await, good);
}
