//! The background work as a whole, with a shell script in the worker's place: it gets the same arguments and the same pipes.

mod disk;
mod ends;
mod gc;
mod ingest;
mod kinds;
mod leftovers;
mod packs;
mod queue;
mod restarts;
mod sweep;
mod talk;
mod weights;

use std::path::PathBuf;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Jobs, JobsContext, start};
use crate::{
    domain::{
        datasets::dataset::Dataset,
        id::JobId,
        jobs::event::{Event, EventKind},
    },
    fixtures::{Stand, card, soon},
    process,
};

/// What stands at the beginning of every stand-in. `$here` is the folder that it shares with the test, `$attempt` counts from 1, `$task`
/// is the kind of the run, or `devices`.
const PRELUDE: &str = r#"#!/bin/sh
here=$(dirname "$0")
attempt=$(basename "$PWD")
task=$1
[ "$task" = run ] && task=$(sed -n 's/^  "kind": "\([a-z_]*\)".*/\1/p;T;q' run.json)
say() { printf '%s\n' "$1"; }
progress() { printf '"progress":{"epoch":%s,"epochs":2,"step":%s,"steps":4,"images_per_second":9.5,"eta_seconds":null}' "$1" "$2"; }
step() { say '{"message":"step","event":{"step":'$1',"epoch":1,"train_loss":0.5,"lr":0.1,"images_per_second":9.5},'"$(progress 1 $1)"'}'; }
epoch() { say '{"message":"epoch","event":{"epoch":'$1',"step":'$2',"train_loss":0.5,"train_accuracy":0.5,"val_loss":0.25,"val_accuracy":0.75,"lr":0.1,"seconds":1.5,"data_wait":0.0,"best":true},'"$(progress $1 $2)"'}'; }
artifact() { printf '{"file":"%s","sha256":"%s","bytes":%s}' "$1" "$(sha256sum "$1" | cut -d' ' -f1)" "$(wc -c < "$1")"; }
result() { printf '%s' "$1" > result.json.partial && mv result.json.partial result.json; }
until_stdin_ends() { cat > /dev/null; }
model() {
    printf 'weights of %s' "$PWD" > model.safetensors
    cp "$here/card.json" model.json
    result '{"outcome":"trained","stop_reason":"completed","card":'"$(cat "$here/card.json")"',"weights":'"$(artifact model.safetensors)"',"card_file":'"$(artifact model.json)"'}'
}
"#;

const DEVICES: &str = r#"say '[{"name":"cpu","description":"a stand-in","threads":1,"memory_bytes":1}]'"#;

/// The worker program whose `train` and `ingest` do this.
pub fn worker(stand: &Stand, train: &str, ingest: &str) -> PathBuf {
    worker_with(stand, DEVICES, train, ingest)
}

/// The worker program where only this kind of run is of interest.
pub fn worker_doing(stand: &Stand, kind: &str, script: &str) -> PathBuf {
    let text =
        format!("{PRELUDE}\ncase \"$task\" in\ndevices)\n{DEVICES}\n;;\n{kind})\n{script}\n;;\nesac\n");
    stand.script("worker", &text)
}

pub fn worker_with(stand: &Stand, devices: &str, train: &str, ingest: &str) -> PathBuf {
    let text = format!(
        "{PRELUDE}\ncase \"$task\" in\ndevices)\n{devices}\n;;\ntrain)\n{train}\n;;\ningest)\n{ingest}\n;;\nesac\n"
    );
    stand.script("worker", &text)
}

/// A server's background work between its start and its end.
pub struct Running {
    pub jobs: Jobs,
    shutdown: CancellationToken,
}

impl Running {
    pub fn start(stand: &Stand, worker: PathBuf) -> Self {
        let shutdown = CancellationToken::new();
        let jobs = start(JobsContext {
            store: stand.store.clone(),
            blobs: stand.blobs.clone(),
            config: stand.config.clone(),
            worker,
            shutdown: shutdown.clone(),
        });
        Self { jobs, shutdown }
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        soon(self.jobs.drained()).await;
    }
}

/// A data directory with one dataset, and a job on it whose card the stand-in finds.
pub async fn with_job(spec: serde_json::Value) -> (Stand, Dataset, JobId) {
    let stand = Stand::new().await;
    let dataset = stand.dataset("flowers").await;
    let job = stand.submit(&dataset, spec).await;
    let row = stand.store.job(&job.to_string()).await.unwrap();
    let card = serde_json::to_vec(&card(row.spec.training().unwrap(), &dataset)).unwrap();
    std::fs::write(stand.beside("card.json"), card).unwrap();
    (stand, dataset, job)
}

