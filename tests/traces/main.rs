//! Spans for an OpenTelemetry collector, by the program itself with the variables of the specification. The collector is played here: it takes
//! what a real one takes, OTLP over HTTP as protobuf. A shell script stands in for the worker.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use prost::Message;
use reqwest::{Client, Method};
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::timeout,
};

/// For whatever must happen soon, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// Reads any archive, and fails at any training.
const WORKER: &str = r#"#!/bin/sh
task=$1
[ "$task" = run ] && task=$(sed -n 's/^  "kind": "\([a-z_]*\)".*/\1/p;T;q' run.json)
artifact() { printf '{"file":"%s","sha256":"%s","bytes":%s}' "$1" "$(sha256sum "$1" | cut -d' ' -f1)" "$(wc -c < "$1")"; }
result() { printf '%s' "$1" > result.json.partial && mv result.json.partial result.json; }
case "$task" in
devices)
    echo '[{"name":"cpu","description":"a stand-in","threads":1,"memory_bytes":1}]' ;;
ingest)
    for file in manifest images pack report; do printf "$file" > $file; done
    result '{"outcome":"ingested","layout":"flat","images":2,"content_sha256":"c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0",
        "classes":[{"name":"ants","index":0,"images":1},{"name":"bees","index":1,"images":1}],
        "splits":{"train":2,"val":0,"test":0},
        "report":{"used":2,"skipped":0,"ignored":0,"duplicates":0,"leaks":0,"warnings":[]},
        "manifest":'"$(artifact manifest)"',"images_file":'"$(artifact images)"',"pack":'"$(artifact pack)"',"report_entries":'"$(artifact report)"'}' ;;
train)
    result '{"outcome":"failed","code":"diverged","message":"the loss is not a number"}' ;;
esac
"#;

/// What a collector got in one request.
struct Received {
    headers: HeaderMap,
    service: String,
    spans: Vec<Span>,
}

struct Collector {
    address: SocketAddr,
    received: UnboundedReceiver<Received>,
    spans: Vec<Span>,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, received) = unbounded_channel();
        let service = Router::new().route("/v1/traces", post(take)).with_state(sender);
        tokio::spawn(async { axum::serve(listener, service).await });
        Self {
            address,
            received,
            spans: Vec::new(),
        }
    }

    /// The span of this name, when it has come.
    async fn span(&mut self, name: &str) -> Span {
        loop {
            if let Some(found) = self.spans.iter().find(|span| span.name == name) {
                return found.clone();
            }
            let names: Vec<_> = self.spans.iter().map(|span| &span.name).collect();
            let received = timeout(PATIENCE, self.received.recv()).await;
            let received = received.unwrap_or_else(|_| panic!("no {name} among {names:?}"));
            let received = received.unwrap();
            assert_eq!(received.headers["content-type"], "application/x-protobuf");
            assert_eq!(received.headers["x-tenant"], "images");
            assert_eq!(received.service, "classifiers");
            self.spans.extend(received.spans);
        }
    }
}

async fn take(State(sender): State<UnboundedSender<Received>>, headers: HeaderMap, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    for resource in request.resource_spans {
        let attributes = &resource.resource.unwrap().attributes;
        let _ = sender.send(Received {
            headers: headers.clone(),
            service: text(attributes, "service.name"),
            spans: resource
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans)
                .collect(),
        });
    }
}

/// An attribute as text; empty where there is none.
fn text(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found
        .and_then(|attribute| attribute.value.as_ref())
        .and_then(|value| value.value.as_ref())
    {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(other) => panic!("{key} is {other:?}"),
        None => String::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn state(span: &Span) -> StatusCode {
    span.status
        .as_ref()
        .map_or(StatusCode::Unset, |status| status.code())
}

/// `finetuned serve` with a data directory of its own.
struct Server {
    child: Child,
    url: String,
    http: Client,
    /// Lines of its log, as they come.
    lines: Receiver<String>,
    log: String,
    _folder: TempDir,
}

impl Server {
    fn start(variables: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_finetuned"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.path().join("data"))
            .arg("--worker")
            .arg(worker(folder.path()))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        let (sender, lines) = channel();
        let errors = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            child,
            url,
            http: Client::new(),
            lines,
            log: String::new(),
            _folder: folder,
        }
    }

    async fn send(&self, method: Method, path: &str, body: impl Into<reqwest::Body>) -> (u16, Json) {
        let address = format!("{}{path}", self.url);
        let request = self
            .http
            .request(method, address)
            .header("content-type", "application/json")
            .header("traceparent", format!("00-{TRACE}-{CALLER}-01"))
            .header("x-request-id", "mine");
        let response = request.body(body).send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or_default())
    }

    fn until_logged(&mut self, text: &str) {
        while !self.log.contains(text) {
            let line = self.lines.recv_timeout(PATIENCE);
            self.log
                .push_str(&line.unwrap_or_else(|_| panic!("no {text} in {}", self.log)));
        }
    }

    /// Stops it as a person would; the result is its log.
    fn stop(mut self) -> String {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").arg(&id).status().unwrap().success());
        let status = self.child.wait().unwrap();
        let rest: String = self.lines.iter().collect();
        let log = self.log + &rest;
        assert!(status.success(), "{log}");
        log
    }
}

fn worker(folder: &Path) -> PathBuf {
    // Written by another process: where this one has it open while a test beside it starts a child, it could not be run.
    let path = folder.join("worker");
    let mut writer = Command::new("tee")
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = writer.stdin.take().unwrap();
    input.write_all(WORKER.as_bytes()).unwrap();
    drop(input);
    assert!(writer.wait().unwrap().success());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn variables(address: &str) -> [(&'static str, String); 5] {
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}")),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=images".to_owned()),
        ("OTEL_SERVICE_NAME", "classifiers".to_owned()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100".to_owned()),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "500".to_owned()),
    ]
}

