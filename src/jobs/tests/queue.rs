//! Which job runs when, and on what.

use serde_json::json;

use super::*;
use crate::{
    domain::jobs::job::{FailureCode, JobError, JobStatus, StopReason},
    store::NewModel,
};

#[tokio::test]
async fn jobs_on_one_device_run_one_after_the_other_the_more_important_first() {
    let (stand, dataset, low) = with_job(json!({"priority": -1})).await;
    let high = stand.submit(&dataset, json!({"priority": 5})).await;
    let middle = stand.submit(&dataset, json!({})).await;
    // Two at once would find the lock taken and fail.
    let train = r#"mkdir "$here/lock" || exit 1; basename "$(dirname "$PWD")" >> "$here/order"; step 1; rmdir "$here/lock"; model"#;
    let running = Running::start(&stand, worker(&stand, train, ""));
    for job in [low, high, middle] {
        let row = stand.until(job, |job| job.status.is_end()).await;
        assert_eq!((row.status, row.attempt), (JobStatus::Succeeded, 1));
    }
    let order = std::fs::read_to_string(stand.beside("order")).unwrap();
    assert_eq!(order, format!("{high}\n{middle}\n{low}\n"));
    let jobs = running.jobs.clone();
    running.stop().await;
    assert_eq!(jobs.devices()[0].job, None);
}

#[tokio::test]
async fn two_devices_run_two_jobs_at_once() {
    let (stand, dataset, first) = with_job(json!({"device": "cuda:0"})).await;
    let second = stand.submit(&dataset, json!({"device": "cpu"})).await;
    let devices = r#"say '[{"name":"cuda:0","description":"a card","threads":1,"memory_bytes":1},{"name":"cpu","description":"a host","threads":1,"memory_bytes":1}]'"#;
    // Each opens one end of the pipe: neither gets on before the other runs.
    let train = r#"
        mkfifo "$here/meeting" 2> /dev/null
        case $(grep -c '"device": "cpu"' run.json) in 0) : < "$here/meeting" ;; *) : > "$here/meeting" ;; esac
        model
    "#;
    let running = Running::start(&stand, worker_with(&stand, devices, train, ""));
    for (job, device) in [(first, "cuda:0"), (second, "cpu")] {
        let row = stand.until(job, |job| job.status.is_end()).await;
        assert_eq!(
            (row.status, row.device.as_deref()),
            (JobStatus::Succeeded, Some(device))
        );
    }
    running.stop().await;
}

#[tokio::test]
async fn jobs_wait_until_the_devices_are_known() {
    let (stand, _, job) = with_job(json!({})).await;
    let devices = format!(r#"mkdir "$here/asked" && exit 1; {DEVICES}"#);
    let running = Running::start(&stand, worker_with(&stand, &devices, "model", ""));
    assert_eq!(running.jobs.devices(), []);
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!(row.status, JobStatus::Succeeded);
    assert_eq!(running.jobs.devices()[0].device.name, "cpu");
    running.stop().await;
}

#[tokio::test]
async fn a_job_that_is_being_cancelled_gets_no_other_end() {
    let (stand, dataset, job) = with_job(json!({})).await;
    let claimed = stand
        .store
        .claim_job(vec!["cpu".to_owned()], false)
        .await
        .unwrap()
        .unwrap();
    // Nobody has asked for it yet.
    assert!(!stand.store.finish_cancelled(job, 1).await.unwrap());
    stand.store.cancel_job(job).await.unwrap();
    let model = NewModel {
        name: dataset.name.clone(),
        card: card(claimed.spec.training().unwrap(), &dataset),
        sha256: dataset.sha256.clone(),
        bytes: 1,
        card_blob: dataset.sha256.clone(),
        evaluation_blob: None,
    };
    let completed = stand
        .store
        .complete_job(job, 1, model, StopReason::Completed)
        .await
        .unwrap();
    assert_eq!(completed, None);
    let error = JobError::new(FailureCode::Internal, "too late");
    assert!(!stand.store.fail_job(job, 1, error).await.unwrap());
    assert!(stand.store.finish_cancelled(job, 1).await.unwrap());
    let row = stand.store.job(&job.to_string()).await.unwrap();
    assert_eq!(
        (row.status, row.model, row.error),
        (JobStatus::Cancelled, None, None)
    );
}
