//! Servers that stop, in order or not, while jobs run.

use serde_json::json;

use super::*;
use crate::domain::jobs::job::JobStatus;

#[tokio::test]
async fn a_job_that_a_shutdown_interrupts_goes_on_from_its_checkpoint() {
    // One death would be the end of it: a shutdown is none.
    let (stand, _, job) = with_job(json!({"max_attempts": 1})).await;
    let train = r#"
        cp run.json "$here/run.json"
        case $attempt in
        1)
            printf state > checkpoint-8.safetensors; printf older > checkpoint-4.safetensors
            say '{"message":"checkpoint","event":{"step":8,"epoch":1,"file":"checkpoint-8.safetensors","sha256":"","bytes":5}}'
            step 9; until_stdin_ends; printf last > checkpoint-9.safetensors; exit 75 ;;
        *) say '{"message":"resumed","step":9,"epoch":1}'; step 10; model ;;
        esac
    "#;
    let worker = worker(&stand, train, "");
    let first = Running::start(&stand, worker.clone());
    stand.until(job, |job| job.progress.is_some()).await;
    first.stop().await;
    let row = stand.store.job(&job.to_string()).await.unwrap();
    assert_eq!(
        (row.status, row.attempt, row.device),
        (JobStatus::Queued, 1, None)
    );

    let second = Running::start(&stand, worker);
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!((row.status, row.attempt), (JobStatus::Succeeded, 2));
    assert_eq!(steps(&stand, job).await, [9, -10, 10]);
    let run = copied_run(&stand);
    let folder = second.jobs.run_dir(job, 1);
    let paths = ["checkpoint-9.safetensors", "checkpoint-8.safetensors"].map(|name| folder.join(name));
    assert_eq!(run["checkpoints"], json!(paths));
    assert!(run["seconds_used"].as_f64().unwrap() > 0.0);
    second.stop().await;
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_worker_that_is_done_when_the_server_stops_has_made_its_model() {
    let (stand, _, job) = with_job(json!({})).await;
    let running = Running::start(&stand, worker(&stand, "step 1; until_stdin_ends; model", ""));
    stand.until(job, |job| job.progress.is_some()).await;
    running.stop().await;
    let row = stand.store.job(&job.to_string()).await.unwrap();
    assert_eq!(row.status, JobStatus::Succeeded);
}

#[tokio::test]
async fn jobs_of_a_server_that_was_killed_run_again() {
    let (stand, _, job) = with_job(json!({"max_attempts": 1})).await;
    // What a killed server leaves: a row that says `running`, and a folder with a checkpoint and perhaps a result.
    let claimed = stand
        .store
        .claim_job(vec!["cpu".to_owned()], false)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(claimed.id, job);
    let left = crate::jobs::children::paths::Paths::new(&stand.config.data_dir).run_dir(&job, 1);
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("checkpoint-3.safetensors"), b"state").unwrap();
    std::fs::write(left.join("result.json"), b"{}").unwrap();

    let train = r#"cp run.json "$here/run.json"; model"#;
    let running = Running::start(&stand, worker(&stand, train, ""));
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!((row.status, row.attempt), (JobStatus::Succeeded, 2));
    let checkpoints = json!([left.join("checkpoint-3.safetensors")]);
    assert_eq!(copied_run(&stand)["checkpoints"], checkpoints);
    running.stop().await;
}

#[tokio::test]
async fn a_result_that_lies_in_the_folder_of_an_attempt_before_it_begins_does_not_count() {
    let (stand, _, job) = with_job(json!({"max_attempts": 1})).await;
    let folder = crate::jobs::children::paths::Paths::new(&stand.config.data_dir).run_dir(&job, 1);
    std::fs::create_dir_all(&folder).unwrap();
    let result = r#"{"outcome":"failed","code":"diverged","message":"of another time"}"#;
    std::fs::write(folder.join("result.json"), result).unwrap();
    let running = Running::start(&stand, worker(&stand, "exit 0", ""));
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert!(row.error.unwrap().message.contains("without a result"));
    running.stop().await;
}
