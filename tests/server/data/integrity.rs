//! A flipped bit on the server's disk is never used in silence: what can be made again is made again, the rest is one error everywhere.

use std::{
    fs,
    path::{Path, PathBuf},
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Api, Server, patience::wait_until, pictures};
use finetuned::{
    domain::id::DatasetId,
    files::digest,
    store::{Store, VersionFiles},
};

/// Flips one bit in the middle of a file and gives back what puts it right.
struct Flipped {
    path: PathBuf,
    whole: Vec<u8>,
}

impl Flipped {
    fn of(path: &Path) -> Self {
        let whole = fs::read(path).unwrap();
        let mut flipped = whole.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 16;
        fs::write(path, flipped).unwrap();
        Self {
            path: path.to_owned(),
            whole,
        }
    }

    fn mend(self) {
        fs::write(self.path, self.whole).unwrap();
    }
}

/// The file of a blob.
fn blob(server: &Server, sha256: &str) -> PathBuf {
    server.data_dir().join("blobs").join(&sha256[..2]).join(sha256)
}

/// The only file in a folder and those in it.
fn only_file(folder: &Path) -> PathBuf {
    let entry = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    if entry.is_dir() { only_file(&entry) } else { entry }
}

fn training(name: &str) -> Value {
    json!({
        "dataset": "things", "name": name, "backbone": {"architecture": "resnet20", "weights": "none"}, "image": {"size": 32},
        "epochs": 1, "batch_size": 8, "split": {"val": 0.25}
    })
}

async fn succeeded(api: &Api, spec: Value) -> Value {
    let job = api.finished(&api.submit(spec).await).await;
    assert_eq!(job["status"], "succeeded", "{job:#}");
    job
}

/// A job fails at once, and says what is damaged without saying where.
async fn fails_as_damaged(api: &Api, spec: Value, what: &str) {
    let job = api.finished(&api.submit(spec).await).await;
    assert_eq!(job["error"]["code"], "data_damaged", "{job:#}");
    assert_eq!(job["attempt"], 1, "it is of no use to try again: {job:#}");
    let message = job["error"]["message"].as_str().unwrap();
    assert!(message.contains(what) && message.contains("fsck"), "{message}");
    assert!(!message.contains("blobs"), "{message}");
}

async fn warnings(api: &Api, job: &Value) -> Vec<String> {
    let path = format!("/v1/jobs/{}/events?limit=1000", job["id"].as_str().unwrap());
    let events = api.get(&path).await.expect(200).json();
    let warnings = events["data"].as_array().unwrap().iter();
    warnings
        .filter(|event| event["kind"] == "warning")
        .map(|event| event["data"]["code"].as_str().unwrap().to_owned())
        .collect()
}

async fn weights_of(api: &Api, job: &Value) -> String {
    let path = format!("/v1/models/{}", job["model"].as_str().unwrap());
    api.get(&path).await.expect(200).json()["sha256"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// What the database knows and no answer tells.
async fn store(server: &Server) -> Store {
    Store::open(&server.data_dir().join("finetuned.db"))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_model_is_one_error_wherever_it_is_read_and_the_same_bytes_mend_it() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 8)).await;
    let job = succeeded(api, training("thing")).await;
    let model = api.get("/v1/models/thing").await.expect(200).json();
    let bundle = api
        .request(Method::GET, "/v1/models/thing/export?format=bundle")
        .send()
        .await
        .unwrap();
    let bundle = bundle.bytes().await.unwrap().to_vec();
    fs::remove_dir_all(server.data_dir().join("exports")).unwrap();
    let id = model["id"].as_str().unwrap().parse().unwrap();
    let blobs = store(&server).await.model_blobs(id).await.unwrap();
    let evaluate = json!({"kind": "evaluate", "model": "thing", "dataset": "things", "split": "val"});
    let batch = json!({"kind": "batch-predict", "model": "thing", "dataset": "things"});
    // In this order: a card that was found sound is kept in memory by whoever predicts.
    for (digest, file) in [(&blobs.card, "card"), (&blobs.weights, "weights")] {
        let flipped = Flipped::of(&blob(&server, digest));
        for question in ["predict", "embeddings", "explain"] {
            let answer = api
                .put(&format!("/v1/models/thing/{question}"), pictures::png(0, 1, 40))
                .await;
            let problem = answer.problem(500, "data-damaged");
            assert!(
                problem["detail"].as_str().unwrap().contains("`thing@1`"),
                "{problem}"
            );
            assert!(!answer.headers.contains_key("retry-after"));
        }
        let alias = json!({"model": "thing"});
        let promoted = api
            .send(api.request(Method::PUT, "/v1/aliases/best").json(&alias))
            .await;
        promoted.problem(500, "data-damaged");
        for format in ["safetensors", "bundle", "onnx"] {
            let path = format!("/v1/models/thing/export?format={format}");
            api.get(&path).await.problem(500, "data-damaged");
        }
        fails_as_damaged(api, evaluate.clone(), file).await;
        fails_as_damaged(api, batch.clone(), file).await;
        if file == "weights" {
            let mut from = training("from");
            from["backbone"]["weights"] = json!("thing");
            fails_as_damaged(api, from, &format!("`{}`", model["id"].as_str().unwrap())).await;
        }
        flipped.mend();
    }

    let flipped = Flipped::of(&blob(&server, blobs.evaluation.as_ref().unwrap()));
    for path in [
        "/v1/models/thing/evaluation".to_owned(),
        format!("/v1/jobs/{}/evaluation", job["id"].as_str().unwrap()),
    ] {
        api.get(&path).await.problem(500, "data-damaged");
    }
    flipped.mend();
    api.get("/v1/models/thing/evaluation").await.expect(200);

    // Whoever has the same model elsewhere brings it again.
    let _stays_damaged = Flipped::of(&blob(&server, &blobs.weights));
    let part = reqwest::multipart::Part::bytes(bundle).file_name("thing.zip");
    let form = reqwest::multipart::Form::new()
        .part("file", part)
        .text("name", "copy");
    api.send(api.request(Method::POST, "/v1/models").multipart(form))
        .await
        .expect(201);
    api.put("/v1/models/thing/predict", pictures::png(0, 1, 40))
        .await
        .expect(200);
    server.stop().await;
}

