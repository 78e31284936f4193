//! Every error is a problem (RFC 9457) that says what to do, whoever raised it.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{Server, pictures};

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_with_wrong_fields_names_each_of_them_and_makes_nothing() {
    let server = Server::start().await;
    server.api.upload("things", pictures::flat_archive(2, 3)).await;
    let spec = json!({
        "dataset": "nothing", "epochs": 0, "batch_size": "many", "optimizer": {"lr": -1}, "image": {"size": 8},
        "freeze": {"until": "layer9"}, "colour": "red", "early_stopping": {"patience": 0}
    });
    let problem = server.api.post("/v1/jobs", spec).await.problem(422, "invalid");
    let mut pointers: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["pointer"].as_str().unwrap())
        .collect();
    pointers.sort_unstable();
    let expected = [
        "/batch_size",
        "/colour",
        "/dataset",
        "/early_stopping/patience",
        "/epochs",
        "/freeze",
        "/image/size",
        "/optimizer/lr",
    ];
    assert_eq!(pointers, expected);
    assert_eq!(
        server.api.get("/v1/jobs").await.expect(200).json()["data"],
        json!([])
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_built_yet_is_refused_and_not_ignored() {
    let server = Server::start().await;
    server.api.upload("things", pictures::flat_archive(2, 3)).await;
    let spec = json!({"kind": "cross_validate", "dataset": "things", "epochs": 5, "freeze": "none"});
    let problem = server
        .api
        .post("/v1/jobs", spec)
        .await
        .problem(422, "not-supported");
    assert!(
        problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .all(|error| error["code"] == "not_supported"),
        "{problem:#}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_router_and_the_extractors_speak_problems_too() {
    let server = Server::with(|config| config.limits.max_json_bytes = 1000).await;
    let api = &server.api;
    api.get("/nowhere").await.problem(404, "not-found");
    api.get("/v1/jobs/job_00000000000000000000000000000000")
        .await
        .problem(404, "not-found");
    let wrong_method = api.delete("/v1/system").await;
    wrong_method.problem(405, "method-not-allowed");
    assert!(wrong_method.headers["allow"].to_str().unwrap().contains("GET"));
    let send = |body: &'static str, kind: &'static str| {
        api.send(
            api.request(Method::POST, "/v1/jobs")
                .header("content-type", kind)
                .body(body),
        )
    };
    send("{\"dataset\":", "application/json")
        .await
        .problem(400, "json-invalid");
    send("dataset=x", "application/x-www-form-urlencoded")
        .await
        .problem(415, "json-expected");
    send("[1,2]", "application/json").await.problem(422, "invalid");
    let long = format!("{{\"dataset\":\"{}\"}}", "x".repeat(2000));
    api.send(
        api.request(Method::POST, "/v1/jobs")
            .header("content-type", "application/json")
            .body(long),
    )
    .await
    .problem(413, "too-large");
    api.get("/v1/jobs?limit=0").await.problem(422, "invalid");
    api.get("/v1/jobs?limit=lots").await.problem(400, "query-invalid");
    api.get("/v1/jobs?status=lost")
        .await
        .problem(400, "query-invalid");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_sites_can_neither_write_nor_read() {
    let server = Server::start().await;
    let api = &server.api;
    let rebound = api
        .request(Method::GET, "/v1/datasets")
        .header("host", "evil.test");
    api.send(rebound).await.problem(403, "host-not-allowed");
    for (header, value) in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.test")] {
        let forged = api
            .request(Method::POST, "/v1/jobs")
            .header(header, value)
            .json(&json!({"dataset": "x"}));
        api.send(forged).await.problem(403, "forbidden");
    }
    let own = api
        .request(Method::POST, "/v1/jobs")
        .header("sec-fetch-site", "same-origin")
        .json(&json!({"dataset": "x"}));
    api.send(own).await.problem(422, "invalid");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_is_echoed_and_a_harmful_one_replaced() {
    let server = Server::start().await;
    let api = &server.api;
    let own = api
        .send(
            api.request(Method::GET, "/healthz")
                .header("x-request-id", "my-id.1"),
        )
        .await
        .expect(200);
    assert_eq!(own.headers["x-request-id"], "my-id.1");
    let harmful = api
        .send(
            api.request(Method::GET, "/nowhere")
                .header("x-request-id", "<script>"),
        )
        .await;
    assert_eq!(
        harmful.problem(404, "not-found")["request_id"]
            .as_str()
            .unwrap()
            .len(),
        32
    );
    assert_eq!(own.headers["x-content-type-options"], "nosniff");
    server.stop().await;
}

/// An answer with its body, which the connection survives.
async fn one_answer(connection: &mut TcpStream) -> String {
    let mut answer = String::new();
    loop {
        if let Some((head, body)) = answer.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if body.len() == length.unwrap().parse::<usize>().unwrap() {
                return answer;
            }
        }
        let mut some = [0; 4096];
        let count = connection.read(&mut some).await.unwrap();
        assert!(count > 0, "the connection ended: {answer}");
        answer.push_str(std::str::from_utf8(&some[..count]).unwrap());
    }
}

/// Clients that read nothing before they have sent everything, as most do.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let server = Server::with(|config| config.limits.max_receiving_uploads = 0).await;
    let address = server.api.base.strip_prefix("http://").unwrap().to_owned();
    // More than the kernel holds for a server that does not read.
    let bytes = vec![b'x'; 32 << 20];
    for path in ["/v1/datasets?name=x", "/v1/models?name=x", "/nowhere"] {
        let head = format!(
            "PUT {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n",
            bytes.len()
        );
        let mut connection = TcpStream::connect(&address).await.unwrap();
        connection.write_all(head.as_bytes()).await.unwrap();
        connection.write_all(&bytes).await.expect(path);
        let mut answer = [0; 12];
        connection.read_exact(&mut answer).await.expect(path);
        assert!(answer.starts_with(b"HTTP/1.1 4"), "{path}: {answer:?}");
    }
    // A small body is gone with its answer, and the next request comes on the same connection; the last of them does not come at all.
    let mut connection = TcpStream::connect(&address).await.unwrap();
    for body in [&bytes[..40_000], &bytes[..40_000], b""] {
        let head =
            format!("PUT /v1/datasets?name=x HTTP/1.1\r\nhost: {address}\r\ncontent-length: 40000\r\n\r\n");
        connection.write_all(head.as_bytes()).await.unwrap();
        connection.write_all(body).await.unwrap();
        let answer = timeout(Duration::from_secs(5), one_answer(&mut connection)).await;
        let answer = answer.expect("a refusal waits for a body that does not come");
        assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    }
    // One that asks first is told so without a byte of it.
    let head = format!(
        "PUT /v1/datasets?name=x HTTP/1.1\r\nhost: {address}\r\ncontent-length: 1000\r\nexpect: 100-continue\r\n\r\n"
    );
    let mut connection = TcpStream::connect(&address).await.unwrap();
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 429 ") && !answer.contains("HTTP/1.1 100 "),
        "{answer}"
    );
    server.stop().await;
}
