//! `Idempotency-Key`: a request that is sent again is carried out once.

use std::{fs, path::Path};

use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::support::{Api, Server, api::Answer, patience::wait_until, pictures};

const NAME: &str = "idempotency-key";

async fn post(api: &Api, path: &str, key: &str, body: Value) -> Answer {
    let request = api.request(Method::POST, path).header(NAME, key);
    api.send(request.json(&body)).await
}

/// Adds an image by a form, whose boundary is another one each time.
async fn add(api: &Api, key: &str, image: usize) -> Answer {
    let part = Part::bytes(pictures::png(0, image, 40)).file_name("a.png");
    let request = api
        .request(Method::POST, "/v1/datasets/things/images?class=class-0")
        .header(NAME, key);
    api.send(request.multipart(Form::new().part("file", part))).await
}

fn is_replayed(answer: &Answer) -> bool {
    answer.headers.get("idempotency-replayed").is_some()
}

async fn version(api: &Api) -> Value {
    api.get("/v1/datasets/things").await.expect(200).json()["version"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_gets_the_first_answer_also_after_a_restart() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 3)).await;
    let first = add(api, "add-1", 61).await;
    assert!(first.status == 201 && !is_replayed(&first), "{}", first.text);
    let split = post(api, "/v1/datasets/things/split", "split-1", json!({}))
        .await
        .expect(201);
    assert_eq!(version(api).await, 3);
    let repeated = add(api, "add-1", 61).await;
    assert!(
        repeated.status == 201 && is_replayed(&repeated),
        "{}",
        repeated.text
    );
    assert_eq!(repeated.text, first.text);
    for header in ["location", "etag", "content-type"] {
        assert_eq!(repeated.headers[header], first.headers[header], "{header}");
    }
    // Another request under the same key, by its body or by its address.
    add(api, "add-1", 62).await.problem(422, "idempotency-mismatch");
    post(api, "/v1/datasets/things/split", "add-1", json!({}))
        .await
        .problem(422, "idempotency-mismatch");
    post(api, "/v1/datasets/things/split", "a b", json!({}))
        .await
        .problem(400, "idempotency-key-invalid");
    assert_eq!(version(api).await, 3);
    let server = Server::on(server.stop().await, |_| {}).await;
    let after = post(&server.api, "/v1/datasets/things/split", "split-1", json!({})).await;
    assert!(is_replayed(&after) && after.text == split.text, "{}", after.text);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_may_be_corrected_under_the_same_key() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 3)).await;
    let split = async |body| post(api, "/v1/datasets/things/split", "k", body).await;
    split(json!({"val": 7})).await.problem(422, "invalid");
    split(json!({"val": 0.4})).await.expect(201);
    split(json!({"val": 7}))
        .await
        .problem(422, "idempotency-mismatch");
    // What changes nothing is computed again.
    for _ in 0..2 {
        let preview = post(
            api,
            "/v1/datasets/things/preview",
            "k",
            json!({"images": 1, "views": 1}),
        )
        .await;
        assert!(
            preview.status == 200 && !is_replayed(&preview),
            "{}",
            preview.status
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_neither_kept_nor_told_again_and_keys_of_others_are_others() {
    let server = Server::start().await;
    let request = json!({"name": "boss", "scopes": ["admin"]});
    let made = post(&server.api, "/v1/keys", "make-boss", request.clone())
        .await
        .expect(201)
        .json();
    let secret = made["secret"].as_str().unwrap();
    let boss = server.api.with_key(secret);
    // The first one was made when there was no key, so it is nobody's.
    let other = json!({"name": "team", "scopes": ["write"]});
    let team = post(&boss, "/v1/keys", "make-boss", other.clone())
        .await
        .expect(201)
        .json();
    let refused = post(&boss, "/v1/keys", "make-boss", other)
        .await
        .problem(409, "idempotency-answer-not-kept");
    let place = format!("/v1/keys/{}", team["id"].as_str().unwrap());
    assert!(refused["detail"].as_str().unwrap().contains(&place), "{refused}");
    for secret in [secret, team["secret"].as_str().unwrap()] {
        assert!(!is_in_a_file(&server.data_dir(), secret.as_bytes()));
    }
    assert!(
        is_in_a_file(&server.data_dir(), place.as_bytes()),
        "the answer's place is kept"
    );
    server.stop().await;
}

fn is_in_a_file(folder: &Path, text: &[u8]) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => is_in_a_file(&path, text),
            false => fs::read(path)
                .unwrap()
                .windows(text.len())
                .any(|window| window == text),
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_waits_for_the_first_request_and_takes_its_place_if_it_fails() {
    let server = Server::start().await;
    let api = &server.api;
    let archive = pictures::flat_archive(2, 3);
    let upload = async || {
        let request = api
            .request(Method::POST, "/v1/datasets?name=things")
            .header(NAME, "k");
        let request = request.header("content-type", "application/zip");
        api.send(request.body(archive.clone())).await
    };
    let mut first = TcpStream::connect(api.base.strip_prefix("http://").unwrap())
        .await
        .unwrap();
    let head = format!(
        "POST /v1/datasets?name=things HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/zip\r\n{NAME}: k\r\ncontent-length: {}\r\n\r\n",
        archive.len()
    );
    first.write_all(head.as_bytes()).await.unwrap();
    first.write_all(&archive[..archive.len() / 2]).await.unwrap();
    // Another request under that key is refused as soon as the first one has begun, and is none before.
    wait_until("the first upload has begun", async || {
        post(api, "/v1/jobs/nothing/cancel", "k", json!({})).await.status == 422
    })
    .await;
    upload().await.problem(409, "idempotency-running");
    drop(first);
    wait_until("its client has left", async || upload().await.status == 201).await;
    let again = upload().await;
    assert!(again.status == 201 && is_replayed(&again), "{}", again.text);
    server.stop().await;
}
