//! All the ways in which an attempt can end, and what each means for its job.

use serde_json::json;

use super::*;
use crate::domain::jobs::job::{FailureCode, JobStatus};

/// Everybody whom this script starts holds the lifeline too.
const LIVE: &str = r#"exec 9> "$here/lifeline"; echo >&9; sleep 600 &"#;

#[tokio::test]
async fn a_worker_that_crashes_is_started_again_and_in_the_end_its_job_fails() {
    let (stand, _, job) = with_job(json!({"max_attempts": 2})).await;
    let train = r#"step $attempt; echo "boom in $PWD" >&2; echo "note: run with more" >&2; kill -SEGV $$"#;
    let running = Running::start(&stand, worker(&stand, train, ""));
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!((row.status, row.attempt), (JobStatus::Failed, 2));
    let error = row.error.unwrap();
    assert_eq!(error.code, FailureCode::WorkerCrashed);
    assert!(
        error.message.contains("signal 11 (segmentation fault)"),
        "{}",
        error.message
    );
    assert!(
        error.message.contains("last line of its log: boom in DATA/runs/"),
        "{}",
        error.message
    );
    // The second attempt begins at the beginning, and the curve with it.
    assert_eq!(steps(&stand, job).await, [1, -1, 2]);
    let log = log(&running.jobs, job);
    assert!(
        log.contains("attempt 1 on cpu") && log.contains("attempt 2 on cpu"),
        "{log}"
    );
    running.stop().await;
}

#[tokio::test]
async fn ending_well_without_a_result_is_a_crash() {
    let (stand, _, job) = with_job(json!({"max_attempts": 1})).await;
    let running = Running::start(&stand, worker(&stand, "step 1; exit 0", ""));
    let row = stand.until(job, |job| job.status.is_end()).await;
    let error = row.error.unwrap();
    assert_eq!(error.code, FailureCode::WorkerCrashed);
    assert!(error.message.contains("without a result"), "{}", error.message);
    running.stop().await;
}

#[tokio::test]
async fn a_result_of_a_worker_that_then_breaks_down_is_not_trusted() {
    let (stand, _, job) = with_job(json!({"max_attempts": 1})).await;
    let running = Running::start(&stand, worker(&stand, "model; exit 3", ""));
    let row = stand.until(job, |job| job.status.is_end()).await;
    let error = row.error.unwrap();
    assert!(error.message.contains("exit status 3"), "{}", error.message);
    running.stop().await;
}

#[tokio::test]
async fn a_model_that_is_not_what_its_result_says_is_not_taken() {
    let (stand, _, job) = with_job(json!({"max_attempts": 1})).await;
    let running = Running::start(
        &stand,
        worker(&stand, "model; echo more >> model.safetensors", ""),
    );
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!(row.error.unwrap().code, FailureCode::WorkerCrashed);
    assert_eq!(row.model, None);
    running.stop().await;
}

#[tokio::test]
async fn what_a_worker_says_of_its_failure_is_what_the_job_says() {
    let (stand, _, job) = with_job(json!({})).await;
    let train = r#"result '{"outcome":"failed","code":"out_of_memory","message":"use batches of 16"}'"#;
    let running = Running::start(&stand, worker(&stand, train, ""));
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!((row.status, row.attempt), (JobStatus::Failed, 1));
    let error = row.error.unwrap();
    assert_eq!(
        (error.code, error.message.as_str()),
        (FailureCode::OutOfMemory, "use batches of 16")
    );
    running.stop().await;
}

#[tokio::test]
async fn a_worker_that_makes_no_progress_is_killed_with_all_it_started() {
    let (mut stand, _, job) = with_job(json!({"max_attempts": 1})).await;
    stand.config.limits.step_deadline_seconds = 1;
    let mut lifeline = stand.lifeline();
    let running = Running::start(
        &stand,
        worker(&stand, &format!("{LIVE} step 1; kill -STOP $$"), ""),
    );
    lifeline.begun().await;
    let row = stand.until(job, |job| job.status.is_end()).await;
    let error = row.error.unwrap();
    assert_eq!(error.code, FailureCode::WorkerStalled);
    assert!(error.message.contains("no progress for 1 s"), "{}", error.message);
    lifeline.ended().await;
    running.stop().await;
}

#[tokio::test]
async fn a_worker_that_never_says_anything_is_killed_after_the_time_for_loading() {
    let (mut stand, _, job) = with_job(json!({"max_attempts": 1})).await;
    stand.config.limits.load_deadline_seconds = 1;
    let running = Running::start(&stand, worker(&stand, "until_stdin_ends", ""));
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!(row.error.unwrap().code, FailureCode::WorkerStalled);
    running.stop().await;
}

