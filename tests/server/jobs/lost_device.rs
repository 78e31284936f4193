//! A device that fails: it gets no jobs until it works again, and the jobs that it failed under lose nothing.

use std::fs;

use serde_json::{Value, json};

use super::children::script;
use crate::{
    models::quick,
    support::{Api, Server, patience::wait_until, pictures},
};

/// A worker whose device fails while there is a file `broken` beside it, and once more if there is a file `fails-once`.
const FAILING: &str = r#"here=$(dirname "$0")
if [ "$task" = probe ]; then
    echo probed >> "$here/probes"
    [ -e "$here/broken" ] && { echo 'CUDA error: device not ready' >&2; exit 76; }
    exit 0
fi
if [ "$task" = train ] && { [ -e "$here/broken" ] || rm "$here/fails-once" 2> /dev/null; }; then
    echo 'CUDA error: an illegal memory access was encountered' >&2
    exit 76
fi
exec "$REAL" "$@""#;

fn small(attempts: u32) -> Value {
    let mut spec = quick();
    spec["backbone"] = json!({"architecture": "resnet20", "weights": "none"});
    spec["max_attempts"] = json!(attempts);
    spec
}

async fn failed_since(api: &Api) -> Value {
    let system = api.get("/v1/system").await.expect(200).json();
    system["devices"][0]["failed_since"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_fails_gets_no_jobs_until_it_works_and_costs_them_no_attempt() {
    let beside = tempfile::tempdir().unwrap();
    let worker = script(beside.path(), FAILING);
    let server = Server::with(|config| config.worker = Some(worker)).await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 8)).await;
    assert_eq!(failed_since(api).await, Value::Null);

    fs::write(beside.path().join("broken"), "").unwrap();
    // A death would end it: it may begin only once.
    let job = api.submit(small(1)).await;
    wait_until("the device is found to fail", async || {
        failed_since(api).await.is_string()
    })
    .await;
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    wait_until("the job waits", async || {
        api.get(&path).await.expect(200).json()["status"] == "queued"
    })
    .await;
    // It is probed again and again, and nothing else is tried on it.
    wait_until("it is probed twice more", async || {
        let probes = fs::read_to_string(beside.path().join("probes")).unwrap();
        probes.lines().count() >= 3
    })
    .await;
    let row = api.get(&path).await.expect(200).json();
    assert_eq!(
        (&row["status"], &row["attempt"]),
        (&json!("queued"), &json!(1)),
        "{row:#}"
    );

    fs::remove_file(beside.path().join("broken")).unwrap();
    let row = api.finished(&job).await;
    assert_eq!(
        (&row["status"], &row["attempt"]),
        (&json!("succeeded"), &json!(2)),
        "{row:#}"
    );
    assert_eq!(failed_since(api).await, Value::Null);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_works_again_at_once_leaves_the_failure_to_the_job() {
    let beside = tempfile::tempdir().unwrap();
    let worker = script(beside.path(), FAILING);
    let server = Server::with(|config| config.worker = Some(worker)).await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 8)).await;
    fs::write(beside.path().join("fails-once"), "").unwrap();
    let row = api.finished(&api.submit(small(1)).await).await;
    assert_eq!(
        (&row["status"], &row["error"]["code"]),
        (&json!("failed"), &json!("device_lost")),
        "{row:#}"
    );
    let message = row["error"]["message"].as_str().unwrap();
    assert!(message.contains("illegal memory access"), "{message}");

    fs::write(beside.path().join("fails-once"), "").unwrap();
    let row = api.finished(&api.submit(small(2)).await).await;
    assert_eq!(
        (&row["status"], &row["attempt"]),
        (&json!("succeeded"), &json!(2)),
        "{row:#}"
    );
    server.stop().await;
}
