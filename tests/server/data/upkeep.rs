//! What an operator does beside the server: saves and restores it, removes what is old, looks what is wrong.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};
use tokio::{process::Command, time::timeout};

use crate::support::{
    Server, patience::wait_until, patience::wait_until_no_work_is_left, pictures, program::Program,
};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_finetuned"));
    command
        .args(arguments)
        .env("FINETUNED_WORKER", env!("CARGO_BIN_EXE_finetuned-worker"))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn run(arguments: &[&str]) -> Output {
    timeout(Duration::from_secs(120), command(arguments).output())
        .await
        .expect("it goes on")
        .unwrap()
}

/// What a command prints as JSON, and whether it succeeded.
async fn told(arguments: &[&str]) -> (bool, Value) {
    let output = run(&[arguments, &["--json"][..]].concat()).await;
    let told = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (output.status.success(), told)
}

/// The one line that a refused command says.
async fn refused(arguments: &[&str]) -> String {
    let output = run(arguments).await;
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(line.lines().count(), 1, "{line}");
    line
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

async fn sql(data: &Path, statement: &str) {
    let options = SqliteConnectOptions::new().filename(data.join("finetuned.db"));
    let mut connection = options.connect().await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(statement.to_owned()))
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

/// Uploads and deletes until it is told to stop; what is deleted is gone at once, without a trash.
async fn busy(server: &Server, stop: Arc<AtomicBool>) -> usize {
    let mut done = 0;
    while !stop.load(Ordering::Relaxed) {
        let name = format!("passing-{done}");
        let archive = pictures::flat_archive(2 + done % 3, 3);
        server
            .api
            .put(&format!("/v1/datasets?name={name}"), archive)
            .await
            .expect(201);
        if done % 2 == 0 {
            server
                .api
                .get(&format!("/v1/datasets/{name}?wait=60"))
                .await
                .expect(200);
        }
        if done % 4 > 0 {
            server
                .api
                .delete(&format!("/v1/datasets/{name}"))
                .await
                .expect(204);
        }
        done += 1;
    }
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_busy_server_is_whole_and_becomes_a_server_of_its_own() {
    let server = Server::with(|config| config.limits.blob_grace_seconds = 0).await;
    server.api.upload("flowers", pictures::flat_archive(2, 4)).await;
    let archive = server.api.get("/v1/datasets/flowers/archive").await.expect(200);
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (data, stop) = (server.data_dir(), Arc::new(AtomicBool::new(false)));
    let saving = async {
        for round in 0..4 {
            let (backup, new) = (at(&format!("backup-{round}")), at(&format!("new-{round}")));
            let mut arguments = vec!["backup", text(&backup), "--data-dir", text(&data), "--deep"];
            arguments.extend((round % 2 == 1).then_some("--copy"));
            let (ok, saved) = told(&arguments).await;
            assert!(
                ok && saved["is_served"] == true && saved["complete"] == true,
                "{saved:#}"
            );
            assert!(saved["rows"]["datasets"].as_u64() >= Some(1), "{saved:#}");
            let (ok, restored) = told(&["restore", text(&backup), "--data-dir", text(&new)]).await;
            assert!(ok, "{restored:#}");
            let (ok, report) = told(&["fsck", "--deep", "--data-dir", text(&new)]).await;
            assert!(ok, "{report:#}");
            assert_eq!(report["blobs"]["missing"], json!([]), "{report:#}");
            assert_eq!(report["blobs"]["unreferenced"]["count"], 0, "{report:#}");
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (done, ()) = tokio::join!(busy(&server, stop.clone()), saving);
    assert!(done > 0);

    let moved = tempfile::tempdir_in(folder.path()).unwrap();
    let (ok, _) = told(&["restore", text(&at("backup-3")), "--data-dir", text(moved.path())]).await;
    assert!(ok);
    let identity = |data: &Path| -> Value {
        serde_json::from_slice(&fs::read(data.join("IDENTITY.json")).unwrap()).unwrap()
    };
    assert_ne!(identity(moved.path())["id"], identity(&data)["id"]);
    let other = Server::on(moved, |_| {}).await;
    wait_until_no_work_is_left(&other).await;
    let list = other.api.get("/v1/datasets?limit=100").await.expect(200).json();
    for dataset in list["data"].as_array().unwrap() {
        assert_eq!(dataset["status"], "ready", "{dataset:#}");
        let path = format!("/v1/datasets/{}/archive", dataset["id"].as_str().unwrap());
        other.api.get(&path).await.expect(200);
    }
    let same = other.api.get("/v1/datasets/flowers/archive").await.expect(200);
    assert_eq!(same.text, archive.text);
    // Caches are not in a backup, and are made again.
    other.api.get("/v1/datasets/flowers/images/0").await.expect(200);
    other.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_was_killed_or_has_no_room_of_its_own_is_refused_in_a_line() {
    let server = Server::start().await;
    server.api.upload("flowers", pictures::flat_archive(2, 4)).await;
    let data = server.data_dir();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("used")).unwrap();
    fs::write(at("used/mine"), "text").unwrap();
    let line = refused(&["backup", text(&at("used")), "--data-dir", text(&data)]).await;
    assert!(line.contains("is not empty"), "{line}");
    let line = refused(&["backup", text(&at("new")), "--data-dir", text(&at("nowhere"))]).await;
    assert!(line.contains("there is no data directory"), "{line}");

    // So large that it is being copied for seconds, and nothing on the disk.
    let weights = data.join("weights");
    fs::create_dir_all(&weights).unwrap();
    let large = fs::File::create(weights.join("large.safetensors")).unwrap();
    large.set_len(16 << 30).unwrap();
    let killed = at("killed");
    let arguments = ["backup", text(&killed), "--data-dir", text(&data), "--copy"];
    let mut child = command(&arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("it copies files", async || {
        killed.join("weights/large.partial").exists()
    })
    .await;
    child.kill().await.unwrap();
    fs::remove_file(weights.join("large.safetensors")).unwrap();
    let line = refused(&["restore", text(&killed), "--data-dir", text(&at("new"))]).await;
    assert!(line.contains("is incomplete"), "{line}");
    assert!(!at("new").exists());
    let line = refused(&["restore", text(&data), "--data-dir", text(&at("new"))]).await;
    assert!(line.contains("is not a backup"), "{line}");
    let whole = at("whole");
    let (ok, saved) = told(&["backup", text(&whole), "--data-dir", text(&data)]).await;
    assert!(ok, "{saved:#}");
    let line = refused(&["restore", text(&whole), "--data-dir", text(&data)]).await;
    assert!(line.contains("is not empty"), "{line}");
    // Nobody starts a server on a backup by mistake.
    let line = refused(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--offline",
        "--data-dir",
        text(&whole),
    ])
    .await;
    assert!(line.contains("IDENTITY.json"), "{line}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopped_is_saved_too_and_one_of_another_version_is_not() {
    let server = Server::start().await;
    server.api.upload("flowers", pictures::flat_archive(2, 4)).await;
    let data = server.stop().await;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (ok, saved) = told(&["backup", text(&at("backup")), "--data-dir", text(data.path())]).await;
    assert!(ok && saved["is_served"] == false, "{saved:#}");
    sql(
        data.path(),
        "delete from _sqlx_migrations where version = (select max(version) from _sqlx_migrations)",
    )
    .await;
    let line = refused(&["backup", text(&at("older")), "--data-dir", text(data.path())]).await;
    assert!(line.contains("of another version"), "{line}");
    assert!(!at("older").exists());
}

fn counted(collected: &Value, kind: &str) -> u64 {
    let heaps = collected["removed"].as_array().unwrap();
    let heap = heaps.iter().find(|heap| heap["kind"] == kind).unwrap();
    heap["count"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn gc_says_what_is_old_and_removes_it_beside_the_server() {
    let server = Server::with(|config| config.limits.blob_grace_seconds = 3600).await;
    server.api.upload("flowers", pictures::flat_archive(2, 4)).await;
    server.api.upload("unused", pictures::flat_archive(3, 4)).await;
    let spec = json!({
        "dataset": "flowers", "backbone": {"architecture": "resnet18", "weights": "none"}, "epochs": 1, "image": {"size": 32},
    });
    let trained = server.api.finished(&server.api.submit(spec).await).await;
    let model = trained["model"].as_str().unwrap();
    // An evaluation would be the same file as the model's own, which stays.
    let spec = json!({"kind": "batch-predict", "dataset": "flowers", "model": model});
    let measured = server.api.finished(&server.api.submit(spec).await).await;
    let measured = measured["id"].as_str().unwrap();
    wait_until_no_work_is_left(&server).await;
    let data = server.data_dir();
    sql(
        &data,
        "update datasets set created_at = created_at - 172800000 where name = 'unused'",
    )
    .await;

    let keep = ["--keep-runs", "0s", "--keep-events", "0s"];
    let dry = [&["gc", "--dry-run", "--data-dir", text(&data)], &keep[..]].concat();
    let (ok, found) = told(&dry).await;
    assert!(ok && found["is_served"] == true, "{found:#}");
    assert_eq!(counted(&found, "jobs"), 1, "{found:#}");
    assert!(
        counted(&found, "events") > 0 && counted(&found, "blobs") == 2,
        "{found:#}"
    );
    assert_eq!(found["unused_datasets"][0]["name"], "unused", "{found:#}");
    let (_, nothing) = told(&["gc", "--dry-run", "--data-dir", text(&data)]).await;
    assert_eq!(counted(&nothing, "jobs") + counted(&nothing, "events"), 0);
    server.api.get(&format!("/v1/jobs/{measured}")).await.expect(200);

    let (ok, removed) = told(&[&["gc", "--data-dir", text(&data)], &keep[..]].concat()).await;
    assert!(ok, "{removed:#}");
    server.api.get(&format!("/v1/jobs/{measured}")).await.expect(404);
    // The model's job and its lineage stay.
    let job = server
        .api
        .get(&format!("/v1/jobs/{}", trained["id"].as_str().unwrap()))
        .await
        .expect(200)
        .json();
    assert!(job["events_pruned_at"].is_string(), "{job:#}");
    let lineage = server.api.get(&format!("/v1/models/{model}/lineage")).await;
    let lineage = lineage.expect(200).json();
    assert_eq!(lineage["models"][0]["job"]["deleted"], false, "{lineage:#}");
    let trash = data.join("trash");
    wait_until("the server sweeps the results of the job", async || {
        fs::read_dir(&trash).unwrap().count() == 2
    })
    .await;
    let data = server.stop().await;
    let (ok, report) = told(&["fsck", "--deep", "--data-dir", text(data.path())]).await;
    assert!(ok, "{report:#}");
    let server = Server::on(data, |config| config.keep.keep_runs = "90d".parse().unwrap()).await;
    wait_until("the first sweep counts unused datasets", async || {
        let system = server.api.get("/v1/system").await.expect(200).json();
        assert_eq!(system["retention"]["keep_runs"], "90d");
        assert_eq!(system["retention"]["keep_events"], "forever");
        system["unused_datasets"]["count"] == 1
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_nothing_wrong_beside_a_server_and_says_what_is() {
    let data = tempfile::tempdir().unwrap();
    let program = Program::start(data.path());
    let listen = program.api.base.strip_prefix("http://").unwrap();
    let common = [
        "doctor",
        "--offline",
        "--min-free-bytes",
        "0",
        "--data-dir",
        text(data.path()),
    ];
    let (ok, report) = told(&[&common[..], &["--listen", listen]].concat()).await;
    assert!(ok && report["ok"] == true, "{report:#}");
    let of = |report: &Value, check: &str| -> Value {
        let findings = report["findings"].as_array().unwrap();
        findings
            .iter()
            .find(|finding| finding["check"] == check)
            .cloned()
            .unwrap()
    };
    assert_eq!(of(&report, "libtorch")["state"], "ok", "{report:#}");
    let devices = of(&report, "devices");
    assert!(devices["text"].as_str().unwrap().contains("cpu"), "{devices:#}");
    assert!(of(&report, "port")["text"].as_str().unwrap().contains("in use"));
    program.kill();

    let worker = PathBuf::from("/nowhere/finetuned-worker");
    let output = run(&[
        &common[..],
        &["--listen", "127.0.0.1:0", "--worker", text(&worker)],
    ]
    .concat())
    .await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("problem  worker") && told.contains("-> "), "{told}");
}