#[tokio::test]
async fn noise_is_no_progress() {
    let (mut stand, _, job) = with_job(json!({"max_attempts": 1})).await;
    stand.config.limits.load_deadline_seconds = 1;
    let running = Running::start(&stand, worker(&stand, "exec yes noise", ""));
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!(row.error.unwrap().code, FailureCode::WorkerStalled);
    running.stop().await;
}

#[tokio::test]
async fn a_worker_may_ask_for_more_time_before_its_next_message() {
    let (mut stand, _, job) = with_job(json!({"max_attempts": 1})).await;
    stand.config.limits.step_deadline_seconds = 1;
    let train = r#"say '{"message":"alive","deadline_seconds":30}'; sleep 2; model"#;
    let running = Running::start(&stand, worker(&stand, train, ""));
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!(row.status, JobStatus::Succeeded);
    running.stop().await;
}

#[tokio::test]
async fn cancelling_a_running_job_stops_its_worker_and_all_it_started() {
    let (stand, _, job) = with_job(json!({})).await;
    let mut lifeline = stand.lifeline();
    let train = format!("{LIVE} step 1; until_stdin_ends; step 2; exit 75");
    let running = Running::start(&stand, worker(&stand, &train, ""));
    lifeline.begun().await;
    stand.until(job, |job| job.progress.is_some()).await;
    assert_eq!(running.jobs.devices()[0].job, Some(job));
    stand.store.cancel_job(job, None).await.unwrap();
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!((row.status, row.error), (JobStatus::Cancelled, None));
    // It was asked, not killed: what it said when it was asked is there.
    assert_eq!(steps(&stand, job).await, [1, 2]);
    lifeline.ended().await;
    let run_dir = running.jobs.run_dir(job, 1);
    running.stop().await;
    assert!(!run_dir.exists());
}

#[tokio::test]
async fn a_worker_that_does_not_leave_when_asked_is_killed_after_the_grace_period() {
    let (mut stand, _, job) = with_job(json!({})).await;
    stand.config.limits.stop_grace_seconds = 1;
    let mut lifeline = stand.lifeline();
    let train = format!("trap '' TERM HUP INT; {LIVE} step 1; while true; do sleep 600; done");
    let running = Running::start(&stand, worker(&stand, &train, ""));
    lifeline.begun().await;
    stand.until(job, |job| job.progress.is_some()).await;
    stand.store.cancel_job(job, None).await.unwrap();
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!(row.status, JobStatus::Cancelled);
    lifeline.ended().await;
    running.stop().await;
}

#[tokio::test]
async fn a_job_that_was_cancelled_stays_so_although_its_worker_was_done() {
    let (stand, _, job) = with_job(json!({})).await;
    let running = Running::start(&stand, worker(&stand, "step 1; until_stdin_ends; model", ""));
    stand.until(job, |job| job.progress.is_some()).await;
    stand.store.cancel_job(job, None).await.unwrap();
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!((row.status, row.model), (JobStatus::Cancelled, None));
    running.stop().await;
}

#[tokio::test]
async fn a_worker_that_ignores_its_time_limit_is_stopped() {
    let (mut stand, _, job) = with_job(json!({"max_seconds": 1})).await;
    stand.config.limits.step_deadline_seconds = 1;
    stand.config.limits.stop_grace_seconds = 1;
    let train = r#"say '{"message":"alive","deadline_seconds":600}'; until_stdin_ends; exit 75"#;
    let running = Running::start(&stand, worker(&stand, train, ""));
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!(row.error.unwrap().code, FailureCode::TimeLimit);
    running.stop().await;
}

#[tokio::test]
async fn a_worker_that_cannot_be_started_fails_the_job_at_once() {
    let stand = Stand::new().await;
    let dataset = stand.dataset("flowers").await;
    let worker = worker(&stand, "", "");
    let running = Running::start(&stand, worker.clone());
    let mut devices = running.jobs.known_devices();
    soon(devices.wait_for(|devices| !devices.is_empty()))
        .await
        .unwrap();
    std::fs::remove_file(worker).unwrap();
    let job = stand.submit(&dataset, json!({})).await;
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!(row.attempt, 1);
    assert_eq!(row.error.unwrap().code, FailureCode::WorkerLost);
    running.stop().await;
}

#[tokio::test]
async fn a_dataset_that_cannot_train_fails_the_job_and_no_worker_is_started() {
    let stand = Stand::new().await;
    let dataset = stand.dataset_of("flowers", &["roses"]).await;
    let job = stand.submit(&dataset, json!({})).await;
    let running = Running::start(&stand, worker(&stand, r#"touch "$here/started""#, ""));
    let row = stand.until(job, |job| job.status.is_end()).await;
    let error = row.error.unwrap();
    assert_eq!(error.code, FailureCode::InvalidData);
    assert!(
        error.message.contains("one class only (roses)"),
        "{}",
        error.message
    );
    running.stop().await;
    assert!(!stand.beside("started").exists());
}
