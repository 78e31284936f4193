//! Models taken away: every format over the socket, downloads that break off and go on, and what cannot be had.

use std::{
    collections::BTreeMap,
    fs,
    io::{Cursor, Read},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{Method, header::HeaderMap};
use serde_json::{Value, json};

use crate::support::{
    Api, Server,
    patience::{wait_until, wait_until_no_work_is_left},
    pictures,
};
use finetuned::{files::digest, limits::Limits};

struct Download {
    status: u16,
    headers: HeaderMap,
    bytes: Vec<u8>,
}

impl Download {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

async fn fetch(api: &Api, path: &str, headers: &[(&str, &str)]) -> Download {
    let mut request = api.request(Method::GET, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    Download {
        status: answer.status().as_u16(),
        headers: answer.headers().clone(),
        bytes: answer.bytes().await.unwrap().to_vec(),
    }
}

/// Trains a model that is as good as drawn.
async fn train(api: &Api, name: &str, architecture: &str) -> Value {
    let spec = json!({
        "dataset": "things", "name": name, "backbone": {"weights": "none", "architecture": architecture},
        "image": {"size": 32}, "epochs": 1, "batch_size": 8
    });
    let job = api.finished(&api.submit(spec).await).await;
    assert_eq!(job["status"], "succeeded", "{job:#}");
    let path = format!("/v1/models/{}", job["model"].as_str().unwrap());
    api.get(&path).await.expect(200).json()
}

fn entries(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = zip::ZipArchive::new(Cursor::new(archive)).unwrap();
    (0..archive.len())
        .map(|index| {
            let mut entry = archive.by_index(index).unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.name().unwrap().into_owned(), bytes)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_comes_in_every_format_with_its_name_and_digest() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 8)).await;
    let model = train(api, "thing", "resnet18").await;
    let mut tags = Vec::new();
    for (format, file, media) in [
        ("safetensors", "thing-v1.safetensors", "application/octet-stream"),
        ("bundle", "thing-v1-bundle.zip", "application/zip"),
        ("timm", "thing-v1-timm.zip", "application/zip"),
        ("torchscript", "thing-v1.pt", "application/octet-stream"),
        ("onnx", "thing-v1.onnx", "application/octet-stream"),
        (
            "onnx&normalize=true&softmax=true",
            "thing-v1-pixels-probabilities.onnx",
            "application/octet-stream",
        ),
    ] {
        let path = format!("/v1/models/thing/export?format={format}");
        let got = fetch(api, &path, &[]).await;
        assert_eq!(
            got.status,
            200,
            "{format}: {}",
            String::from_utf8_lossy(&got.bytes)
        );
        assert_eq!(got.header("content-type"), media);
        assert_eq!(
            got.header("content-disposition"),
            format!("attachment; filename=\"{file}\"")
        );
        assert_eq!(got.header("content-length"), got.bytes.len().to_string());
        let sha256 = digest::of_bytes(&got.bytes);
        assert_eq!(got.header("etag"), format!("\"{sha256}\""));
        let encoded = got.header("repr-digest").strip_prefix("sha-256=:").unwrap();
        let told = STANDARD.decode(encoded.strip_suffix(':').unwrap()).unwrap();
        assert_eq!(
            told.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
            sha256
        );
        tags.push(sha256);
        match format {
            "safetensors" => {
                let tensors = safetensors::SafeTensors::deserialize(&got.bytes).unwrap();
                assert_eq!(tensors.tensor("fc.weight").unwrap().shape(), [2, 512]);
            }
            "bundle" => {
                let files = entries(&got.bytes);
                assert_eq!(
                    digest::of_bytes(&files["model.safetensors"]),
                    model["sha256"].as_str().unwrap()
                );
                let card: Value = serde_json::from_slice(&files["model.json"]).unwrap();
                assert_eq!(card["classes"], model["card"]["classes"]);
            }
            "timm" => assert!(entries(&got.bytes).contains_key("config.json")),
            "torchscript" => assert!(entries(&got.bytes).contains_key("model/data.pkl")),
            _ => assert!(got.bytes.windows(9).any(|window| window == b"fc.weight")),
        }
    }
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 6, "each is another file");
    wait_until_no_work_is_left(&server).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_broke_off_goes_on_and_what_is_there_is_not_made_again() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 8)).await;
    let model = train(api, "thing", "resnet20").await;
    let path = "/v1/models/thing@1/export?format=onnx";
    // At once, as two build machines do.
    let (whole, same) = tokio::join!(fetch(api, path, &[]), fetch(api, path, &[]));
    assert_eq!((whole.status, same.status), (200, 200));
    assert!(whole.bytes == same.bytes);
    let folder = server
        .data_dir()
        .join("exports")
        .join(model["id"].as_str().unwrap());
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "made once");

    // From here on without a worker.
    let server = Server::on(server.stop().await, |config| {
        config.worker = Some("/bin/false".into())
    })
    .await;
    let api = &server.api;
    let tag = whole.header("etag");
    let length = whole.bytes.len();
    let half = length / 2;
    let rest = fetch(
        api,
        path,
        &[("range", &format!("bytes={half}-")), ("if-range", tag)],
    )
    .await;
    assert_eq!(rest.status, 206);
    assert_eq!(
        rest.header("content-range"),
        format!("bytes {half}-{}/{length}", length - 1)
    );
    assert_eq!(rest.header("content-length"), (length - half).to_string());
    assert_eq!(
        (rest.header("etag"), rest.header("accept-ranges")),
        (tag, "bytes")
    );
    assert_eq!(rest.header("repr-digest"), whole.header("repr-digest"));
    assert!(rest.bytes == whole.bytes[half..]);
    let few = fetch(api, path, &[("range", "bytes=-7")]).await;
    assert_eq!(
        (few.status, few.bytes.as_slice()),
        (206, &whole.bytes[length - 7..])
    );
    let other = fetch(api, path, &[("range", "bytes=5-"), ("if-range", "\"another\"")]).await;
    assert!(other.status == 200 && other.bytes == whole.bytes);
    let beyond = api
        .request(Method::GET, path)
        .header("range", format!("bytes={length}-"));
    let beyond = api.send(beyond).await;
    beyond.problem(416, "range-not-satisfiable");
    assert_eq!(beyond.headers["content-range"], format!("bytes */{length}"));
    let known = fetch(api, path, &[("if-none-match", tag)]).await;
    assert_eq!(
        (known.status, known.bytes.len(), known.header("etag")),
        (304, 0, tag)
    );
    let head = api.request(Method::HEAD, path).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], length.to_string());

    // The same bytes again after they are gone, and gone with their model.
    let server = Server::on(server.stop().await, |_| {}).await;
    let api = &server.api;
    fs::remove_dir_all(&folder).unwrap();
    let again = fetch(api, path, &[]).await;
    assert_eq!(again.header("etag"), tag);
    assert!(folder.is_dir());
    api.delete("/v1/models/thing").await.expect(204);
    wait_until("exports of a deleted model go", async || !folder.exists()).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_had_is_said_with_the_way_out() {
    let server = Server::with(|config| config.limits.max_exports = 0).await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 8)).await;
    train(api, "thing", "resnet20").await;
    let export = async |query: &str| api.get(&format!("/v1/models/thing/export?{query}")).await;
    for (query, words) in [
        ("", "missing field `format`"),
        ("format=keras", "`torchscript`"),
        ("format=onnx&quantize=true", "`normalize`"),
        ("format=onnx&softmax=perhaps", "softmax"),
    ] {
        let problem = export(query).await.problem(400, "query-invalid");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{problem:#}");
    }
    let problem = export("format=timm").await.problem(422, "not-supported");
    assert_eq!(problem["errors"][0]["pointer"], "/format");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("`torchscript`, `onnx`"),
        "{problem:#}"
    );
    let problem = export("format=torchscript&softmax=true")
        .await
        .problem(422, "not-supported");
    assert_eq!(problem["errors"][0]["pointer"], "/softmax");
    api.get("/v1/models/nothing/export?format=onnx")
        .await
        .problem(404, "not-found");
    let busy = export("format=onnx").await;
    busy.problem(429, "exports-busy");
    assert!(busy.headers.contains_key("retry-after"));

    let server = Server::on(server.stop().await, |config| {
        config.limits.max_exports = Limits::DEFAULT.max_exports;
        config.limits.export_deadline_seconds = 0;
    })
    .await;
    let late = server.api.get("/v1/models/thing/export?format=onnx").await;
    late.problem(504, "export-timeout");
    let server = Server::on(server.stop().await, |config| config.limits.max_downloads = 0).await;
    let full = server.api.get("/v1/models/thing/export?format=onnx").await;
    full.problem(429, "downloads-busy");
    let server = Server::on(server.stop().await, |config| {
        config.limits.min_free_bytes = u64::MAX
    })
    .await;
    let no_room = server.api.get("/v1/models/thing/export?format=onnx").await;
    no_room.problem(507, "insufficient-storage");
    server.stop().await;
}
