//! Predictions with a Python script in the worker's place that speaks frames and does what the image tells it.

use std::pin::{Pin, pin};

use futures_util::{FutureExt, future::join_all};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::sync::watch;

use super::*;
use crate::{
    fixtures::{Lifeline, Stand, soon},
    process::sandbox::Mode,
    protocol::Device,
};

/// `class NAME` is answered with that name. Everything else is trouble, or leaves a trace beside the data directory.
const STAND_IN: &str = r#"#!/usr/bin/env python3
import json, os, signal, struct, sys

here = os.path.dirname(sys.argv[0])
arguments = sys.argv[1:]
with open(here + "/starts", "a") as starts:
    starts.write(" ".join(arguments) + "\n")

def send(reply, body=b""):
    header = json.dumps(reply).encode()
    sys.stdout.buffer.write(struct.pack("<II", len(header), len(body)) + header + body)
    sys.stdout.buffer.flush()

def receive():
    prefix = sys.stdin.buffer.read(8)
    if len(prefix) < 8:
        return None
    header, body = struct.unpack("<II", prefix)
    return json.loads(sys.stdin.buffer.read(header)), sys.stdin.buffer.read(body).decode()

TIMING = {"queue": 0.5, "decode": 1.0, "forward": 2.0}

def predicted(id, label, **more):
    classes = [{"label": label, "index": 0, "probability": 1.0}]
    send({"id": id, "outcome": "predicted", "classes": classes, "timing": TIMING, **more})

line = os.path.exists(here + "/lifeline") and open(here + "/lifeline", "w")

def tell():
    if line:
        print(file=line, flush=True)

START
send({"device": arguments[2]})
held = []
while True:
    request = receive()
    if request is None:
        break
    header, image = request
    id = header["id"]
    if header["input"] == "tensor":
        with open(here + "/warmed", "a") as warmed:
            warmed.write(header["model"]["sha256"] + "\n")
        if os.path.exists(here + "/unusable"):
            send({"id": id, "outcome": "model_unusable", "message": "it is not what it says"})
        else:
            predicted(id, "blank")
        continue
    match image.split(" ")[0]:
        case "class":
            predicted(id, image.split(" ")[1])
        case "batch":
            predicted(id, "first", batch=int(image.split(" ")[1]))
        case "header":
            predicted(id, json.dumps(header))
        case "vector":
            assert header["task"] == "embed" and header["normalize"] and header["input"] == "image"
            send({"id": id, "outcome": "embedded", "timing": TIMING}, struct.pack("<2f", 0.5, -2.0))
        case "overlay":
            assert header["task"] == "explain" and header["class"] == 3
            best = {"label": "bees", "index": 3, "probability": 0.5}
            send({"id": id, "outcome": "explained", "class": best, "timing": TIMING}, b"a PNG")
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            tell()
            signal.pause()
        case "lose":
            pass
        case "hold":
            held.append(id)
            tell()
        case "release":
            for held_id in held:
                predicted(held_id, "late")
            held = []
            predicted(id, "released")
        case "unasked":
            predicted(id + 1000, "unasked")
        case "garbage":
            sys.stdout.buffer.write(b"Traceback (most recent call last):\n")
            sys.stdout.buffer.flush()
        case word:
            send({"id": id, "outcome": word, "message": image})
for id in held:
    predicted(id, "late")
"#;

struct Server {
    stand: Stand,
    inference: Inference,
    model: Model,
    shutdown: CancellationToken,
}

impl Server {
    async fn start(limits: impl FnOnce(&mut Limits)) -> Self {
        Self::start_with("", limits).await
    }

    /// `at_start` is Python that the child runs before it says that it is ready.
    async fn start_with(at_start: &str, limits: impl FnOnce(&mut Limits)) -> Self {
        let mut stand = Stand::new().await;
        limits(&mut stand.config.limits);
        let model = stand.model().await;
        let shutdown = CancellationToken::new();
        let device = |name: &str| Device {
            name: name.to_owned(),
            description: "a stand-in".to_owned(),
            threads: 1,
            memory_bytes: 1,
            pci_bus_id: None,
        };
        let (_, devices) = watch::channel(vec![device("cpu"), device("cuda:0")]);
        let inference = Inference::start(InferenceContext {
            worker: stand.script("worker", &STAND_IN.replace("START", at_start)),
            data_dir: stand.config.data_dir.clone(),
            devices,
            threads: 3,
            sandbox: Mode::Require,
            limits: stand.config.limits.clone(),
            blobs: stand.blobs.clone(),
            shutdown: shutdown.clone(),
        });
        Self {
            stand,
            inference,
            model,
            shutdown,
        }
    }