/// A server with the dataset `things`, and what the database knows of it.
struct Things {
    server: Server,
    store: Store,
    id: DatasetId,
}

impl Things {
    async fn of(server: Server) -> Self {
        let dataset = server.api.get("/v1/datasets/things").await.expect(200).json();
        Self {
            id: dataset["id"].as_str().unwrap().parse().unwrap(),
            store: store(&server).await,
            server,
        }
    }

    async fn files(&self) -> VersionFiles {
        self.store.version_files(self.id, 1).await.unwrap().unwrap()
    }

    fn blob(&self, sha256: &str) -> PathBuf {
        blob(&self.server, sha256)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_to_a_dataset_is_told_and_what_can_be_made_again_is_made_again() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 8)).await;
    let first = succeeded(api, training("thing")).await;
    let weights = weights_of(api, &first).await;
    let things = Things::of(server).await;
    a_damaged_list_of_images_is_told(&things).await;
    let batch = damaged_images_are_told(&things).await;
    damaged_predictions_are_told(&things, &batch).await;
    damaged_thumbnails_and_exports_are_made_again(&things).await;
    pixels_that_a_job_packed_are_packed_again(&things, &weights).await;
    pixels_that_came_with_the_images_are_packed_again(&things).await;
    a_damaged_report_is_told(&things).await;
    things.server.stop().await;
}

fn rows_path(job: &Value) -> String {
    format!("/v1/jobs/{}/predictions", job["id"].as_str().unwrap())
}

async fn a_damaged_list_of_images_is_told(things: &Things) {
    let api = &things.server.api;
    let flipped = Flipped::of(&things.blob(&things.files().await.manifest));
    for path in ["images", "images/3?size=64", "archive"] {
        let answer = api.get(&format!("/v1/datasets/things/{path}")).await;
        answer.problem(500, "data-damaged");
    }
    let edit = api.request(Method::PATCH, "/v1/datasets/things/images/3");
    api.send(edit.json(&json!({"split": "val"})))
        .await
        .problem(500, "data-damaged");
    fails_as_damaged(api, training("thing"), "the manifest of the dataset `things`").await;
    flipped.mend();
    api.get("/v1/datasets/things/images").await.expect(200);
}

/// Who reads the damaged one is told, and a download breaks off before it. Gives back a batch prediction with a row for it.
async fn damaged_images_are_told(things: &Things) -> Value {
    let api = &things.server.api;
    let flipped = Flipped::of(&things.blob(&things.files().await.segments[0].files.images));
    let mut other_size = training("other");
    other_size["image"]["size"] = json!(40);
    fails_as_damaged(api, other_size, "the file of image").await;
    let broken = api
        .request(Method::GET, "/v1/datasets/things/archive")
        .send()
        .await
        .unwrap();
    assert!(
        broken.status() == 500 || broken.bytes().await.is_err(),
        "it was sent to its end"
    );
    api.get("/v1/datasets/things/archive")
        .await
        .problem(500, "data-damaged");
    let batch = json!({"kind": "batch-predict", "model": "thing", "dataset": "things"});
    let job = succeeded(api, batch).await;
    let rows_path = rows_path(&job);
    let rows = api.get(&rows_path).await.expect(200).text;
    let damaged = rows
        .lines()
        .filter(|row| row.contains("\"data_damaged\""))
        .count();
    assert_eq!((damaged, rows.lines().count()), (1, 16), "{rows}");
    flipped.mend();
    job
}