fn server_for(collector: &str) -> Server {
    let variables = variables(collector);
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    Server::start(&variables)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_a_span_of_its_callers_trace() {
    let mut collector = Collector::start().await;
    let server = server_for(&collector.address.to_string());
    let (status, _) = server.send(Method::GET, "/v1/jobs/job_unknown", "").await;
    assert_eq!(status, 404);
    let span = collector.span("GET /v1/jobs/{job}").await;
    assert_eq!(
        (hex(&span.trace_id), hex(&span.parent_span_id)),
        (TRACE.to_owned(), CALLER.to_owned())
    );
    assert_eq!(span.kind(), SpanKind::Server);
    for (key, expected) in [
        ("http.request.method", "GET"),
        ("http.route", "/v1/jobs/{job}"),
        ("url.path", "/v1/jobs/job_unknown"),
        ("http.response.status_code", "404"),
        ("finetuned.request_id", "mine"),
    ] {
        assert_eq!(text(&span.attributes, key), expected, "{key}");
    }
    // A caller's mistake is no error of the server.
    assert_eq!(state(&span), StatusCode::Unset);
    assert!(span.end_time_unix_nano > span.start_time_unix_nano);
    // What asks all the time is no span, what is no route has no name of its own, and the last ones go before the end.
    server.send(Method::GET, "/healthz", "").await;
    server.send(Method::GET, "/made-up/by/callers", "").await;
    let log = server.stop();
    collector.span("GET").await;
    assert!(collector.spans.iter().all(|span| !span.name.contains("healthz")));
    assert!(
        log.contains("spans are sent to OpenTelemetry") && log.contains(TRACE),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_and_its_attempts_are_spans_below_the_request() {
    let mut collector = Collector::start().await;
    let server = server_for(&collector.address.to_string());
    let archive = &b"PK\x03\x04 for a stand-in"[..];
    let (status, answer) = server
        .send(Method::PUT, "/v1/datasets?name=things", archive)
        .await;
    assert_eq!(status, 201, "{answer}");
    let (_, read) = server.send(Method::GET, "/v1/datasets/things?wait=60", "").await;
    assert_eq!(read["status"], "ready", "{read}");
    let spec = json!({"dataset": "things", "backbone": {"architecture": "resnet20"}});
    let (status, job) = server.send(Method::POST, "/v1/jobs", spec.to_string()).await;
    assert_eq!(status, 201, "{job}");
    assert_eq!(job["trace_id"], TRACE);
    let id = job["id"].as_str().unwrap();

    let request = collector.span("POST /v1/jobs").await;
    let attempt = collector.span("attempt train").await;
    let job = collector.span("job train").await;
    for span in [&request, &attempt, &job] {
        assert_eq!(hex(&span.trace_id), TRACE, "{}", span.name);
    }
    assert_eq!(hex(&request.parent_span_id), CALLER);
    assert_eq!(job.parent_span_id, request.span_id);
    assert_eq!(attempt.parent_span_id, job.span_id);
    assert_eq!(text(&job.attributes, "finetuned.job.status"), "failed");
    assert_eq!(text(&job.attributes, "finetuned.attempts"), "1");
    for (key, expected) in [
        ("finetuned.job.id", id),
        ("finetuned.job.kind", "train"),
        ("finetuned.attempt", "1"),
        ("finetuned.device", "cpu"),
        ("finetuned.verdict", "failed"),
    ] {
        assert_eq!(text(&attempt.attributes, key), expected, "{key}");
    }
    for span in [&attempt, &job] {
        let status = span.status.as_ref().unwrap();
        assert_eq!(
            (status.code(), status.message.as_str()),
            (StatusCode::Error, "the loss is not a number")
        );
    }
    // Milliseconds, as the database has them, beside nanoseconds.
    assert!(job.start_time_unix_nano / 1_000_000 <= attempt.start_time_unix_nano / 1_000_000);

    // What stands in the log of the job is the parent of its span.
    let (_, _) = server.send(Method::GET, &format!("/v1/jobs/{id}"), "").await;
    let logs = format!("{}/v1/jobs/{id}/logs", server.url);
    let logs = server.http.get(logs).send().await.unwrap().text().await.unwrap();
    let expected = format!("attempt 1 on cpu, 00-{TRACE}-{}-01", hex(&request.span_id));
    assert!(logs.contains(&expected), "{logs}");
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_down_slows_nothing_and_is_told_of_once() {
    // The kernel takes its connections, and nobody answers: each attempt to send waits for its deadline.
    let silent = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut server = server_for(&silent.local_addr().unwrap().to_string());
    let begun = Instant::now();
    for _ in 0..300 {
        assert_eq!(server.send(Method::GET, "/v1/jobs", "").await.0, 200);
    }
    let of_all = begun.elapsed();
    assert!(
        of_all < Duration::from_secs(30),
        "{of_all:?}: they waited for the collector"
    );
    server.until_logged("spans cannot be sent");
    for _ in 0..100 {
        server.send(Method::GET, "/v1/jobs", "").await;
    }
    let begun = Instant::now();
    let log = server.stop();
    let of_the_end = begun.elapsed();
    assert!(of_the_end < Duration::from_secs(30), "{of_the_end:?}");
    assert_eq!(log.matches("spans cannot be sent").count(), 1, "{log}");
}

#[test]
fn nothing_is_sent_unless_an_endpoint_is_set() {
    let log = Server::start(&[("OTEL_SERVICE_NAME", "classifiers")]).stop();
    assert!(!log.contains("span"), "{log}");
}