    async fn ask(&self, image: &str) -> Result<Prediction> {
        soon(
            self.inference
                .predict(&self.model, Bytes::from(image.to_owned()), 5),
        )
        .await
    }

    async fn label(&self, image: &str) -> String {
        self.ask(image).await.unwrap().classes[0].label.clone()
    }

    /// As long as a busy host needs to start the child, although that is longer than a request may take.
    async fn ready(&self) {
        let ready = async {
            while let Err(error) = self.ask("class bees").await {
                assert_eq!(error.slug(), "inference-timeout");
            }
        };
        soon(ready).await;
    }

    async fn slug(&self, image: &str) -> &'static str {
        self.ask(image).await.unwrap_err().slug()
    }

    fn starts(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.stand.beside("starts")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    async fn stop(&self) {
        self.shutdown.cancel();
        soon(self.inference.drained()).await;
    }
}

/// Goes on with a question until the child has read it.
async fn until_read(question: Pin<&mut impl Future<Output = Result<Prediction>>>, lifeline: &mut Lifeline) {
    tokio::select! {
        answer = question => panic!("it was to wait: {answer:?}"),
        () = lifeline.begun() => {}
    }
}

#[tokio::test]
async fn everybody_gets_the_answer_to_their_own_image() {
    let server = Server::start(|_| {}).await;
    assert_eq!(
        server.starts(),
        [""; 0],
        "nothing is started before somebody asks"
    );
    let images: Vec<String> = (0..50).map(|number| format!("class {number}")).collect();
    let labels = join_all(images.iter().map(|image| server.label(image))).await;
    assert_eq!(
        labels,
        (0..50).map(|number| number.to_string()).collect::<Vec<_>>()
    );
    let timing = server.ask("class bees").await.unwrap().timing;
    assert_eq!((timing.queue, timing.decode, timing.forward), (0.5, 1.0, 2.0));
    let models = server.stand.config.data_dir.join("predict/models");
    let start = format!(
        "predict --device cuda:0 --threads 3 --models {} --sandbox require",
        models.display()
    );
    assert_eq!(server.starts(), [start]);

    let header: serde_json::Value = serde_json::from_str(&server.label("header").await).unwrap();
    assert_eq!(header["top_k"], 5);
    assert_eq!(header["max_pixels"], Limits::DEFAULT.ingest.max_image_pixels);
    assert_eq!(header["model"]["sha256"], server.model.sha256);
    assert!(header["model"]["card"].as_str().unwrap().starts_with('/'));
    server.stop().await;
}

