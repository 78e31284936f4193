//! A disk that is full while jobs run.

use std::time::Duration;

use super::*;
use crate::{
    domain::jobs::job::{JobStatus, WaitingFor},
    store::faulty_disk::{FULL, FaultyDisk},
};

/// Waits until a job is known to wait for the disk, or no longer.
async fn until_waiting(jobs: &Jobs, job: JobId, waiting: Option<WaitingFor>) {
    soon(async {
        while jobs.waiting_for(&job) != waiting {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

const UNTIL_ROOM: &str = r#"until [ -e "$here/room" ]; do sleep 0.05; done"#;

#[tokio::test]
async fn a_child_that_waits_for_the_disk_is_known_to_and_is_left_alone() {
    let (stand, _, job) = with_job(json!({})).await;
    let train = format!(
        r#"say '{{"message":"waiting","waiting":"disk"}}'; {UNTIL_ROOM}; say '{{"message":"waiting","waiting":null}}'; step 1; model"#
    );
    let running = Running::start(&stand, worker(&stand, &train, ""));
    until_waiting(&running.jobs, job, Some(WaitingFor::Disk)).await;
    let row = stand.store.job(&job.to_string()).await.unwrap();
    assert_eq!(row.status, JobStatus::Running);
    std::fs::write(stand.beside("room"), "").unwrap();
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!(
        (row.status, row.attempt),
        (JobStatus::Succeeded, 1),
        "{:?}",
        row.error
    );
    until_waiting(&running.jobs, job, None).await;
    running.stop().await;
}

#[tokio::test]
async fn a_job_whose_events_find_the_disk_full_tells_each_of_them_once_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::below(folder.path());
    let stand = Stand::in_folder(folder).await;
    let dataset = stand.dataset("flowers").await;
    let job = stand.submit(&dataset, json!({})).await;
    let row = stand.store.job(&job.to_string()).await.unwrap();
    let card = serde_json::to_vec(&card(row.spec.training().unwrap(), &dataset)).unwrap();
    std::fs::write(stand.beside("card.json"), card).unwrap();
    let train = format!("step 1; {UNTIL_ROOM}; step 2; epoch 1 2; step 3; step 4; epoch 2 4; model");
    let running = Running::start(&stand, worker(&stand, &train, ""));
    stand
        .until(job, |job| {
            job.progress.as_ref().is_some_and(|progress| progress.step == 1)
        })
        .await;
    disk.fail(FULL, 0);
    std::fs::write(stand.beside("room"), "").unwrap();
    until_waiting(&running.jobs, job, Some(WaitingFor::Disk)).await;
    assert!(disk.mend(), "nothing found the disk full");
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!(
        (row.status, row.attempt),
        (JobStatus::Succeeded, 1),
        "{:?}",
        row.error
    );
    assert_eq!(steps(&stand, job).await, [1, 2, 3, 4]);
    assert_eq!(running.jobs.waiting_for(&job), None);
    running.stop().await;
}

#[tokio::test]
async fn a_child_that_finds_the_disk_full_and_leaves_fails_no_job() {
    let (stand, _, job) = with_job(json!({"max_attempts": 1})).await;
    let train = r#"result '{"outcome":"failed","code":"disk_full","message":"it is full"}'"#;
    let running = Running::start(&stand, worker(&stand, train, ""));
    until_waiting(&running.jobs, job, Some(WaitingFor::Disk)).await;
    running.stop().await;
    let row = stand.store.job(&job.to_string()).await.unwrap();
    assert_eq!((row.status, row.error), (JobStatus::Queued, None));
}

#[tokio::test]
async fn a_job_that_waits_for_the_disk_can_be_cancelled() {
    let (stand, _, job) = with_job(json!({})).await;
    let train = r#"result '{"outcome":"failed","code":"disk_full","message":"it is full"}'"#;
    let running = Running::start(&stand, worker(&stand, train, ""));
    until_waiting(&running.jobs, job, Some(WaitingFor::Disk)).await;
    stand.store.cancel_job(job, None).await.unwrap();
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!(row.status, JobStatus::Cancelled);
    running.stop().await;
}

#[tokio::test]
async fn a_child_that_cannot_even_say_that_the_disk_is_full_fails_no_job() {
    let (stand, _, job) = with_job(json!({"max_attempts": 1})).await;
    let train = format!("exit {}", crate::protocol::EXIT_DISK_FULL);
    let running = Running::start(&stand, worker(&stand, &train, ""));
    until_waiting(&running.jobs, job, Some(WaitingFor::Disk)).await;
    running.stop().await;
    let row = stand.store.job(&job.to_string()).await.unwrap();
    assert_eq!((row.status, row.error), (JobStatus::Queued, None));
}
