//! Children and their server: they never outlive it, no two of them work at the same, and their callers are told the truth about their
//! end.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    models::{quick, train},
    support::{
        Api, Server,
        patience::{wait_until, wait_until_no_work_is_left},
        pictures,
        program::Program,
        stream::Stream,
    },
};

/// How long a child may outlive its server.
const SOON: Duration = Duration::from_secs(5);

/// A spec of a small network.
fn small() -> Value {
    let mut spec = quick();
    spec["backbone"] = json!({"architecture": "resnet20", "weights": "none"});
    spec
}

/// A spec that runs until somebody stops it.
fn endless() -> Value {
    let mut spec = small();
    spec["epochs"] = json!(10_000);
    spec["max_attempts"] = json!(1);
    spec
}

/// A process that works somewhere in a data directory.
struct Inhabitant {
    pid: u32,
    folder: PathBuf,
    program: PathBuf,
}

impl Inhabitant {
    /// Everybody there who is not dead.
    fn of(data_dir: &Path) -> Vec<Self> {
        let data_dir = data_dir.canonicalize().unwrap();
        let look = |entry: fs::DirEntry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let folder = fs::read_link(entry.path().join("cwd")).ok()?;
            let program = fs::read_link(entry.path().join("exe")).ok()?;
            folder
                .starts_with(&data_dir)
                .then_some(Self { pid, folder, program })
        };
        fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(look)
            .collect()
    }

    fn is_there(&self) -> bool {
        fs::read_link(format!("/proc/{}/cwd", self.pid)).is_ok_and(|folder| folder == self.folder)
    }

    fn is_worker(&self) -> bool {
        self.program == Path::new(env!("CARGO_BIN_EXE_finetuned-worker"))
    }

    fn send(&self, signal: &str) {
        let sent = Command::new("kill")
            .args([signal, &self.pid.to_string()])
            .status();
        assert!(sent.unwrap().success());
    }
}

/// The folders in which somebody lives, each once: those of jobs and datasets without their ids and numbers.
fn kinds(data_dir: &Path) -> Vec<String> {
    let kind = |inhabitant: Inhabitant| {
        let run = fs::read(inhabitant.folder.join("run.json")).ok()?;
        let run: Value = serde_json::from_slice(&run).ok()?;
        Some(run["kind"].as_str()?.to_owned())
    };
    let inhabitants = Inhabitant::of(data_dir);
    let predicts = inhabitants.iter().any(|one| one.folder.ends_with("predict"));
    let mut kinds: Vec<String> = inhabitants.into_iter().filter_map(kind).collect();
    kinds.extend(predicts.then(|| "predict".to_owned()));
    kinds.sort();
    kinds.dedup();
    kinds
}