#[tokio::test]
async fn batches_are_counted_as_the_child_tells_of_them() {
    let server = Server::start(|_| {}).await;
    for (image, label) in [
        ("batch 3", "first"),
        ("class bees", "bees"),
        ("batch 200", "first"),
        ("batch 1", "first"),
    ] {
        assert_eq!(server.label(image).await, label);
    }
    let (mut registry, mut text) = (Registry::default(), String::new());
    registry.register("images", "", server.inference.batches());
    encode(&mut text, &registry).unwrap();
    for line in [
        "images_sum 204.0",
        "images_count 3",
        r#"images_bucket{le="1.0"} 1"#,
        r#"images_bucket{le="4.0"} 2"#,
        r#"images_bucket{le="128.0"} 2"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_processor_answers_where_the_gpu_cannot_be_used_and_that_is_said() {
    let broken = "if arguments[2] != 'cpu': sys.exit('CUDA error: out of memory')";
    let server = Server::start_with(broken, |_| {}).await;
    assert_eq!(server.inference.device(), ServingDevice::default());
    assert_eq!(server.slug("class bees").await, "model-unavailable");
    assert_eq!(server.label("class bees").await, "bees");
    let device = |start: &String| start.split(' ').nth(2).map(str::to_owned);
    let devices: Vec<_> = server.starts().iter().filter_map(device).collect();
    assert_eq!(devices, ["cuda:0", "cpu"]);
    let now = server.inference.device();
    assert_eq!(now.device.as_deref(), Some("cpu"));
    assert_eq!(now.instead_of.as_deref(), Some("cuda:0"));
    server.stop().await;
}

#[tokio::test]
async fn vectors_and_images_come_back_as_they_were_sent() {
    let server = Server::start(|_| {}).await;
    let image = |text: &'static str| Bytes::from_static(text.as_bytes());
    let embedding = server.inference.embed(&server.model, image("vector"), true);
    assert_eq!(soon(embedding).await.unwrap().values, [0.5, -2.0]);
    let explanation = server.inference.explain(&server.model, image("overlay"), Some(3));
    let explanation = soon(explanation).await.unwrap();
    assert_eq!(explanation.png, "a PNG");
    assert_eq!(explanation.class.label, "bees");
    // An answer to another question is a fault of the worker's, never an answer.
    let crossed = server.inference.embed(&server.model, image("class bees"), true);
    assert_eq!(soon(crossed).await.unwrap_err().kind(), Kind::Internal);
    server.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_an_image_or_a_model_is_said_in_the_right_words() {
    let server = Server::start(|_| {}).await;
    for (image, kind, slug) in [
        ("unsupported_image", Kind::UnsupportedMedia, "image-unsupported"),
        ("invalid_image", Kind::Invalid, "image-invalid"),
        ("model_unusable /secret/path", Kind::Unavailable, "model-unusable"),
    ] {
        let error = server.ask(image).await.unwrap_err();
        assert_eq!((error.kind(), error.slug()), (kind, slug));
        assert!(!error.detail().contains("secret"), "{}", error.detail());
    }
    assert_eq!(server.label("class bees").await, "bees");
    assert_eq!(server.starts().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_child_that_dies_takes_its_requests_with_it_and_the_next_one_works() {
    let server = Server::start(|_| {}).await;
    let mut lifeline = server.stand.lifeline();
    let mut held = pin!(server.ask("hold"));
    until_read(held.as_mut(), &mut lifeline).await;
    let (held, died) = tokio::join!(held, server.ask("die"));
    for error in [held.unwrap_err(), died.unwrap_err()] {
        assert_eq!(
            (error.kind(), error.slug()),
            (Kind::Unavailable, "model-unavailable")
        );
        assert!(error.retry_delay().unwrap() >= Duration::from_secs(1));
    }
    assert_eq!(server.label("class ants").await, "ants");
    assert_eq!(server.starts().len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn a_child_that_speaks_nonsense_is_replaced() {
    let server = Server::start(|_| {}).await;
    for nonsense in ["garbage", "unasked", "unheard-of outcome"] {
        assert_eq!(server.label("class bees").await, "bees");
        assert_eq!(server.slug(nonsense).await, "model-unavailable");
    }
    assert_eq!(server.label("class bees").await, "bees");
    assert_eq!(server.starts().len(), 4);
    server.stop().await;
}

#[tokio::test]
async fn a_child_that_only_dies_is_started_less_and_less_often() {
    let server = Server::start_with("sys.exit(3)", |_| {}).await;
    assert_eq!(server.slug("class bees").await, "model-unavailable");
    assert_eq!(server.slug("class bees").await, "model-unavailable");
    assert_eq!(server.starts().len(), 2);
    // Now there is a pause, and nobody is kept waiting; one that a very busy host slept through is followed by a longer one.
    let mut starts = 2;
    loop {
        let error = server.ask("class bees").await.unwrap_err();
        assert_eq!(error.slug(), "model-unavailable");
        if server.starts().len() == starts {
            break assert!(error.retry_delay().unwrap() >= Duration::from_secs(1));
        }
        starts += 1;
        assert!(starts < 5, "there is no pause");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_child_that_hangs_is_replaced_when_its_request_is_too_late() {
    let server = Server::start(|limits| limits.predict_deadline_seconds = 3).await;
    server.ready().await;
    let error = server.ask("hang").await.unwrap_err();
    assert_eq!((error.kind(), error.slug()), (Kind::Timeout, "inference-timeout"));
    server.ready().await;
    assert_eq!(server.starts().len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_the_child_loses_costs_only_itself() {
    let server = Server::start(|limits| limits.predict_deadline_seconds = 3).await;
    server.ready().await;
    let mut lost = pin!(server.ask("lose"));
    // Others are answered all the time: the child does not hang.
    let error = loop {
        tokio::select! {
            lost = &mut lost => break lost.unwrap_err(),
            label = server.label("class bees") => assert_eq!(label, "bees"),
        }
    };
    assert_eq!(error.slug(), "inference-timeout");
    assert_eq!(server.label("class bees").await, "bees");
    assert_eq!(server.starts().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn whoever_comes_when_all_places_are_taken_is_sent_away_and_whoever_leaves_frees_a_place() {
    let server = Server::start(|limits| limits.max_predict_queue = 2).await;
    let mut lifeline = server.stand.lifeline();
    {
        let mut first = pin!(server.ask("hold"));
        until_read(first.as_mut(), &mut lifeline).await;
        let mut second = pin!(server.ask("hold"));
        until_read(second.as_mut(), &mut lifeline).await;
        assert_eq!(
            server.inference.has_room().unwrap_err().slug(),
            "inference-queue-full"
        );
        let refused = server.ask("class bees").now_or_never();
        let error = refused.expect("it was kept waiting").unwrap_err();
        assert_eq!(
            (error.kind(), error.slug()),
            (Kind::TooMany, "inference-queue-full")
        );
        assert_eq!(error.retry_delay(), Some(Duration::from_secs(1)));
    }
    assert!(server.inference.has_room().is_ok());
    // Both have left; what the child answers to them goes nowhere.
    assert_eq!(server.label("release").await, "released");
    assert_eq!(server.label("class ants").await, "ants");
    assert_eq!(server.starts().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_stops_lets_the_child_answer_what_it_has() {
    let server = Server::start(|_| {}).await;
    let mut lifeline = server.stand.lifeline();
    let mut held = pin!(server.ask("hold"));
    until_read(held.as_mut(), &mut lifeline).await;
    server.shutdown.cancel();
    assert_eq!(held.await.unwrap().classes[0].label, "late");
    assert_eq!(server.slug("class bees").await, "draining");
    soon(server.inference.drained()).await;
}

#[tokio::test]
async fn a_child_that_does_not_leave_is_killed_with_all_it_started() {
    let at_start = r#"
import subprocess
subprocess.Popen(["sleep", "600"], pass_fds=[line.fileno()])
"#;
    let server = Server::start_with(at_start, |limits| limits.stop_grace_seconds = 1).await;
    let mut lifeline = server.stand.lifeline();
    let mut hung = pin!(server.ask("hang"));
    until_read(hung.as_mut(), &mut lifeline).await;
    server.shutdown.cancel();
    assert_eq!(hung.await.unwrap_err().slug(), "model-unavailable");
    server.stop().await;
    lifeline.ended().await;
}

#[tokio::test]
async fn a_model_is_warmed_up_while_all_places_are_taken_and_what_fails_is_told() {
    let server = Server::start(|limits| limits.max_predict_queue = 1).await;
    let mut lifeline = server.stand.lifeline();
    let warmed = || std::fs::read_to_string(server.stand.beside("warmed")).unwrap_or_default();
    {
        let mut held = pin!(server.ask("hold"));
        until_read(held.as_mut(), &mut lifeline).await;
        soon(server.inference.warm_up(&server.model)).await.unwrap();
        assert_eq!(warmed(), format!("{}\n", server.model.sha256));
    }
    std::fs::write(server.stand.beside("unusable"), "").unwrap();
    let refused = soon(server.inference.warm_up(&server.model)).await.unwrap_err();
    assert_eq!(
        (refused.kind(), refused.slug()),
        (Kind::Unavailable, "model-unusable")
    );
    assert_eq!(server.label("release").await, "released");
    server.stop().await;
    let late = soon(server.inference.warm_up(&server.model)).await.unwrap_err();
    assert_eq!(late.slug(), "draining");
}
