//! Which job runs when, and on what.

use serde_json::json;

use super::*;
use crate::{
    domain::{
        access::{NewKey, Quotas, Scope, Secret},
        jobs::job::{FailureCode, JobError, JobStatus, StopReason, WaitingFor},
        name::Name,
        page::{Order, PageRequest},
    },
    fixtures::holder,
    store::{JobFilter, NewModel},
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
    stand.store.cancel_job(job, None).await.unwrap();
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

/// Claims the next job on the CPU and has it end at once.
async fn next_to_run(stand: &Stand) -> JobId {
    let free = vec!["cpu".to_owned()];
    let claimed = stand.store.claim_job(free, false).await.unwrap().unwrap();
    stand.store.cancel_job(claimed.id, None).await.unwrap();
    let ended = stand.store.finish_cancelled(claimed.id, claimed.attempt).await;
    assert!(ended.unwrap());
    claimed.id
}

async fn positions(stand: &Stand, jobs: &[JobId]) -> Vec<Option<u64>> {
    let mut positions = Vec::new();
    for job in jobs {
        let row = stand.store.job(&job.to_string()).await.unwrap();
        positions.push(row.queue_position);
    }
    positions
}

#[tokio::test]
async fn owners_take_turns_whoever_has_how_many_jobs_and_the_positions_say_so() {
    let stand = Stand::new().await;
    let dataset = stand.dataset("flowers").await;
    let (many, one) = (holder("many"), holder("one"));
    let submit = async |owner| stand.submit_as(owner, &dataset, json!({})).await;
    let mut of_many = Vec::new();
    for _ in 0..5 {
        of_many.push(submit(Some(&many)).await);
    }
    let (first, nobodys) = (submit(Some(&one)).await, submit(None).await);
    assert_eq!(positions(&stand, &of_many[..2]).await, [Some(0), Some(3)]);
    assert_eq!(positions(&stand, &[first, nobodys]).await, [Some(1), Some(2)]);
    // In a list as alone.
    let page = PageRequest {
        limit: 3,
        after: None,
        order: Order::Desc,
    };
    let listed = stand.store.jobs(&JobFilter::default(), &page).await.unwrap();
    let listed: Vec<_> = listed.data.iter().map(|job| job.queue_position).collect();
    assert_eq!(listed, [Some(2), Some(1), Some(6)]);

    assert_eq!(next_to_run(&stand).await, of_many[0]);
    assert_eq!(positions(&stand, &[of_many[0], first]).await, [None, Some(0)]);
    assert_eq!(next_to_run(&stand).await, first);
    // Whose jobs are deleted has had its turn nevertheless.
    stand.store.delete_job(first, None).await.unwrap();
    let second = submit(Some(&one)).await;
    assert_eq!(next_to_run(&stand).await, nobodys);
    assert_eq!(next_to_run(&stand).await, of_many[1]);
    assert_eq!(next_to_run(&stand).await, second);
    for job in &of_many[2..] {
        assert_eq!(next_to_run(&stand).await, *job);
    }
}

#[tokio::test]
async fn of_two_devices_an_owner_gets_the_second_when_nobody_else_waits() {
    let stand = Stand::new().await;
    let dataset = stand.dataset("flowers").await;
    let (many, one) = (holder("many"), holder("one"));
    let submit = async |owner| stand.submit_as(owner, &dataset, json!({})).await;
    let of_many = [
        submit(Some(&many)).await,
        submit(Some(&many)).await,
        submit(Some(&many)).await,
    ];
    let claim = async |device: &str| {
        let free = vec![device.to_owned()];
        let claimed = stand.store.claim_job(free, true).await.unwrap();
        claimed.map(|claimed| claimed.id)
    };
    assert_eq!(claim("cuda:0").await, Some(of_many[0]));
    assert_eq!(claim("cuda:1").await, Some(of_many[1]));
    // Whoever has fewest running is next, whatever the turns were.
    let first = submit(Some(&one)).await;
    assert_eq!(positions(&stand, &[of_many[2], first]).await, [Some(1), Some(0)]);
    stand.store.cancel_job(of_many[0], None).await.unwrap();
    assert!(stand.store.finish_cancelled(of_many[0], 1).await.unwrap());
    assert_eq!(claim("cuda:0").await, Some(first));
    assert_eq!(claim("cuda:1").await, Some(of_many[2]));
    assert_eq!(claim("cuda:1").await, None);
}

#[tokio::test]
async fn a_job_over_its_owners_quota_waits_and_says_why() {
    let stand = Stand::new().await;
    let dataset = stand.dataset("flowers").await;
    let new = NewKey {
        name: Name::parse("team").unwrap(),
        scopes: vec![Scope::Write],
        datasets: None,
        models: None,
        quotas: Quotas {
            max_running_jobs: Some(1),
            ..Quotas::default()
        },
        expires_at: None,
    };
    let digest = Secret::draw().unwrap().digest();
    let team = stand.store.create_key(new, digest, 9).await.unwrap().holder();
    let first = stand.submit_as(Some(&team), &dataset, json!({})).await;
    let second = stand
        .submit_as(Some(&team), &dataset, json!({"priority": 9}))
        .await;
    let nobodys = stand.submit(&dataset, json!({"priority": -9})).await;
    let waiting = async |job: JobId| {
        let row = stand.store.job(&job.to_string()).await.unwrap();
        (
            row.queue_position,
            row.progress.and_then(|progress| progress.waiting),
        )
    };
    assert_eq!(waiting(second).await, (Some(0), None));
    assert_eq!(waiting(first).await, (Some(2), None));
    let claim = async || {
        let free = vec!["cpu".to_owned()];
        let claimed = stand.store.claim_job(free, false).await.unwrap();
        claimed.map(|claimed| claimed.id)
    };
    assert_eq!(claim().await, Some(second));
    // A device is free, and it is not for this one.
    assert_eq!(waiting(first).await, (Some(1), Some(WaitingFor::Quota)));
    assert_eq!(waiting(nobodys).await, (Some(0), None));
    assert_eq!(claim().await, Some(nobodys));
    assert_eq!(claim().await, None);
    // Also when its key is revoked: the quota was its.
    stand.store.revoke_key("team", None).await.unwrap();
    assert_eq!(claim().await, None);
    stand.store.cancel_job(second, None).await.unwrap();
    assert!(stand.store.finish_cancelled(second, 1).await.unwrap());
    assert_eq!(waiting(first).await, (Some(0), None));
    assert_eq!(claim().await, Some(first));
}