async fn damaged_predictions_are_told(things: &Things, job: &Value) {
    let api = &things.server.api;
    let rows_path = rows_path(job);
    let flipped = Flipped::of(&things.blob(job["predictions"]["jsonl"]["sha256"].as_str().unwrap()));
    api.get(&rows_path).await.problem(500, "data-damaged");
    let part = api.request(Method::GET, &rows_path).header("range", "bytes=0-9");
    api.send(part).await.problem(500, "data-damaged");
    flipped.mend();
}

/// The cards and pictures that are kept for those who come again.
async fn damaged_thumbnails_and_exports_are_made_again(things: &Things) {
    let api = &things.server.api;
    for (path, folder) in [
        ("/v1/datasets/things/images/3?size=64", "thumbnails"),
        ("/v1/models/thing/export?format=onnx", "exports"),
    ] {
        let fetch = async || {
            let answer = api.request(Method::GET, path).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            answer.bytes().await.unwrap()
        };
        let right = fetch().await;
        let kept = only_file(&things.server.data_dir().join(folder));
        let whole = fs::read(&kept).unwrap();
        // Wherever it is, also where only another picture lies.
        for place in [0, 70, whole.len() / 2, whole.len() - 1] {
            let mut flipped = whole.clone();
            flipped[place] ^= 1;
            fs::write(&kept, flipped).unwrap();
            assert!(fetch().await == right, "{path} at {place}");
            fs::write(&kept, &whole).unwrap();
        }
    }
}

async fn pixels_that_a_job_packed_are_packed_again(things: &Things, weights: &str) {
    let api = &things.server.api;
    let packs = things.store.packs(things.id).await.unwrap();
    for (pack, size) in packs {
        let _stays_damaged = Flipped::of(&things.blob(&pack));
        let again = succeeded(api, training("thing")).await;
        assert_eq!(warnings(api, &again).await, ["pack_damaged"], "of {size:?}");
        assert_eq!(weights_of(api, &again).await, weights);
        let next = succeeded(api, training("thing")).await;
        assert_eq!(warnings(api, &next).await, [""; 0], "it was made anew");
        assert_eq!(weights_of(api, &next).await, weights);
    }
}

async fn pixels_that_came_with_the_images_are_packed_again(things: &Things) {
    let api = &things.server.api;
    let mut wide = training("wide");
    // What ingest packs.
    wide["image"]["size"] = json!(256);
    let right = weights_of(api, &succeeded(api, wide.clone()).await).await;
    let pack = things.blob(&things.files().await.segments[0].files.pack);
    let _stays_damaged = Flipped::of(&pack);
    let again = succeeded(api, wide.clone()).await;
    assert_eq!(warnings(api, &again).await, ["pack_damaged"]);
    assert_eq!(weights_of(api, &again).await, right);
    wait_until("the damaged pack is forgotten", async || {
        things.files().await.segments[0].pack_gone
    })
    .await;
    let next = succeeded(api, wide).await;
    assert_eq!(weights_of(api, &next).await, right);
    assert_eq!(warnings(api, &next).await, [""; 0]);
}

/// What was found in the archive.
async fn a_damaged_report_is_told(things: &Things) {
    let api = &things.server.api;
    let report = things.store.report_blob(things.id).await.unwrap().unwrap();
    let flipped = Flipped::of(&things.blob(&report));
    api.get("/v1/datasets/things/report")
        .await
        .problem(500, "data-damaged");
    flipped.mend();
}

#[tokio::test(flavor = "multi_thread")]
async fn activations_that_are_damaged_are_computed_again_to_the_same_bits() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 8)).await;
    succeeded(api, training("base")).await;
    let spec = |lr: f64| {
        let mut spec = training("thing");
        spec["backbone"]["weights"] = json!("base");
        spec["freeze"] = json!("backbone");
        spec["optimizer"] = json!({"lr": lr});
        spec
    };
    let first = succeeded(api, spec(0.01)).await;
    let right = weights_of(api, &first).await;
    let things = api.get("/v1/datasets/things").await.json();
    let id: DatasetId = things["id"].as_str().unwrap().parse().unwrap();
    let store = store(&server).await;
    let mut known = Vec::new();
    wait_until("the activations are kept", async || {
        known = store.activations(id).await.unwrap();
        !known.is_empty()
    })
    .await;
    let _stays_damaged = Flipped::of(&blob(&server, &known[0].1));
    let again = succeeded(api, spec(0.01)).await;
    assert_eq!(warnings(api, &again).await, ["activations_damaged"]);
    assert_eq!(weights_of(api, &again).await, right);
    wait_until("sound ones have taken their place", async || {
        let bytes = fs::read(blob(&server, &known[0].1)).unwrap();
        digest::of_bytes(&bytes) == known[0].1
    })
    .await;
    let next = succeeded(api, spec(0.02)).await;
    assert_eq!(warnings(api, &next).await, [""; 0]);
    server.stop().await;
}
