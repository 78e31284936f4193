//! HTTP/2: the same server as over HTTP/1.1, and what holds for a connection there holds for each of its requests and for their frames.

use std::time::{Duration, Instant};

use axum::http::{Method, Request};
use bytes::Bytes;
use h2::{Reason, client::Builder};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::support::{
    Api, Server,
    certificate::Certificate,
    http2::{Http2, answer, beginning, frame, get, head, read, reset},
    patience::wait_until,
    pictures,
    raw::ELSEWHERE,
    tls::{HTTP_1, HTTP_2, Tls},
};

/// A job that waits for ever, for a device that is not there.
async fn waiting_job(api: &Api) -> String {
    api.upload("things", pictures::flat_archive(2, 3)).await;
    let spec = json!({"dataset": "things", "device": "cuda:9", "backbone": {"weights": "none"}});
    api.submit(spec).await["id"].as_str().unwrap().to_owned()
}

fn json_of(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

/// Somebody else is served at once.
async fn is_served(api: &Api, certificate: &Certificate) {
    let asked = Instant::now();
    let mut connection = Tls::from(api, certificate, &[HTTP_1], ELSEWHERE).await;
    connection
        .send("GET /v1/system HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await;
    assert!(connection.rest().await.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_event_streams_and_predictions_share_a_connection() {
    let certificate = Certificate::new();
    let server = Server::with_tls(&certificate, |_| {}).await;
    let mut http2 = Http2::open(&server.api, &certificate).await;
    // Larger than all windows together.
    let archive = pictures::flat_archive(2, 16);
    let mut large = archive.clone();
    large.resize(archive.len().max(3 << 20), 0);
    let unread = http2.put("/v1/datasets?name=large", large).await;
    assert!([201, 415, 422].contains(&unread.status), "{}", unread.status);
    let created = http2.put("/v1/datasets?name=things", archive).await;
    assert_eq!(created.status, 201);
    let location = created.headers["location"].to_str().unwrap();
    let dataset = http2.get(&format!("{location}?wait=120")).await;
    assert_eq!(json_of(&dataset.body)["status"], "ready");

    let spec = json!({"dataset": "things", "name": "thing", "backbone": {"architecture": "resnet20", "weights": "none"}, "epochs": 2,
        "image": {"size": 32}, "batch_size": 8});
    let submitted = Request::post("https://localhost/v1/jobs").header("content-type", "application/json");
    let (response, mut body) = http2.send(submitted.body(()).unwrap(), true).await;
    body.send_data(Bytes::from(spec.to_string()), true).unwrap();
    let job = answer(response).await;
    assert_eq!(job.status, 201);
    let events = Request::get(format!(
        "https://localhost{}/events",
        job.headers["location"].to_str().unwrap()
    ));
    let events = events.header("accept", "text/event-stream").body(()).unwrap();
    let (stream, _) = http2.send(events, false).await;
    let stream = tokio::spawn(async { read(head(stream).await.into_body()).await });
    // In the meantime others are answered on the same connection.
    assert_eq!(http2.get("/v1/system").await.status, 200);
    let (told, fault) = stream.await.unwrap();
    assert!(fault.is_none(), "{fault:?}");
    let told = String::from_utf8(told).unwrap();
    assert!(
        told.contains("event: epoch") && told.contains("\"status\":\"succeeded\""),
        "{told}"
    );

    let predicted = http2
        .put("/v1/models/thing/predict", pictures::png(0, 77, 40))
        .await;
    assert_eq!(predicted.status, 200);
    assert_eq!(json_of(&predicted.body)["object"], "prediction");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_one_host_and_a_limit_of_headers() {
    let certificate = Certificate::new();
    let server = Server::with_tls(&certificate, |_| {}).await;
    let mut http2 = Http2::open(&server.api, &certificate).await;
    let request = |host: Option<&str>, more: usize| {
        let mut request = Request::get("https://localhost/v1/system");
        if let Some(host) = host {
            request = request.header("host", host);
        }
        for number in 0..more {
            request = request.header(format!("x-{number}"), "y".repeat(1000));
        }
        request.body(()).unwrap()
    };
    for (host, more, status) in [
        (None, 0, 200),
        (Some("localhost"), 0, 200),
        (Some("evil.test"), 0, 400),
        (None, 10, 200),
        (None, 18, 431),
    ] {
        let (response, _) = http2.send(request(host, more), false).await;
        let response = head(response).await;
        assert_eq!(response.status(), status, "{host:?} and {more} headers");
    }
    let (response, _) = http2
        .send(
            Request::get("https://evil.test/v1/system").body(()).unwrap(),
            false,
        )
        .await;
    answer(response).await.problem(403, "host-not-allowed");
    // Far beyond the limit it is not read to its end.
    let _ = http2.send(request(None, 200), false).await;
    http2.ended().await;
    is_served(&server.api, &certificate).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_has_a_limit_of_requests_and_so_has_a_client() {
    let certificate = Certificate::new();
    let server = Server::with_tls(&certificate, |config| config.limits.max_connections = 300).await;
    let api = &server.api;
    let job = waiting_job(api).await;
    let path = format!("/v1/jobs/{job}?wait=3600");
    // An address has half of 300 places: one connection takes a hundred, and the next one what is left.
    let mut first = Http2::open(api, &certificate).await;
    assert_eq!(first.get("/healthz").await.status, 200);
    let mut waiting = Vec::new();
    for _ in 0..100 {
        waiting.push(first.begin(Method::GET, &path, false).await);
    }
    let beyond = timeout(Duration::from_millis(500), first.get("/healthz")).await;
    assert!(beyond.is_err(), "a hundred and one at the same time");
    let mut second = Http2::open(api, &certificate).await;
    assert_eq!(second.get("/healthz").await.status, 200);
    for _ in 0..50 {
        waiting.push(second.begin(Method::GET, &path, false).await);
    }
    let refused = second.get("/v1/system").await;
    refused.problem(503, "connections-busy");
    assert_eq!(refused.headers["retry-after"], "5");
    assert_eq!(second.get("/healthz").await.status, 200);
    is_served(api, &certificate).await;
    // Whoever cancels a request gives its place back.
    let (_, mut cancelled) = waiting.pop().unwrap();
    cancelled.send_reset(Reason::CANCEL);
    let freed = async { while second.get("/v1/system").await.status != 200 {} };
    timeout(Duration::from_secs(30), freed)
        .await
        .expect("a cancelled request keeps its place");
    // And so does whoever disappears: all hundred of its requests.
    first.break_off();
    wait_until("the places of a broken connection are free", async || {
        let mut third = Http2::open(api, &certificate).await;
        let mut asked = Vec::new();
        for _ in 0..60 {
            asked.push(third.begin(Method::GET, &path, false).await);
        }
        third.get("/v1/system").await.status == 200
    })
    .await;
    drop(waiting);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_refused_and_the_connection_goes_on() {
    let certificate = Certificate::new();
    let server = Server::with_tls(&certificate, |config| config.limits.pace_seconds = 1).await;
    let mut http2 = Http2::open(&server.api, &certificate).await;
    let (silent, _open) = http2.begin(Method::PUT, "/v1/datasets?name=silent", true).await;
    let (dripping, mut drops) = http2.begin(Method::PUT, "/v1/datasets?name=slow", true).await;
    drops.send_data(Bytes::from_static(b"PK\x03\x04"), false).unwrap();
    let dripping = tokio::spawn(answer(dripping));
    while !dripping.is_finished() {
        if drops.send_data(Bytes::from_static(b"x"), false).is_err() {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    answer(silent).await.problem(408, "body-too-slow");
    dripping.await.unwrap().problem(408, "body-too-slow");
    assert_eq!(http2.get("/v1/system").await.status, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_for_which_no_room_is_made_is_ended_and_the_connection_goes_on() {
    let certificate = Certificate::new();
    let server = Server::with_tls(&certificate, |config| config.limits.pace_seconds = 1).await;
    let mut settings = Builder::new();
    settings.initial_window_size(1000);
    let mut http2 = Http2::with(&server.api, &certificate, &settings).await;
    let (response, _) = http2.begin(Method::GET, "/openapi.json", false).await;
    let response = head(response).await;
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let ended = async {
        loop {
            // What came is not released: the window stays closed.
            match body.data().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return error,
                None => panic!("all of it came"),
            }
        }
    };
    let error = timeout(Duration::from_secs(60), ended)
        .await
        .expect("it is kept for ever");
    assert_eq!(error.reason(), Some(Reason::CANCEL));
    assert_eq!(http2.get("/healthz").await.status, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_stream_that_has_nothing_to_say_is_not_a_slow_one() {
    let certificate = Certificate::new();
    let server = Server::with_tls(&certificate, |config| {
        config.limits.pace_seconds = 1;
        config.limits.keep_alive_seconds = 1;
    })
    .await;
    let job = waiting_job(&server.api).await;
    let mut http2 = Http2::open(&server.api, &certificate).await;
    let events = Request::get(format!("https://localhost/v1/jobs/{job}/events"))
        .header("accept", "text/event-stream")
        .body(())
        .unwrap();
    let (stream, _) = http2.send(events, false).await;
    let mut body = head(stream).await.into_body();
    let told = async {
        loop {
            let piece = body.data().await.expect("it ended").unwrap();
            body.flow_control().release_capacity(piece.len()).unwrap();
        }
    };
    assert!(timeout(Duration::from_secs(5), told).await.is_err());
    assert_eq!(http2.get("/healthz").await.status, 200);
    server.stop().await;
}

/// A connection on which a test writes its own frames.
async fn frames(api: &Api, certificate: &Certificate) -> Tls {
    let mut connection = Tls::open(api, certificate, &[HTTP_2]).await;
    connection.send(beginning()).await;
    connection
}

/// How many times it can be said before the server ends the connection, at most so often.
async fn said_until_the_end(connection: &mut Tls, most: usize, what: impl Fn(usize) -> Vec<u8>) -> usize {
    use tokio::io::{AsyncWriteExt, split};
    let (mut answers, mut says) = split(&mut connection.stream);
    let mut sink = tokio::io::sink();
    let read = tokio::io::copy(&mut answers, &mut sink);
    let write = async {
        for number in 0..most {
            if says.write_all(&what(number)).await.is_err() {
                return number;
            }
        }
        let _ = says.flush().await;
        std::future::pending().await
    };
    let both = async {
        tokio::select! {
            _ = read => 0,
            said = write => said,
        }
    };
    timeout(Duration::from_secs(60), both)
        .await
        .expect("the server takes all of it")
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_frames_end_their_connection_and_nothing_else() {
    let certificate = Certificate::new();
    let server = Server::with_tls(&certificate, |_| {}).await;
    let api = &server.api;
    let mut bystander = Http2::open(api, &certificate).await;
    let ping = |_| frame(6, 0, 0, b"12345678");
    let settings = |_| frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]);
    let priority = |number: usize| frame(2, 0, 2 * (number as u32) + 1, &[0, 0, 0, 0, 16]);
    let cancelled = |number: usize| {
        let stream = 2 * (number as u32) + 1;
        [get(stream, "/v1/system"), reset(stream)].concat()
    };
    let cancelled_later = |number: usize| {
        let stream = 2 * (number as u32) + 1;
        match number % 20 {
            19 => (0..20).flat_map(|back| reset(stream - 2 * back)).collect(),
            _ => get(stream, "/v1/jobs?wait=60"),
        }
    };
    type Flood<'a> = &'a dyn Fn(usize) -> Vec<u8>;
    let floods: [(&str, Flood); 5] = [
        ("pings", &ping),
        ("settings", &settings),
        ("priorities", &priority),
        ("resets", &cancelled),
        ("late resets", &cancelled_later),
    ];
    for (name, flood) in floods {
        let mut connection = frames(api, &certificate).await;
        let begun = Instant::now();
        said_until_the_end(&mut connection, 100_000, flood).await;
        assert!(begun.elapsed() < Duration::from_secs(30), "{name}");
        assert_eq!(bystander.get("/v1/system").await.status, 200, "{name}");
        is_served(api, &certificate).await;
    }
    // What a browser does is none of these: it cancels some of what it asks for.
    for number in 0..100 {
        let (_, mut stream) = bystander.begin(Method::GET, "/v1/jobs", false).await;
        if number % 3 == 0 {
            stream.send_reset(Reason::CANCEL);
        }
        assert_eq!(bystander.get("/v1/jobs").await.status, 200);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_only_pings_is_silent() {
    let certificate = Certificate::new();
    let server = Server::with_tls(&certificate, |config| config.limits.keep_alive_seconds = 2).await;
    let mut connection = frames(&server.api, &certificate).await;
    connection.send(get(1, "/healthz")).await;
    let begun = Instant::now();
    let pinging = async {
        use tokio::io::AsyncWriteExt;
        while connection
            .stream
            .write_all(&frame(6, 0, 0, b"12345678"))
            .await
            .is_ok()
            && connection.stream.flush().await.is_ok()
        {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_secs(30), pinging)
        .await
        .expect("pings keep it open");
    assert!(begun.elapsed() >= Duration::from_secs(1));
    // The beginning alone is no request either.
    frames(&server.api, &certificate).await.rest().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_what_was_asked() {
    let certificate = Certificate::new();
    let server = Server::with_tls(&certificate, |_| {}).await;
    let job = waiting_job(&server.api).await;
    let mut http2 = Http2::open(&server.api, &certificate).await;
    let path = format!("/v1/jobs/{job}?wait=3600");
    let (waiting, _) = http2.begin(Method::GET, &path, false).await;
    let (upload, mut body) = http2.begin(Method::PUT, "/v1/datasets?name=half", true).await;
    body.send_data(Bytes::from_static(b"PK\x03\x04"), false).unwrap();
    assert_eq!(http2.get("/healthz").await.status, 200);
    let idle = Http2::open(&server.api, &certificate).await;
    let begun = Instant::now();
    let stopping = tokio::spawn(server.stop());
    assert_eq!(answer(waiting).await.status, 200);
    answer(upload).await.problem(503, "draining");
    http2.ended().await;
    idle.ended().await;
    stopping.await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}
