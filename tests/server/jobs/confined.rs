//! Every kind of child confines itself, as the kernel says after each has ended; and what it needs is left to it.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use finetuned::process::sandbox::{Mode, Support};
use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use crate::support::{Api, Server, pictures};

/// Runs the worker, and writes down what the kernel says about the one that has ended before anybody has waited for it.
const WITNESS: &str = r#"#!/usr/bin/env python3
import json, os, subprocess, sys

kind = sys.argv[1]
if kind == "run":
    with open(sys.argv[3] + "/run.json") as task:
        kind = json.load(task)["kind"]
worker = subprocess.Popen(["REAL", *sys.argv[1:]])
os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
with open(f"/proc/{worker.pid}/status") as status:
    said = dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)
with open("SEEN", "a") as seen:
    seen.write(json.dumps({"kind": kind, "new_privileges": said["NoNewPrivs"], "seccomp": said["Seccomp"]}) + "\n")
sys.exit(worker.wait())
"#;

/// Another process writes it: while one of ours held it open, a child that another test starts in this moment would hold it too, and then
/// the kernel refuses to run it.
fn witness(folder: &Path) -> PathBuf {
    let path = folder.join("worker");
    let mut writer = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 700 \"$0\""])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let seen = folder.join("seen");
    let text = WITNESS
        .replace("REAL", env!("CARGO_BIN_EXE_finetuned-worker"))
        .replace("SEEN", seen.to_str().unwrap());
    writer.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());
    path
}

async fn succeeded(api: &Api, spec: Value) -> Value {
    let job = api.finished(&api.submit(spec).await).await;
    assert_eq!(job["status"], "succeeded", "{job:#}");
    job
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_child_confines_itself_and_does_its_work() {
    let folder = tempfile::tempdir().unwrap();
    let worker = witness(folder.path());
    let mode = match Support::of_this_kernel().complete() {
        Ok(()) => Mode::Require,
        Err(_) => Mode::Auto,
    };
    let server = Server::with(|config| {
        config.worker = Some(worker.clone());
        config.sandbox = mode;
    })
    .await;
    images(&server.api).await;
    jobs(&server.api).await;
    models(&server, &worker).await;
    server.stop().await;

    let text = fs::read_to_string(folder.path().join("seen")).unwrap();
    let mut seen: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        seen.entry(line["kind"].as_str().unwrap().to_owned())
            .or_default()
            .push(line);
    }
    // It reads nobody's file.
    assert!(seen.remove("devices").is_some());
    let kinds: Vec<_> = seen.keys().map(String::as_str).collect();
    let all = [
        "batch_predict",
        "compare",
        "cross_validate",
        "evaluate",
        "export",
        "import",
        "ingest",
        "label_check",
        "lr_find",
        "predict",
        "pretrain",
        "preview",
        "thumbnails",
        "train",
        "weights",
    ];
    assert_eq!(kinds, all);
    let loose: Vec<_> = seen
        .values()
        .flatten()
        .filter(|seen| seen["new_privileges"] != "1" || seen["seccomp"] != "2")
        .collect();
    assert!(loose.is_empty(), "{loose:#?}");
}