pub async fn events(stand: &Stand, job: JobId) -> Vec<Event> {
    stand.store.events(job, 0, 10_000).await.unwrap()
}

/// Steps that were told, as their numbers; a rewind is -1 less the step that it goes back to.
pub async fn steps(stand: &Stand, job: JobId) -> Vec<i64> {
    let number = |event: &Event| match event.kind {
        EventKind::Step => event.data["step"].as_i64(),
        EventKind::Rewind => event.data["to_step"].as_i64().map(|step| -1 - step),
        _ => None,
    };
    events(stand, job).await.iter().filter_map(number).collect()
}

/// The run file that a stand-in copied to `$here/run.json`.
pub fn copied_run(stand: &Stand) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(stand.beside("run.json")).unwrap()).unwrap()
}

pub fn log(jobs: &Jobs, job: JobId) -> String {
    std::fs::read_to_string(jobs.log_path(job)).unwrap()
}

#[tokio::test]
async fn a_job_becomes_a_model() {
    let (stand, dataset, job) = with_job(json!({"name": "insects", "epochs": 2, "max_seconds": 50})).await;
    let train = r#"
        cp run.json "$here/run.json"; env > "$here/environment"; pwd > "$here/folder"
        echo "loading" >&2
        say '{"message":"alive","deadline_seconds":null}'
        step 1; step 2; epoch 1 2; step 3; step 4; epoch 2 4
        model
    "#;
    let running = Running::start(&stand, worker(&stand, train, ""));
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!(row.error, None);
    assert_eq!((row.status.as_str(), row.attempt), ("succeeded", 1));
    assert_eq!(row.progress.unwrap().step, 4);
    assert_eq!(row.best.unwrap().epoch, 2);

    let model = stand.store.model(&row.model.unwrap().to_string()).await.unwrap();
    assert_eq!((model.name.as_str(), model.version), ("insects", 1));
    let weights = std::fs::read_to_string(stand.blobs.path(&model.sha256)).unwrap();
    assert!(weights.starts_with("weights of /"), "{weights}");
    let blobs = stand.store.model_blobs(model.id).await.unwrap();
    assert!(stand.blobs.path(&blobs.card).is_file());

    let kinds: Vec<_> = events(&stand, job)
        .await
        .iter()
        .map(|event| event.kind.as_str())
        .collect();
    let told = ["step", "step", "epoch", "step", "step", "epoch"];
    assert_eq!(kinds[..2], ["status", "status"]);
    assert_eq!(kinds[2..8], told);
    assert_eq!(kinds[8..], ["end"]);

    let run = copied_run(&stand);
    assert_eq!(run["kind"], "train");
    assert_eq!(run["attempt"], 1);
    assert_eq!(run["device"], "cpu");
    assert_eq!(run["dataset"]["classes"], json!(["ants", "bees"]));
    assert_eq!(run["dataset"]["lineage"]["id"], dataset.id.to_string());
    assert!(run["dataset"]["manifest"].as_str().unwrap().starts_with('/'));
    assert!(run["threads"].as_u64().unwrap() > 0);

    let folder = std::fs::read_to_string(stand.beside("folder")).unwrap();
    assert_eq!(folder.trim(), running.jobs.run_dir(job, 1).to_str().unwrap());
    // The queue goes on while the folder goes, so the end of everything is waited for before looking.
    let log_path = running.jobs.log_path(job);
    assert!(std::fs::read_to_string(log_path).unwrap().contains("\nloading\n"));
    let run_dir = running.jobs.run_dir(job, 1);
    running.stop().await;
    assert!(!run_dir.exists());
}

#[tokio::test]
async fn a_worker_sees_nothing_of_the_servers_environment_that_it_does_not_need() {
    let (stand, _, job) = with_job(json!({})).await;
    let running = Running::start(&stand, worker(&stand, r#"env > "$here/environment"; model"#, ""));
    stand.until(job, |job| job.status.is_end()).await;
    let environment = std::fs::read_to_string(stand.beside("environment")).unwrap();
    assert!(environment.contains(&format!("TMPDIR={}\n", running.jobs.run_dir(job, 1).display())));
    // The last ones are the shell's own.
    let allowed = [
        process::PASSED_ON,
        &[
            "TMPDIR",
            "GLIBC_TUNABLES",
            "PYTORCH_CUDA_ALLOC_CONF",
            "PWD",
            "OLDPWD",
            "SHLVL",
            "_",
        ],
    ]
    .concat();
    for line in environment.lines() {
        let name = line.split('=').next().unwrap();
        assert!(allowed.contains(&name) || name.starts_with("NVIDIA_"), "{line}");
    }
    running.stop().await;
}
