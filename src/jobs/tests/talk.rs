//! What a worker says and writes, also when it is not what was agreed.

use serde_json::json;

use super::*;
use crate::{domain::jobs::job::JobStatus, store::Interruption};

#[tokio::test]
async fn garbage_on_stdout_is_counted_and_hurts_nothing() {
    let (stand, _, job) = with_job(json!({})).await;
    let train = r#"
        say 'Downloading: 100%'
        printf '\377\376\000\n'
        head -c 3000000 /dev/zero | tr '\0' 'x'; echo
        say '{"message":"unheard of"}'
        step 1
        model
        printf '{"message":"step"'
    "#;
    let running = Running::start(&stand, worker(&stand, train, ""));
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!(row.status, JobStatus::Succeeded);
    assert_eq!(steps(&stand, job).await, [1]);
    let log = log(&running.jobs, job);
    assert!(log.contains("not a message: Downloading: 100%"), "{log}");
    assert!(log.contains("5 line(s) on its stdout were no messages"), "{log}");
    running.stop().await;
}

#[tokio::test]
async fn a_flood_on_stderr_leaves_a_log_of_bounded_size_with_its_end() {
    let (mut stand, _, job) = with_job(json!({})).await;
    stand.config.limits.max_log_bytes = 100_000;
    let train = r#"
        head -c 10000000 /dev/zero | tr '\0' 'x' | fold -w 99 >&2
        head -c 1000000 /dev/zero >&2
        printf '\n\033[2Jthe end\n' >&2
        model
    "#;
    let running = Running::start(&stand, worker(&stand, train, ""));
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!(row.status, JobStatus::Succeeded);
    let log = log(&running.jobs, job);
    assert!(log.len() <= 100_000, "{}", log.len());
    assert!(log.starts_with("[earlier lines were left out]\n"));
    assert!(log.contains("[2Jthe end\n[server] the worker ended with exit status 0\n"));
    assert!(!log.contains(['\0', '\u{1b}']));
    running.stop().await;
}

#[tokio::test]
async fn many_events_are_stored_in_order_and_all_of_them() {
    let (stand, _, job) = with_job(json!({})).await;
    let train = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); step $i; done; model";
    let running = Running::start(&stand, worker(&stand, train, ""));
    stand.until(job, |job| job.status.is_end()).await;
    assert_eq!(steps(&stand, job).await, (1..=300).collect::<Vec<_>>());
    running.stop().await;
}

/// The job is taken away from its attempt while that still runs, as a second server on the same database would do it.
#[tokio::test]
async fn what_an_old_attempt_tells_late_is_not_written() {
    let (stand, _, job) = with_job(json!({})).await;
    let train = r#"
        case $attempt in
        1) step 1; until_stdin_ends; step 999; epoch 9 999; model ;;
        *) say '{"message":"resumed","step":1,"epoch":0}'; step 2; model ;;
        esac
    "#;
    let running = Running::start(&stand, worker(&stand, train, ""));
    stand.until(job, |job| job.progress.is_some()).await;
    assert!(
        stand
            .store
            .interrupt_job(job, 1, Interruption::Drained)
            .await
            .unwrap()
    );
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!((row.status, row.attempt), (JobStatus::Succeeded, 2));
    assert_eq!(steps(&stand, job).await, [1, -2, 2]);
    let model = stand.store.model(&row.model.unwrap().to_string()).await.unwrap();
    let weights = std::fs::read_to_string(stand.blobs.path(&model.sha256)).unwrap();
    assert!(weights.ends_with("/2"), "{weights}");
    running.stop().await;
}
