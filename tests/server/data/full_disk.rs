//! A disk that fills while the server works: nothing is lost, what can go on goes on, and the rest waits and says so.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Api, patience::wait_until, pictures, program::Program, stream::Stream};

const MIB: u64 = 1 << 20;

/// A server on a disk of its own that the test fills.
struct FullDisk {
    server: Program,
    filler: PathBuf,
    _folder: TempDir,
}

impl FullDisk {
    fn of(bytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Program::on_a_disk_of(bytes, folder.path());
        Self {
            filler: server.sees(folder.path()).join("filler"),
            server,
            _folder: folder,
        }
    }

    fn api(&self) -> &Api {
        &self.server.api
    }

    /// Leaves so many bytes free.
    fn fill(&self, left: u64) {
        let folder = self.filler.parent().unwrap();
        let free = free_bytes(folder);
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(&self.filler)
            .unwrap();
        let piece = vec![1; 4096];
        for _ in 0..free.saturating_sub(left) / 4096 {
            if file.write_all(&piece).is_err() {
                break;
            }
        }
    }

    fn make_room(&self) {
        fs::remove_file(&self.filler).unwrap();
    }
}

fn free_bytes(folder: &Path) -> u64 {
    let disk = rustix::fs::statvfs(folder).unwrap();
    disk.f_bavail * disk.f_frsize
}

fn spec(name: &str, epochs: u32) -> Value {
    json!({
        "dataset": "things", "name": name, "epochs": epochs, "batch_size": 8, "image": {"size": 32},
        "backbone": {"architecture": "resnet20", "weights": "none"}
    })
}

async fn job(api: &Api, job: &Value) -> Value {
    api.get(&format!("/v1/jobs/{}", job["id"].as_str().unwrap()))
        .await
        .expect(200)
        .json()
}

async fn weights(api: &Api, job: &Value) -> Value {
    api.get(&format!("/v1/models/{}", job["model"].as_str().unwrap()))
        .await
        .expect(200)
        .json()["sha256"]
        .clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_waits_for_room_and_ends_with_the_same_bits() {
    let disk = FullDisk::of(64 * MIB);
    let api = disk.api();
    api.upload("things", pictures::flat_archive(2, 12)).await;
    let undisturbed = api.finished(&api.submit(spec("undisturbed", 60)).await).await;
    assert_eq!(undisturbed["status"], "succeeded", "{undisturbed:#}");

    let training = api.submit(spec("disturbed", 60)).await;
    let path = format!("/v1/jobs/{}/events", training["id"].as_str().unwrap());
    let mut stream = Stream::of(api.open_stream(&path, None).await);
    stream.until("epoch").await;
    disk.fill(0);
    wait_until("the training says that it waits", async || {
        job(api, &training).await["progress"]["waiting"] == "disk"
    })
    .await;
    assert_eq!(job(api, &training).await["status"], "running");

    disk.make_room();
    let ended = api.finished(&training).await;
    assert_eq!(ended["status"], "succeeded", "{ended:#}");
    assert_eq!(ended["progress"]["waiting"], Value::Null);
    assert_eq!(ended["attempt"], 1, "it waited, and nothing began anew");
    assert_eq!(weights(api, &ended).await, weights(api, &undisturbed).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_everything_works_that_needs_no_room() {
    let disk = FullDisk::of(64 * MIB);
    let api = disk.api();
    api.upload("things", pictures::flat_archive(2, 12)).await;
    api.upload("others", pictures::flat_archive(3, 4)).await;
    let trained = api.finished(&api.submit(spec("thing", 1)).await).await;
    assert_eq!(trained["status"], "succeeded", "{trained:#}");
    // A prediction's child keeps what it has loaded.
    let predict = || api.put("/v1/models/thing/predict", pictures::png(0, 1, 32));
    predict().await.expect(200);
    let mut elsewhere = spec("queued", 1);
    elsewhere["device"] = json!("cuda:9");
    let queued = api.submit(elsewhere).await;

    disk.fill(0);
    wait_until("readiness tells of the full disk", async || {
        api.get("/readyz").await.status == 503
    })
    .await;
    api.get("/readyz").await.problem(503, "disk-full");
    api.get("/healthz").await.expect(200);
    api.put("/v1/datasets?name=more", pictures::flat_archive(2, 40))
        .await
        .problem(507, "insufficient-storage");
    predict().await.expect(200);
    api.get("/v1/jobs").await.expect(200);
    api.get("/v1/datasets/others/archive").await.expect(200);
    api.get("/v1/models/thing/export?format=onnx")
        .await
        .problem(507, "insufficient-storage");
    let cancel = format!("/v1/jobs/{}/cancel", queued["id"].as_str().unwrap());
    let cancelled = api
        .send(api.request(Method::POST, &cancel))
        .await
        .expect(200)
        .json();
    assert_eq!(cancelled["status"], "cancelled");
    api.delete("/v1/datasets/others").await.expect(204);
    api.delete(&format!("/v1/jobs/{}", trained["id"].as_str().unwrap()))
        .await
        .expect(204);

    disk.make_room();
    wait_until("readiness tells that there is room", async || {
        api.get("/readyz").await.status == 200
    })
    .await;
    api.get("/v1/models/thing/export?format=onnx").await.expect(200);
    let more = api.upload("more", pictures::flat_archive(2, 4)).await;
    assert_eq!(more["status"], "ready", "{more:#}");
    api.get("/v1/datasets/others").await.problem(404, "not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reading_of_an_archive_waits_for_room() {
    let disk = FullDisk::of(64 * MIB);
    let api = disk.api();
    // Pixels take more room than the archive: it arrives, and cannot be unfolded.
    let archive = pictures::flat_archive(2, 24);
    disk.fill(archive.len() as u64 + MIB);
    let created = api
        .put("/v1/datasets?name=things", archive)
        .await
        .expect(201)
        .json();
    let path = format!("/v1/datasets/{}", created["id"].as_str().unwrap());
    disk.fill(0);
    wait_until("the dataset says that it waits", async || {
        let dataset = api.get(&path).await.expect(200).json();
        assert_eq!(dataset["status"], "processing", "{dataset:#}");
        dataset["waiting"] == "disk"
    })
    .await;
    disk.make_room();
    let dataset = api.get(&format!("{path}?wait=60")).await.expect(200).json();
    assert_eq!(dataset["status"], "ready", "{dataset:#}");
    assert_eq!(
        (&dataset["waiting"], &dataset["images"]),
        (&Value::Null, &json!(48))
    );
}