/// An archive, added images, thumbnails, a preview.
async fn images(api: &Api) {
    api.upload("things", pictures::flat_archive(2, 12)).await;
    let part = Part::bytes(pictures::png(1, 77, 40)).file_name("new.png");
    let add = api.request(Method::POST, "/v1/datasets/things/images?class=class-1");
    api.send(add.multipart(Form::new().part("file", part)))
        .await
        .expect(201);
    for path in [
        "/v1/datasets/things/images/1?size=90",
        "/v1/datasets/things/images/24?size=90",
    ] {
        let answer = api.request(Method::GET, path).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
    let preview = api.request(Method::POST, "/v1/datasets/things/preview");
    let sheet = preview
        .json(&json!({"image": {"size": 32}, "images": 2}))
        .send()
        .await
        .unwrap();
    assert_eq!(sheet.status(), 200);
}

async fn jobs(api: &Api) {
    let backbone = |weights: &str| json!({"architecture": "resnet20", "weights": weights});
    let training = |fields: Value| {
        let mut spec = json!({
            "dataset": "things", "image": {"size": 32}, "batch_size": 8, "backbone": backbone("none"),
        });
        for (field, value) in fields.as_object().unwrap() {
            spec[field] = value.clone();
        }
        spec
    };
    let once = json!({"name": "thing", "epochs": 1, "split": {"val": 0.25}});
    succeeded(api, training(once)).await;
    // From another model, and with a teacher.
    let again = json!({
        "name": "pupil", "epochs": 1, "split": {"val": 0.25}, "backbone": backbone("thing"),
    });
    succeeded(api, training(again)).await;
    let taught = json!({
        "name": "taught", "epochs": 1, "split": {"val": 0.25},
        "distill": {"teacher": ["thing"]},
    });
    succeeded(api, training(taught)).await;
    let search = json!({"kind": "lr_find", "lr_find": {"min_lr": 1e-5, "steps": 20}});
    succeeded(api, training(search)).await;
    for spec in [
        json!({"kind": "evaluate", "model": "thing", "dataset": "things", "split": "all"}),
        json!({"kind": "batch-predict", "model": "thing", "dataset": "things"}),
        json!({"kind": "compare", "dataset": "things", "split": {"val": 0.25}, "backbones": [backbone("thing")]}),
        json!({"kind": "label_check", "dataset": "things", "backbone": backbone("thing")}),
        json!({"kind": "cross_validate", "dataset": "things", "repeats": 1, "backbone": backbone("thing")}),
        json!({"kind": "pretrain", "dataset": "things", "backbone": {"architecture": "resnet20"}, "epochs": 1, "batch_size": 8}),
    ] {
        succeeded(api, spec).await;
    }
}

/// Predictions, exports, an import, and weights at the command line.
async fn models(server: &Server, worker: &Path) {
    let api = &server.api;
    for model in ["thing", "pupil"] {
        let path = format!("/v1/models/{model}/predict");
        api.put(&path, pictures::png(0, 3, 40)).await.expect(200);
    }
    for format in ["onnx", "torchscript"] {
        let path = format!("/v1/models/thing/export?format={format}");
        let export = api.request(Method::GET, &path).send().await.unwrap();
        assert_eq!(export.status(), 200, "{format}");
    }
    let bundle = api.request(Method::GET, "/v1/models/thing/export?format=bundle");
    let bundle = bundle.send().await.unwrap().bytes().await.unwrap().to_vec();
    api.put("/v1/models?name=returned", bundle).await.expect(201);

    let model = api.get("/v1/models/thing").await.expect(200).json();
    let digest = model["sha256"].as_str().unwrap();
    let own = tempfile::tempdir().unwrap();
    let file = own.path().join("resnet20.safetensors");
    fs::copy(
        server.data_dir().join("blobs").join(&digest[..2]).join(digest),
        &file,
    )
    .unwrap();
    let verify = Command::new(env!("CARGO_BIN_EXE_finetuned"))
        .args(["weights", "verify"])
        .arg(&file)
        .arg("--worker")
        .arg(worker)
        .output()
        .unwrap();
    assert!(
        verify.status.success(),
        "{}",
        String::from_utf8_lossy(&verify.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_says_what_its_sandbox_is() {
    let server = Server::with(|config| config.sandbox = Mode::Off).await;
    let system = server.api.get("/v1/system").await.expect(200).json();
    let support = serde_json::to_value(Support::of_this_kernel()).unwrap();
    assert_eq!(system["sandbox"]["mode"], "off");
    for field in ["seccomp", "landlock_abi", "missing"] {
        assert_eq!(system["sandbox"][field], support[field]);
    }
    server.stop().await;
}
