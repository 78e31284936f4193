//! Archives that mean harm, uploaded one after another to a server that answers throughout and is as it was afterwards.

use std::{
    fs,
    io::{Cursor, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use image::{DynamicImage, ImageFormat};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{Api, Server, patience::wait_until_no_work_is_left, pictures, program::Program};

/// What the worker's own tests draw archives with, and the archives that they have crafted: here they come over the network.
#[path = "../../../src/worker/ingest/tests/build.rs"]
#[allow(dead_code)]
mod build;
#[path = "../../../src/worker/ingest/tests/crafted/mod.rs"]
mod crafted;

use self::crafted::Expected;

/// Longest that the server may take to say that it lives, on a machine that is full.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_sent_every_crafted_archive_answers_throughout() {
    let server = Server::start().await;
    let api = &server.api;
    let beside = fs::canonicalize(server.data_dir().join("..")).unwrap();
    let outside = sentinel(&beside);
    let cases = crafted::crafted();
    assert!(cases.len() >= 40, "only {} archives", cases.len());
    let (healthy, watch) = watch_health(api.clone());
    for (number, case) in cases.into_iter().enumerate() {
        let what = case.what;
        let path = format!("/v1/datasets?name=crafted-{number}");
        if case.expected == Expected::NotTaken {
            let refused = api
                .put(&path, case.archive)
                .await
                .problem(415, "archive-unsupported");
            let detail = refused["detail"].as_str().unwrap();
            assert!(detail.contains("zip, tar, tar.gz"), "{what}: {detail}");
            continue;
        }
        let dataset = api.upload(&format!("crafted-{number}"), case.archive).await;
        match case.expected {
            Expected::Rejected(code) => {
                assert_eq!(dataset["status"], "failed", "{what}: {dataset:#}");
                assert_eq!(dataset["error"]["code"], code, "{what}: {dataset:#}");
            }
            Expected::Inert(images, left_out) => {
                assert_eq!(dataset["status"], "ready", "{what}: {dataset:#}");
                assert_eq!(dataset["images"], images, "{what}: {dataset:#}");
                assert_left_out(api, &dataset, &what, &left_out).await;
            }
            Expected::NotTaken => unreachable!(),
        }
    }
    healthy.cancel();
    let longest = watch.await.unwrap();
    assert!(longest < ANSWERS_WITHIN, "the server was silent for {longest:?}");
    assert_eq!(fs::read(&outside).unwrap(), b"untouched");
    fs::remove_file(outside).unwrap();
    wait_until_no_work_is_left(&server).await;
    // And it still does its work.
    let ready = api.upload("good", pictures::flat_archive(2, 3)).await;
    assert_eq!(ready["status"], "ready", "{ready:#}");
    server.stop().await;
}

async fn assert_left_out(api: &Api, dataset: &Value, what: &str, left_out: &[(String, &str)]) {
    let id = dataset["id"].as_str().unwrap();
    let report = api
        .get(&format!("/v1/datasets/{id}/report?limit=1000"))
        .await
        .expect(200)
        .json();
    for (path, code) in left_out {
        let entry = report["data"]
            .as_array()
            .unwrap()
            .iter()
            .find(|entry| entry["path"] == *path);
        let entry = entry.unwrap_or_else(|| panic!("{what}: {path:?} is not in the report"));
        let codes: Vec<&str> = entry["codes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|code| code.as_str().unwrap())
            .collect();
        let meant = code.split('|').any(|code| code == codes.join(" "));
        assert!(meant, "{what}: {codes:?} and not {code:?}");
    }
}

/// A file that archives with `../a.jpg` and the like could reach.
fn sentinel(folder: &Path) -> PathBuf {
    let mut file = tempfile::Builder::new()
        .prefix("sentinel-")
        .tempfile_in(folder)
        .unwrap();
    file.write_all(b"untouched").unwrap();
    file.into_temp_path().keep().unwrap()
}

/// Asks again and again whether the server lives, and tells at the end how long it took at the most.
fn watch_health(api: Api) -> (CancellationToken, JoinHandle<Duration>) {
    let over = CancellationToken::new();
    let until = over.clone();
    let watch = tokio::spawn(async move {
        let mut longest = Duration::ZERO;
        while !until.is_cancelled() {
            let asked = Instant::now();
            api.get("/healthz").await.expect(200);
            longest = longest.max(asked.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        longest
    });
    (over, watch)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_runs_out_of_memory_fails_its_dataset_and_nothing_else() {
    let data = tempfile::tempdir().unwrap();
    let server = Program::within(300 << 10, data.path());
    let api = &server.api;
    // 36 megapixels are within the limit on images, and at 8 bytes each not within that on memory.
    let mut large = Cursor::new(Vec::new());
    DynamicImage::new_rgba16(6000, 6000)
        .write_to(&mut large, ImageFormat::Png)
        .unwrap();
    let archive = pictures::zip([
        ("a/1.png", pictures::png(0, 1, 40)),
        ("b/2.png", pictures::png(1, 2, 40)),
        ("b/large.png", large.into_inner()),
    ]);
    let failed = api.upload("large", archive).await;
    assert_eq!(failed["status"], "failed", "{failed:#}");
    assert_eq!(failed["error"]["code"], "worker_crashed", "{failed:#}");
    let message = failed["error"]["message"].as_str().unwrap();
    assert!(message.contains("signal 6"), "{message}");
    api.get("/healthz").await.expect(200);
    let ready = api.upload("small", pictures::flat_archive(2, 3)).await;
    assert_eq!(ready["status"], "ready", "{ready:#}");
    let refused = api
        .post("/v1/jobs", json!({"dataset": "large"}))
        .await
        .problem(422, "invalid");
    assert_eq!(refused["errors"][0]["pointer"], "/dataset");
}
