//! `/metrics`: what a strict reader of OpenMetrics finds there, and that the numbers move with what happens.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::support::{
    Api, Server,
    document::{self, Document, spans},
    openmetrics::{self, Labels},
    pictures,
    stream::Stream,
};

/// Samples by their name and their labels.
type Samples = BTreeMap<(String, Labels), f64>;

async fn samples(api: &Api) -> Samples {
    let answer = api.get("/metrics").await.expect(200);
    let kind = answer.headers["content-type"].to_str().unwrap();
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let families = openmetrics::read(&answer.text).into_values();
    let samples = families.flat_map(|family| family.samples);
    samples
        .map(|(name, labels, value)| ((name, labels), value))
        .collect()
}

/// The sum of all samples of this name whose labels have these values.
fn of(samples: &Samples, name: &str, wanted: &[(&str, &str)]) -> f64 {
    let fits = |labels: &Labels| {
        wanted
            .iter()
            .all(|(name, value)| labels.get(*name).is_some_and(|found| found == value))
    };
    let found = samples
        .iter()
        .filter(|((found, labels), _)| found == name && fits(labels));
    found.map(|(_, value)| value).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_move_with_what_happens() {
    let server = Server::start().await;
    let api = &server.api;
    let before = samples(api).await;
    api.upload("things", pictures::flat_archive(2, 3)).await;
    for _ in 0..3 {
        api.get("/v1/datasets/things").await.expect(200);
    }
    api.get("/v1/datasets/nothing").await.problem(404, "not-found");
    api.get("/no/such/path").await.problem(404, "not-found");
    let spec = json!({"dataset": "things", "device": "cuda:9", "backbone": {"weights": "none"}});
    let job = api.submit(spec).await;
    let events = format!("/v1/jobs/{}/events", job["id"].as_str().unwrap());
    let mut stream = Stream::of(api.open_stream(&events, None).await);
    stream.next().await.unwrap();
    let image = pictures::png(0, 1, 40);
    api.put("/v1/models/none/predict", image)
        .await
        .problem(404, "not-found");

    let after = samples(api).await;
    let route = ("route", "/v1/datasets/{dataset}");
    let grew = |name: &str, labels: &[(&str, &str)]| of(&after, name, labels) - of(&before, name, labels);
    // The upload waits once.
    assert!(
        grew(
            "finetuned_requests_total",
            &[route, ("method", "GET"), ("status", "200")]
        ) >= 4.0
    );
    assert_eq!(grew("finetuned_requests_total", &[route, ("status", "404")]), 1.0);
    assert_eq!(grew("finetuned_requests_total", &[("route", "none")]), 1.0);
    assert!(grew("finetuned_request_duration_seconds_count", &[route]) >= 5.0);
    assert_eq!(
        of(
            &after,
            "finetuned_jobs",
            &[("kind", "train"), ("status", "queued")]
        ),
        1.0
    );
    assert_eq!(of(&after, "finetuned_event_streams_open", &[]), 1.0);
    assert!(of(&after, "finetuned_connections_open", &[]) >= 1.0);
    assert!(grew("finetuned_workers_started_total", &[("command", "run")]) >= 1.0);
    assert!(
        grew(
            "finetuned_workers_ended_total",
            &[("command", "run"), ("end", "success")]
        ) >= 1.0
    );
    assert!(of(&after, "finetuned_disk_used_bytes", &[("part", "database")]) > 0.0);
    assert!(of(&after, "finetuned_disk_free_bytes", &[]) > 0.0);
    let cpu = ("device", "cpu");
    let [memory, used] = [
        "finetuned_device_memory_bytes",
        "finetuned_device_memory_used_bytes",
    ]
    .map(|name| of(&after, name, &[cpu]));
    assert!(0.0 < used && used < memory, "{used} of {memory}");
    assert!((0.0..=1.0).contains(&of(&after, "finetuned_device_busy_ratio", &[cpu])));
    assert_eq!(of(&after, "finetuned_device_working", &[cpu]), 1.0);
    assert_eq!(
        of(&after, "finetuned_device_jobs", &[cpu]),
        0.0,
        "its job waits for a card"
    );
    assert!(grew("finetuned_database_writes_total", &[]) >= 2.0);
    assert!(grew("finetuned_database_write_seconds_total", &[]) > 0.0);

    let cancel = api.request(reqwest::Method::POST, &events.replace("/events", "/cancel"));
    api.send(cancel).await.expect(200);
    stream.rest().await;
    let end = samples(api).await;
    assert_eq!(
        of(
            &end,
            "finetuned_jobs",
            &[("kind", "train"), ("status", "cancelled")]
        ),
        1.0
    );
    assert_eq!(of(&end, "finetuned_jobs", &[("status", "queued")]), 0.0);
    server.stop().await;
}

/// In expressions, numbers have the ends of their samples.
#[test]
fn the_dashboard_and_the_alerts_ask_for_numbers_that_there_are() {
    let document = Document::read("docs/METRICS.md");
    let rows = document.rows_below("## All numbers");
    let listed: BTreeSet<&str> = rows.iter().map(|row| spans(row[0])[0]).collect();
    for file in ["docker/alerts.yml", "docker/grafana.json"] {
        let text = std::fs::read_to_string(document::root().join(file)).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let asked: BTreeSet<&str> = words
            .filter(|word| word.starts_with("finetuned_"))
            .map(|word| {
                let ends = ["_bucket", "_sum", "_count"];
                ends.iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word)
            })
            .collect();
        assert!(asked.len() >= 4, "{file}: {asked:?}");
        assert!(
            asked.is_subset(&listed),
            "{file}: {:?}",
            asked.difference(&listed)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_number_is_in_the_document_and_needs_a_key_where_there_is_one() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 3)).await;
    api.submit(json!({"dataset": "things", "device": "cuda:9", "backbone": {"weights": "none"}}))
        .await;
    // Refused by the model's child or answered: both count. Without a model nobody was asked.
    let text = api.get("/metrics").await.expect(200).text;
    let told: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let document = Document::read("docs/METRICS.md");
    let rows = document.rows_below("## All numbers");
    let listed: BTreeSet<&str> = rows
        .iter()
        .map(|row| {
            spans(row[0])[0]
                .trim_end_matches("_total")
                .trim_end_matches("_info")
        })
        .collect();
    assert_eq!(listed, told);

    let made = api
        .post("/v1/keys", json!({"name": "boss", "scopes": ["admin"]}))
        .await
        .expect(201)
        .json();
    api.get("/metrics").await.problem(401, "key-missing");
    let boss = api.with_key(made["secret"].as_str().unwrap());
    let request = json!({"name": "prometheus", "scopes": ["read"]});
    let made = boss.post("/v1/keys", request).await.expect(201).json();
    api.with_key(made["secret"].as_str().unwrap())
        .get("/metrics")
        .await
        .expect(200);
    let request = json!({"name": "camera", "scopes": ["read"], "models": ["insects"]});
    let made = boss.post("/v1/keys", request).await.expect(201).json();
    let camera = api.with_key(made["secret"].as_str().unwrap());
    camera.get("/metrics").await.problem(403, "key-limited");
    server.stop().await;
}
