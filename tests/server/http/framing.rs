//! Requests that two readers could understand in two ways, and numbers beyond their bounds.

use reqwest::Method;
use serde_json::json;

use crate::support::{Server, pictures, raw::Raw};

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_understood_in_two_ways_is_refused_and_ends_its_connection() {
    let server = Server::start().await;
    let smuggled = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for request in [
        "GET /healthz HTTP/1.1\nhost: localhost\n\n",
        "GET /healthz HTTP/1.1\r\nhost: localhost\nx: y\r\n\r\n",
        "GET /healthz HTTP/1.1\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nhost: localhost\r\nHost: evil.test\r\n\r\n",
        "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\n{}",
    ] {
        // The first request of a connection and the next; and nothing behind it is answered.
        for before in ["", smuggled] {
            let mut connection = Raw::open(&server.api).await;
            connection.send(format!("{before}{request}{smuggled}")).await;
            if !before.is_empty() {
                assert_eq!(connection.answer().await.status, 200);
            }
            let answer = connection.answer().await;
            answer.problem(400, "framing-invalid");
            assert!(answer.says("connection: close"), "{request:?}: {}", answer.head);
            connection.ended().await;
        }
    }
    // What hyper itself refuses.
    for request in [
        "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: identity\r\n\r\n",
        "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2, 2\r\n\r\n{}",
        "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: -2\r\n\r\n{}",
        "GET /healthz HTTP/1.1\r\nhost : localhost\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: a\r\n b\r\n\r\n",
        "GET  /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ] {
        let mut connection = Raw::open(&server.api).await;
        connection.send(format!("{request}{smuggled}")).await;
        assert_eq!(connection.answer().await.status, 400, "{request:?}");
        connection.ended().await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_one_behind_the_other_are_answered_in_order() {
    let server = Server::start().await;
    let mut connection = Raw::open(&server.api).await;
    let chunked = "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    let announced = "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 23\r\n\r\n";
    let get = "\r\nGET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let all = [
        get,
        announced,
        "{\"dataset\":\n\n\"nothing\"}",
        get,
        chunked,
        "C\r\n{\"dataset\":\n\r\n6;x=y\r\n\n\"no\"}\r\n0\r\n\r\n",
        get,
    ];
    // In pieces, as a network may deliver them.
    for piece in all.concat().as_bytes().chunks(37) {
        connection.send(piece).await;
    }
    for status in [200, 422, 200, 422, 200] {
        let answer = connection.answer().await;
        assert_eq!(
            answer.status,
            status,
            "{}{}",
            answer.head,
            String::from_utf8_lossy(&answer.body)
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_that_means_two_things_is_refused() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 3)).await;
    for (path, twice) in [
        ("/v1/jobs", r#"{"dataset": "things", "dataset": "other"}"#),
        (
            "/v1/jobs",
            r#"{"dataset": "things", "optimizer": {"lr": 0.1, "lr": 0.2}}"#,
        ),
        (
            "/v1/datasets/things/preview",
            r#"{"augment": {"mixup": 0.1, "mixup": 0.1}}"#,
        ),
        (
            "/v1/datasets/things/split",
            r#"{"group_by": {"parts": 1, "parts": 2}}"#,
        ),
        (
            "/v1/jobs",
            r#"{"dataset": "things", "epochs": null, "epochs": 3}"#,
        ),
    ] {
        let request = api
            .request(Method::POST, path)
            .header("content-type", "application/json");
        let problem = api.send(request.body(twice)).await.problem(400, "json-invalid");
        assert!(
            problem["detail"].as_str().unwrap().contains("duplicate field"),
            "{problem:#}"
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_in_addresses_are_held_to_their_bounds() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 3)).await;
    let job = api
        .submit(json!({"dataset": "things", "device": "cuda:9", "backbone": {"weights": "none"}}))
        .await;
    let job = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    for (path, name, beyond) in [
        (job.clone(), "wait", &["3601", "-1", "18446744073709551616"][..]),
        (format!("{job}/events"), "after", &["-1", "9223372036854775808"]),
        (format!("{job}/events"), "limit", &["0", "1001"]),
        (format!("{job}/logs"), "tail", &["0", "100001", "-5"]),
        (format!("{job}/metrics"), "points", &["1", "10001"]),
        ("/v1/jobs".to_owned(), "limit", &["0", "101", "4294967296"]),
        ("/v1/models".to_owned(), "limit", &["-1"]),
        ("/v1/aliases".to_owned(), "limit", &["101"]),
        ("/v1/datasets".to_owned(), "limit", &["101"]),
        ("/v1/datasets/things".to_owned(), "wait", &["3601"]),
        ("/v1/datasets/things".to_owned(), "version", &["-1", "4294967296"]),
        (
            "/v1/datasets/things/images".to_owned(),
            "after",
            &["-1", "4294967296"],
        ),
        ("/v1/datasets/things/report".to_owned(), "after", &["-1"]),
        (
            "/v1/datasets/things/versions".to_owned(),
            "after",
            &["-1", "4294967296"],
        ),
        ("/v1/datasets/things/archive".to_owned(), "version", &["-1"]),
    ] {
        for number in beyond {
            let problem = api
                .get(&format!("{path}?{name}={number}"))
                .await
                .problem(422, "invalid");
            assert_eq!(problem["errors"][0]["pointer"], format!("/{name}"), "{problem:#}");
            assert_eq!(problem["errors"][0]["code"], "range", "{problem:#}");
        }
        for text in ["x", "1.5", ""] {
            api.get(&format!("{path}?{name}={text}"))
                .await
                .problem(400, "query-invalid");
        }
    }
    server.stop().await;
}