async fn expect_nobody(data_dir: &Path, within: Duration) {
    let begun = Instant::now();
    loop {
        let left = Inhabitant::of(data_dir);
        if left.is_empty() {
            return;
        }
        let folders: Vec<_> = left.iter().map(|one| &one.folder).collect();
        assert!(begun.elapsed() < within, "still there: {folders:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A program in the worker's place. Another process writes it: while one of ours held it open, a child that another test starts in this
/// moment would hold it too, and then the kernel refuses to run it.
pub(super) fn script(folder: &Path, text: &str) -> PathBuf {
    const TASK: &str = r#"task=$1
[ "$task" = run ] && task=$(sed -n 's/^  "kind": "\([a-z_]*\)".*/\1/p;T;q' run.json)"#;
    let path = folder.join("worker");
    let devices = r#"[ "$1" = devices ] && exec "$REAL" devices"#;
    let real = env!("CARGO_BIN_EXE_finetuned-worker");
    let mut writer = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 700 \"$0\""])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = writer.stdin.take().unwrap();
    write!(stdin, "#!/bin/sh\nREAL='{real}'\n{devices}\n{TASK}\n{text}\n").unwrap();
    drop(stdin);
    assert!(writer.wait().unwrap().success());
    path
}

/// A data directory with a dataset `things` and a model `thing`, and the model as a bundle.
async fn prepared() -> (TempDir, Vec<u8>) {
    let server = Server::start().await;
    server.api.upload("things", pictures::flat_archive(2, 8)).await;
    train(&server.api, small()).await;
    let bundle = server
        .api
        .request(Method::GET, "/v1/models/thing/export?format=bundle");
    let bundle = bundle.send().await.unwrap().bytes().await.unwrap().to_vec();
    (server.stop().await, bundle)
}

/// Sends what a child is needed for, and lets it be.
fn ask(api: &Api, method: Method, path: &str, body: Vec<u8>) {
    let request = api.request(method, path).body(body);
    tokio::spawn(request.send());
}

async fn training(api: &Api) -> (Value, String) {
    let job = api.submit(endless()).await;
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    let mut stream = Stream::of(api.open_stream(&format!("{path}/events"), None).await);
    stream.until("epoch").await;
    (job, path)
}

fn worker_of(data_dir: &Path, folder: &str) -> Inhabitant {
    let inhabitants = Inhabitant::of(data_dir).into_iter();
    let mut workers =
        inhabitants.filter(|one| one.is_worker() && one.folder.to_str().unwrap().contains(folder));
    workers.next().expect("a worker is there")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_child_of_any_kind_outlives_a_killed_server() {
    let (data, bundle) = prepared().await;
    let beside = tempfile::tempdir().unwrap();
    // None of them looks at its stdin.
    let program = Program::with_worker(&script(beside.path(), "exec sleep 600"), data.path());
    let api = &program.api;
    api.submit(endless()).await;
    api.put("/v1/datasets?name=others", pictures::flat_archive(2, 3))
        .await
        .expect(201);
    ask(
        api,
        Method::PUT,
        "/v1/models/thing/predict",
        pictures::png(0, 1, 40),
    );
    ask(api, Method::PUT, "/v1/models?name=brought", bundle);
    ask(
        api,
        Method::GET,
        "/v1/models/thing/export?format=onnx",
        Vec::new(),
    );
    ask(
        api,
        Method::GET,
        "/v1/datasets/things/images/1?size=90",
        Vec::new(),
    );
    let all = ["export", "import", "ingest", "predict", "thumbnails", "train"];
    wait_until("a child of every kind", async || kinds(data.path()) == all).await;
    program.kill();
    expect_nobody(data.path(), SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_worker_is_gone_with_its_server() {
    let (data, _) = prepared().await;
    let program = Program::start(data.path());
    training(&program.api).await;
    let picture = pictures::png(0, 1, 40);
    program
        .api
        .put("/v1/models/thing/predict", picture)
        .await
        .expect(200);
    assert_eq!(kinds(data.path()), ["predict", "train"]);
    program.kill();
    expect_nobody(data.path(), SOON).await;
}

/// The kernel kills the program that stands between, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn the_real_worker_is_gone_also_where_another_program_stands_between() {
    let (data, _) = prepared().await;
    let beside = tempfile::tempdir().unwrap();
    let program = Program::with_worker(&script(beside.path(), r#""$REAL" "$@"; exit $?"#), data.path());
    training(&program.api).await;
    program.kill();
    expect_nobody(data.path(), SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_worker_of_a_killed_server_is_ended_before_its_job_goes_on() {
    let (data, _) = prepared().await;
    let beside = tempfile::tempdir().unwrap();
    let program = Program::with_worker(&script(beside.path(), r#""$REAL" "$@"; exit $?"#), data.path());
    let mut spec = small();
    // Enough to be stopped in the middle.
    spec["epochs"] = json!(300);
    let job = program.api.submit(spec).await;
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    let mut stream = Stream::of(program.api.open_stream(&format!("{path}/events"), None).await);
    stream.until("epoch").await;
    let old = worker_of(data.path(), "runs");
    old.send("-STOP");
    program.kill();
    // The stopped one hears of nothing, unless the kernel wakes it: it ends a stopped process whose group has lost its last parent.
    wait_until("at most the stopped one is left", async || {
        Inhabitant::of(data.path()).len() <= 1
    })
    .await;

    let program = Program::start(data.path());
    wait_until("the job goes on", async || {
        let row = program.api.get(&path).await.expect(200).json();
        let goes_on = row["attempt"] == 2;
        assert!(!goes_on || !old.is_there(), "two attempts at once");
        goes_on
    })
    .await;
    let row = program.api.finished(&job).await;
    assert_eq!(
        (&row["status"], &row["attempt"]),
        (&json!("succeeded"), &json!(2)),
        "{row:#}"
    );
    let events = program
        .api
        .get(&format!("{path}/events?limit=1000"))
        .await
        .expect(200)
        .json();
    let ends = events["data"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["kind"] == "end");
    assert_eq!(ends.count(), 1);
    program.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_worker_hears_nothing_is_cancelled_soon() {
    let server = Server::start().await;
    server.api.upload("things", pictures::flat_archive(2, 8)).await;
    let (job, path) = training(&server.api).await;
    worker_of(&server.data_dir(), "runs").send("-STOP");
    let asked = Instant::now();
    server
        .api
        .post(&format!("{path}/cancel"), json!({}))
        .await
        .expect(202);
    assert_eq!(server.api.finished(&job).await["status"], "cancelled");
    // 3 s and what a machine that is full takes for the rest; before a shutdown it would be 20.
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    server.stop().await;
}

async fn add_an_image(api: &Api) -> crate::support::api::Answer {
    let part = Part::bytes(pictures::png(0, 61, 40)).file_name("a.png");
    let request = api.request(Method::POST, "/v1/datasets/things/images?class=class-0");
    api.send(request.multipart(Form::new().part("file", part))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_child_that_is_killed_is_asked_to_come_back() {
    let (data, bundle) = prepared().await;
    let beside = tempfile::tempdir().unwrap();
    let once = r#"mkdir "$(dirname "$0")/killed-$task" 2> /dev/null && kill -KILL $$; exec "$REAL" "$@""#;
    let worker = script(beside.path(), once);
    let server = Server::on(data, |config| config.worker = Some(worker)).await;
    let api = &server.api;
    let thumbnail = "/v1/datasets/things/images/1?size=90";
    let export = "/v1/models/thing/export?format=onnx";
    let preview = "/v1/datasets/things/preview";
    for answer in [
        api.get(export).await,
        api.put("/v1/models?name=brought", bundle.clone()).await,
        api.get(thumbnail).await,
        api.post(preview, json!({})).await,
        add_an_image(api).await,
    ] {
        let problem = answer.problem(503, "worker-lost");
        assert!(
            problem["detail"].as_str().unwrap().contains("try again"),
            "{problem:#}"
        );
        assert!(
            answer.headers["retry-after"]
                .to_str()
                .unwrap()
                .parse::<u64>()
                .unwrap()
                > 0
        );
    }
    // And then it works.
    for path in [export, thumbnail] {
        let again = api.request(Method::GET, path).send().await.unwrap();
        assert_eq!(again.status(), 200, "{path}");
    }
    api.put("/v1/models?name=brought", bundle).await.expect(201);
    let again = api
        .request(Method::POST, preview)
        .json(&json!({}))
        .send()
        .await
        .unwrap();
    assert_eq!(again.status(), 200);
    add_an_image(api).await.expect(201);
    wait_until_no_work_is_left(&server).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_breaks_down_by_itself_is_our_fault() {
    let (data, _) = prepared().await;
    let beside = tempfile::tempdir().unwrap();
    let worker = script(beside.path(), r#"[ "$task" = export ] && exit 70; kill -SEGV $$"#);
    let server = Server::on(data, |config| config.worker = Some(worker)).await;
    server
        .api
        .get("/v1/models/thing/export?format=onnx")
        .await
        .problem(500, "internal");
    server
        .api
        .get("/v1/datasets/things/images/1?size=90")
        .await
        .problem(500, "internal");
    server.stop().await;
}
