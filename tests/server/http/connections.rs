//! Clients that are silent, slow or many, beside others that are neither: every phase of a connection has its time, and every address its
//! share.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::{net::TcpSocket, time::interval};

use crate::support::{
    Api, Server,
    patience::wait_until,
    pictures,
    raw::{ELSEWHERE, HERE, Raw, host},
};

/// Longest that somebody who is served may wait, on a machine that is full.
const SERVED_WITHIN: Duration = Duration::from_secs(5);

const HEAD_WITHOUT_BODY: &str = "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n";

/// Somebody new comes from an address and is served at once.
async fn is_served(api: &Api, address: &str, path: &str) {
    let asked = Instant::now();
    let answer = Raw::from(api, address).await.get(path).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    assert!(asked.elapsed() < SERVED_WITHIN, "{:?}", asked.elapsed());
}

/// A job that waits for ever, for a device that is not there.
async fn waiting_job(api: &Api) -> Value {
    api.upload("things", pictures::flat_archive(2, 3)).await;
    api.submit(json!({"dataset": "things", "device": "cuda:9", "backbone": {"weights": "none"}}))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_silent_clients_costs_others_nothing() {
    let server = Server::with(|config| config.limits.max_connections = 60).await;
    let api = &server.api;
    let mut flood = Vec::new();
    for round in 0..150 {
        let mut connection = Raw::open(api).await;
        match round % 3 {
            0 => {}
            1 => connection.send(HEAD_WITHOUT_BODY).await,
            _ => connection.send("GET /v1/jobs HTTP/1.1\r\nhost: loc").await,
        }
        flood.push(connection);
        if round % 30 == 29 {
            is_served(api, ELSEWHERE, "/v1/jobs").await;
            is_served(api, HERE, "/healthz").await;
        }
    }
    // An address has half of all. The idlest went first, which are the first ones here.
    let mut open = Vec::new();
    wait_until("an address has more than its share", async || {
        let places = flood.iter_mut().enumerate();
        open = places
            .filter_map(|(place, connection)| (!connection.has_ended()).then_some(place))
            .collect();
        open.len() <= 30
    })
    .await;
    assert!(open.len() >= 20, "{} are open", open.len());
    assert!(open[0] >= 110, "{open:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_are_served_lose_nothing_to_a_flood_from_their_own_address() {
    let server = Server::with(|config| config.limits.max_connections = 60).await;
    let api = &server.api;
    let job = waiting_job(api).await;
    let path = format!("/v1/jobs/{}?wait=4", job["id"].as_str().unwrap());
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let (api, path) = (api.clone(), path.clone());
            tokio::spawn(async move { api.get(&path).await.expect(200).json()["status"] == "queued" })
        })
        .collect();
    let mut flood = Vec::new();
    for _ in 0..100 {
        flood.push(Raw::open(api).await);
        api.get("/v1/system").await.expect(200);
    }
    for waiting in waiting {
        assert!(waiting.await.unwrap());
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_of_one_address_keep_their_connections() {
    let server = Server::start().await;
    let clients = (0..64).map(|_| {
        let api = server.api.clone();
        tokio::spawn(async move {
            let mut connection = Raw::open(&api).await;
            for _ in 0..20 {
                assert_eq!(connection.get("/v1/system").await.status, 200);
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_silence_has_its_time() {
    let server = Server::with(|config| {
        config.limits.header_seconds = 2;
        config.limits.keep_alive_seconds = 1;
        config.limits.pace_seconds = 1;
    })
    .await;
    let api = &server.api;
    let job = waiting_job(api).await;
    // No first byte; a head that drips; no next request.
    Raw::open(api).await.ended().await;
    let mut dripping = Raw::open(api).await;
    let mut pace = interval(Duration::from_millis(100));
    let begun = Instant::now();
    for byte in "GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-long: "
        .bytes()
        .chain([b'x'].repeat(300))
    {
        pace.tick().await;
        if dripping.has_ended() || dripping.stream.try_write(&[byte]).is_err() {
            break;
        }
    }
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "a head may drip for ever"
    );
    let mut kept = Raw::open(api).await;
    assert_eq!(kept.get("/healthz").await.status, 200);
    kept.ended().await;
    // But whoever waits for the server may wait.
    let mut waiting = Raw::open(api).await;
    let begun = Instant::now();
    let path = format!("/v1/jobs/{}?wait=4", job["id"].as_str().unwrap());
    assert_eq!(waiting.get(&path).await.status, 200);
    assert!(begun.elapsed() >= Duration::from_secs(4));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_comes_too_slowly_is_refused_on_every_route_that_takes_one() {
    let server = Server::with(|config| config.limits.pace_seconds = 1).await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 3)).await;
    let requests = [
        ("POST /v1/jobs", "application/json"),
        ("PUT /v1/aliases/production", "application/json"),
        ("PATCH /v1/datasets/things/images", "application/json"),
        ("POST /v1/datasets/things/images?class=class-0", "image/png"),
        ("PUT /v1/datasets?name=slow", "application/zip"),
        ("PUT /v1/models?name=slow", "application/octet-stream"),
        ("POST /v1/datasets?name=slow", "multipart/form-data; boundary=x"),
    ];
    join_all(requests.map(async |(request, kind)| {
        let mut connection = Raw::open(api).await;
        let head = format!(
            "{request} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\ncontent-length: 100000\r\n\r\n"
        );
        connection.send(head).await;
        let answer = connection.answer().await;
        answer.problem(408, "body-too-slow");
        assert!(answer.says("connection: close"), "{request}: {}", answer.head);
        connection.ended().await;
    }))
    .await;
    // Drops are no better than silence, and what is announced does not matter.
    let mut dripping = Raw::open(api).await;
    let head = "PUT /v1/datasets?name=slow HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    dripping.send(head).await;
    let mut pace = interval(Duration::from_millis(100));
    let mut archive = pictures::flat_archive(2, 3).into_iter();
    let answer = loop {
        pace.tick().await;
        if let Some(answer) = dripping.arrived() {
            break answer;
        }
        let byte = archive.next().expect("all of it dripped in");
        // Where it does not go the answer is here in a moment.
        let _ = dripping
            .stream
            .try_write(&[b'1', b'\r', b'\n', byte, b'\r', b'\n']);
    };
    answer.problem(408, "body-too-slow");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_link_is_fast_enough_above_the_least_pace() {
    let server = Server::with(|config| {
        config.limits.pace_seconds = 1;
        config.limits.min_bytes_per_second = 1000;
    })
    .await;
    let archive = pictures::flat_archive(2, 6);
    let mut connection = Raw::open(&server.api).await;
    let head = format!(
        "PUT /v1/datasets?name=slow HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
        archive.len()
    );
    connection.send(head).await;
    let mut pace = interval(Duration::from_millis(200));
    let pieces = archive.chunks((archive.len() / 20).max(2000));
    for piece in pieces {
        pace.tick().await;
        connection.send(piece).await;
    }
    assert_eq!(connection.answer().await.status, 201);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_its_answers_is_let_go() {
    let server = Server::with(|config| config.limits.pace_seconds = 1).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address: SocketAddr = host(&server.api).parse().unwrap();
    let stream = socket.connect(address).await.unwrap();
    let request = b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut asking = interval(Duration::from_millis(20));
    let asked = async {
        // More than the kernel holds for a client that does not read, and on until it is told.
        loop {
            asking.tick().await;
            match stream.try_write(request) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return error.kind(),
                _ => {}
            }
        }
    };
    let end = tokio::time::timeout(Duration::from_secs(60), asked)
        .await
        .expect("it is served for ever");
    assert!(
        matches!(end, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
        "{end:?}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_a_share_of_event_streams_and_a_trusted_proxy_one_for_each_of_its_clients() {
    let server = Server::with(|config| {
        config.limits.max_event_streams = 4;
        config.trusted_proxies = vec!["127.0.0.3".parse().unwrap()];
    })
    .await;
    let api = &server.api;
    let job = waiting_job(api).await;
    let open = async |address: &str, client: &str| {
        let mut connection = Raw::from(api, address).await;
        let head = format!(
            "GET /v1/jobs/{}/events HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\nx-forwarded-for: {client}\r\n\r\n",
            job["id"].as_str().unwrap()
        );
        connection.send(head).await;
        let answer = connection.answer().await;
        (answer.status, connection)
    };
    let (first, _one) = open(HERE, "192.0.2.1").await;
    let (second, _two) = open(HERE, "192.0.2.2").await;
    let (third, _) = open(HERE, "192.0.2.3").await;
    assert_eq!(
        (first, second, third),
        (200, 200, 503),
        "who is no proxy cannot say that it is somebody else"
    );
    let (first, one) = open("127.0.0.3", "192.0.2.1").await;
    let (second, _two) = open("127.0.0.3", "192.0.2.1").await;
    let (third, _) = open("127.0.0.3", "192.0.2.1").await;
    assert_eq!((first, second, third), (200, 200, 503));
    drop(one);
    let freed = async { while open("127.0.0.3", "192.0.2.9").await.0 != 200 {} };
    tokio::time::timeout(Duration::from_secs(20), freed)
        .await
        .expect("a closed stream keeps its place");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_however_full_the_server_is() {
    let server = Server::with(|config| {
        config.limits.max_connections = 4;
        config.limits.max_address_share_percent = 100;
    })
    .await;
    let api = &server.api;
    let job = waiting_job(api).await;
    // All places are at work, so that nobody goes for a newcomer of the same address.
    let head = format!(
        "GET /v1/jobs/{}/events HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n",
        job["id"].as_str().unwrap()
    );
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut connection = Raw::open(api).await;
        connection.send(&head).await;
        assert_eq!(connection.answer().await.status, 200);
        streams.push(connection);
    }
    is_served(api, HERE, "/healthz").await;
    is_served(api, HERE, "/readyz").await;
    let mut refused = Raw::open(api).await;
    let answer = refused.get("/v1/jobs").await;
    answer.problem(503, "connections-busy");
    assert!(
        answer.says("connection: close") && answer.says("retry-after: 5"),
        "{}",
        answer.head
    );
    refused.ended().await;
    // The reserve holds as well when it is taken by silence.
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(Raw::open(api).await);
    }
    is_served(api, HERE, "/healthz").await;
    // Another address takes the place of one of four.
    is_served(api, ELSEWHERE, "/v1/jobs").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_has_an_address_of_its_own_where_asked_for() {
    // Of this process and of nobody else: the port is free where no other test has this address.
    let address: SocketAddr = {
        let free = std::net::TcpListener::bind("127.0.0.44:0").unwrap();
        free.local_addr().unwrap()
    };
    let server = Server::with(|config| config.health_listen = Some(address)).await;
    for path in ["/healthz", "/readyz"] {
        let answer = Raw::to(address, HERE).await.get(path).await;
        assert_eq!(answer.status, 200, "{}", answer.head);
    }
    Raw::to(address, HERE)
        .await
        .get("/v1/jobs")
        .await
        .problem(404, "not-found");
    server.stop().await;
    assert!(std::net::TcpStream::connect(address).is_err(), "it stays open");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_request_does_not_delay_a_stop() {
    let server = Server::start().await;
    let api = &server.api;
    let mut silent = Raw::open(api).await;
    let mut half_head = Raw::open(api).await;
    half_head.send("GET /v1/jobs HTTP/1.1\r\nho").await;
    // These know that somebody waits for their bodies.
    let mut half_body = Raw::open(api).await;
    half_body
        .send(HEAD_WITHOUT_BODY.replacen("host", "expect: 100-continue\r\nhost", 1))
        .await;
    let mut upload = Raw::open(api).await;
    let head = "PUT /v1/datasets?name=x HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 100000\r\n\r\n";
    upload.send(head).await;
    for (half, some) in [(&mut half_body, "{\"dataset\": "), (&mut upload, "PK\x03\x04")] {
        assert_eq!(half.answer().await.status, 100);
        half.send(some).await;
    }
    let begun = Instant::now();
    let stopped = tokio::spawn(server.stop());
    for half in [&mut half_body, &mut upload] {
        let answer = half.answer().await;
        answer.problem(503, "draining");
        assert!(answer.says("connection: close"), "{}", answer.head);
    }
    silent.ended().await;
    half_head.ended().await;
    stopped.await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "stopping took {:?}",
        begun.elapsed()
    );
}
