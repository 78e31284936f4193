//! The event stream: no gap, no double, an end, and silence that is not taken for death.

use reqwest::header::ACCEPT;
use serde_json::json;

use crate::support::{Server, pictures, stream::Stream};

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_resumes_where_it_broke_off_and_ends_for_good() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 12)).await;
    let spec = json!({"dataset": "things", "backbone": {"weights": "none"}, "image": {"size": 32}, "epochs": 3, "batch_size": 8});
    let job = api.submit(spec).await;
    let path = format!("/v1/jobs/{}/events", job["id"].as_str().unwrap());
    let mut ids = Vec::new();
    // A client that loses its connection after every third event.
    loop {
        let response = api.open_stream(&path, ids.last().copied()).await;
        if response.status() == 204 {
            break;
        }
        let mut stream = Stream::of(response);
        for _ in 0..3 {
            match stream.next().await {
                Some(event) => ids.push(event.id),
                None => break,
            }
        }
    }
    let rows = api.get(&format!("{path}?limit=1000")).await.expect(200).json();
    let seqs: Vec<i64> = rows["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["seq"].as_i64().unwrap())
        .collect();
    assert_eq!(ids, seqs);
    assert_eq!(seqs, (1..=seqs.len() as i64).collect::<Vec<_>>());
    // Nonsense and ids from the future see everything again.
    for id in ["nonsense", "-5", "999999"] {
        let request = api
            .request(reqwest::Method::GET, &path)
            .header(ACCEPT, "text/event-stream")
            .header("last-event-id", id);
        let events = Stream::of(request.send().await.unwrap()).rest().await;
        assert_eq!(events.len(), seqs.len(), "after {id:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_stream_breathes_and_ends_when_the_server_stops() {
    let server = Server::with(|config| config.limits.sse_heartbeat_seconds = 1).await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 3)).await;
    let job = api
        .submit(json!({"dataset": "things", "device": "cuda:9", "backbone": {"weights": "none"}}))
        .await;
    let path = format!("/v1/jobs/{}/events", job["id"].as_str().unwrap());
    let mut stream = Stream::of(api.open_stream(&path, None).await);
    assert_eq!(stream.until("status").await.data["status"], "queued");
    let stopped = async {
        let mut response = api.open_stream(&path, Some(1)).await;
        let mut heard = String::new();
        while heard.matches("\n:").count() + usize::from(heard.starts_with(':')) < 2 {
            heard.push_str(std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap());
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), stopped)
        .await
        .expect("no heartbeat");
    server.stop().await;
    assert!(stream.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_counted() {
    let server = Server::with(|config| {
        config.limits.max_event_streams = 2;
        config.limits.max_address_share_percent = 100;
    })
    .await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 3)).await;
    let job = api
        .submit(json!({"dataset": "things", "device": "cuda:9", "backbone": {"weights": "none"}}))
        .await;
    let path = format!("/v1/jobs/{}/events", job["id"].as_str().unwrap());
    let first = Stream::of(api.open_stream(&path, None).await);
    let _second = Stream::of(api.open_stream(&path, None).await);
    let third = api
        .send(
            api.request(reqwest::Method::GET, &path)
                .header(ACCEPT, "text/event-stream"),
        )
        .await;
    third.problem(503, "too-many-streams");
    drop(first);
    let freed = async { while api.open_stream(&path, None).await.status() != 200 {} };
    tokio::time::timeout(std::time::Duration::from_secs(20), freed)
        .await
        .expect("a closed stream keeps its place");
    server.stop().await;
}
