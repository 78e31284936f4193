//! What was acknowledged is never lost: not by a stop, not by a kill, not by a second server.

use finetuned::http;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::{Api, Server, pictures, program::Program, server::config, stream::Stream};

fn long_spec() -> Value {
    json!({
        "dataset": "things", "name": "thing", "backbone": {"weights": "none"}, "image": {"size": 32}, "epochs": 30, "batch_size": 8
    })
}

/// Steps of the curve, in order, each told once.
async fn curve(api: &Api, job: &Value) -> Vec<(u64, u64)> {
    let curves = api
        .get(&format!(
            "/v1/jobs/{}/metrics?series=val_loss",
            job["id"].as_str().unwrap()
        ))
        .await
        .expect(200)
        .json();
    let points = curves["series"]["val_loss"].as_array().unwrap().clone();
    points
        .iter()
        .map(|point| {
            (
                point["epoch"].as_u64().unwrap(),
                point["value"].as_f64().unwrap().to_bits(),
            )
        })
        .collect()
}

async fn model_sha256(api: &Api, job: &Value) -> Value {
    api.get(&format!("/v1/models/{}", job["model"].as_str().unwrap()))
        .await
        .expect(200)
        .json()["sha256"]
        .clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_goes_on_where_it_was_with_the_same_bits() {
    let server = Server::start().await;
    server.api.upload("things", pictures::flat_archive(2, 16)).await;
    let undisturbed = server.api.finished(&server.api.submit(long_spec()).await).await;
    assert_eq!(undisturbed["status"], "succeeded", "{undisturbed:#}");
    let expected = curve(&server.api, &undisturbed).await;
    assert_eq!(expected.len(), 30);

    let job = server.api.submit(long_spec()).await;
    let path = format!("/v1/jobs/{}/events", job["id"].as_str().unwrap());
    let mut stream = Stream::of(server.api.open_stream(&path, None).await);
    stream.until("epoch").await;
    let data = server.stop().await;
    while stream.next().await.is_some() {}

    let server = Server::on(data, |_| {}).await;
    let resumed = server.api.finished(&job).await;
    assert_eq!(resumed["status"], "succeeded", "{resumed:#}");
    assert_eq!(resumed["attempt"], 2);
    assert_eq!(
        curve(&server.api, &resumed).await,
        expected,
        "the curve is not the uninterrupted one, bit for bit"
    );
    assert_eq!(
        model_sha256(&server.api, &resumed).await,
        model_sha256(&server.api, &undisturbed).await,
        "the model is not the uninterrupted one"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_nothing_that_it_acknowledged() {
    let data = tempfile::tempdir().unwrap();
    let program = Program::start(data.path());
    program
        .api
        .put("/v1/datasets?name=things", pictures::flat_archive(2, 16))
        .await
        .expect(201);
    program.kill();

    let program = Program::start(data.path());
    let dataset = program
        .api
        .get("/v1/datasets/things?wait=60")
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&dataset["status"], &dataset["images"]),
        (&json!("ready"), &json!(32)),
        "{dataset:#}"
    );
    let mut short = long_spec();
    short["epochs"] = json!(6);
    let jobs = [
        program.api.submit(short.clone()).await,
        program.api.submit(short).await,
    ];
    let mut seen = Vec::new();
    let mut program = program;
    for _ in 0..3 {
        let path = format!("/v1/jobs/{}/events", jobs[0]["id"].as_str().unwrap());
        let response = program.api.open_stream(&path, seen.last().copied()).await;
        if response.status() == 200 {
            let mut stream = Stream::of(response);
            // Killed in the middle: after the next sign of life of this job.
            seen.extend(stream.next().await.map(|event| event.id));
            seen.extend(stream.next().await.map(|event| event.id));
        }
        program.kill();
        program = Program::start(data.path());
    }
    for job in &jobs {
        let job = program.api.finished(job).await;
        assert_eq!(job["status"], "succeeded", "{job:#}");
        let epochs: Vec<u64> = curve(&program.api, &job)
            .await
            .iter()
            .map(|(epoch, _)| *epoch)
            .collect();
        assert_eq!(epochs, [1, 2, 3, 4, 5, 6]);
    }
    let models = program.api.get("/v1/models").await.expect(200).json();
    assert_eq!(models["data"].as_array().unwrap().len(), 2, "one model per job");
    assert!(
        seen.is_sorted() && seen.windows(2).all(|pair| pair[0] < pair[1]),
        "doubles in the stream: {seen:?}"
    );
    program.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_never_share_a_data_directory() {
    let server = Server::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let second = http::run(config(server.data_dir()), listener, CancellationToken::new()).await;
    let message = format!("{:#}", second.unwrap_err());
    assert!(message.contains("another finetuned server"), "{message}");
    server.stop().await;
}
