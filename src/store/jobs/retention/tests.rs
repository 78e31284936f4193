use serde_json::json;

use super::*;
use crate::{
    domain::jobs::event::EventKind,
    files::digest,
    fixtures::Stand,
    store::{Interruption, JobUpdate},
};

/// Later than anything in the test.
const LATER: Timestamp = Timestamp(i64::MAX);

/// Runs the one job in the queue to its end, with an event of each kind.
async fn run(stand: &Stand, id: JobId, result: &str) {
    let store = &stand.store;
    let claimed = store.claim_job(vec!["cpu".to_owned()], false).await.unwrap();
    assert_eq!(claimed.unwrap().id, id);
    let step = json!({"step": 1, "epoch": 1, "train_loss": 0.5, "lr": 0.1, "images_per_second": 1.0});
    let events = vec![
        (EventKind::Step, step),
        (EventKind::Log, json!({"message": "a line"})),
        (EventKind::Epoch, json!({"epoch": 1, "step": 1})),
        (EventKind::Warning, json!({"code": "odd", "message": "look"})),
    ];
    let update = JobUpdate {
        events,
        ..JobUpdate::default()
    };
    assert!(store.update_job(id, 1, update).await.unwrap());
    let result = digest::of_bytes(result.as_bytes());
    assert!(
        store
            .complete_job_without_model(id, 1, result, None)
            .await
            .unwrap()
    );
}

async fn kinds(store: &Store, id: JobId) -> Vec<&'static str> {
    let events = store.events(id, 0, 100).await.unwrap();
    events.iter().map(|event| event.kind.as_str()).collect()
}

#[tokio::test]
async fn old_jobs_go_with_their_results_and_those_that_are_needed_stay() {
    let stand = Stand::new().await;
    let store = &stand.store;
    let model = stand.model().await;
    let dataset = stand.dataset("flowers").await;
    let spec = json!({"kind": "evaluate", "model": model.id.to_string()});
    let old = stand.submit(&dataset, spec.clone()).await;
    run(&stand, old, "old").await;
    let same = stand.submit(&dataset, spec.clone()).await;
    run(&stand, same, "old").await;
    let end = store.job_end(old).await.unwrap().unwrap();
    let queued = stand.submit(&dataset, spec.clone()).await;
    let running = stand.submit(&dataset, spec).await;
    store.claim_job(vec!["cpu".to_owned()], false).await.unwrap();

    assert!(
        store.old_jobs(end).await.unwrap().is_empty(),
        "it ended at that time"
    );
    assert_eq!(store.old_jobs(LATER).await.unwrap(), [old, same]);
    assert_eq!(store.events_of_old_jobs(LATER).await.unwrap().rows, 14);
    let blob = digest::of_bytes(b"old");
    assert_eq!(
        store.blobs_of_old_jobs(LATER).await.unwrap(),
        std::slice::from_ref(&blob)
    );
    assert_eq!(store.delete_old_jobs(end).await.unwrap(), 0);
    assert_eq!(store.delete_old_jobs(LATER).await.unwrap(), 2);
    let ledger = store.ledger().await.unwrap();
    assert!(ledger.released.contains_key(&blob) && !ledger.named.contains(&blob));
    for id in [model.job.unwrap(), queued, running] {
        store.job(&id.to_string()).await.unwrap();
    }
    assert_eq!(store.delete_old_jobs(LATER).await.unwrap(), 0);
    // Without its model nothing needs the job.
    store.delete_model(model.id, None).await.unwrap();
    assert_eq!(store.old_jobs(LATER).await.unwrap(), [model.job.unwrap()]);
}

#[tokio::test]
async fn a_file_that_another_job_names_too_is_not_counted() {
    let stand = Stand::new().await;
    let store = &stand.store;
    let model = stand.model().await;
    let dataset = stand.dataset("flowers").await;
    let spec = json!({"kind": "evaluate", "model": model.id.to_string()});
    let old = stand.submit(&dataset, spec.clone()).await;
    run(&stand, old, "shared").await;
    let end = store.job_end(old).await.unwrap().unwrap();
    while Timestamp::now().0 <= end.0 {
        tokio::task::yield_now().await;
    }
    let new = stand.submit(&dataset, spec).await;
    run(&stand, new, "shared").await;
    let between = Timestamp(end.0 + 1);
    assert_eq!(store.old_jobs(between).await.unwrap(), [old]);
    assert!(store.blobs_of_old_jobs(between).await.unwrap().is_empty());
}

#[tokio::test]
async fn old_events_of_steps_go_once_and_the_story_stays() {
    let stand = Stand::new().await;
    let store = &stand.store;
    let model = stand.model().await;
    let dataset = stand.dataset("flowers").await;
    let spec = json!({"kind": "evaluate", "model": model.id.to_string()});
    let ended = stand.submit(&dataset, spec.clone()).await;
    run(&stand, ended, "result").await;
    let running = stand.submit(&dataset, spec).await;
    store.claim_job(vec!["cpu".to_owned()], false).await.unwrap();
    let died = Interruption::Died(crate::domain::jobs::job::JobError::new(
        crate::domain::jobs::job::FailureCode::WorkerCrashed,
        "gone",
    ));
    store.interrupt_job(running, 1, died).await.unwrap();
    let before = kinds(store, running).await;

    let old = store.old_events(LATER).await.unwrap();
    assert_eq!(old.rows, 2);
    assert!(old.bytes > 20);
    assert_eq!(store.prune_events(Timestamp(0)).await.unwrap(), 0);
    assert_eq!(store.prune_events(LATER).await.unwrap(), 2);
    assert_eq!(
        kinds(store, ended).await,
        ["status", "status", "epoch", "warning", "end"]
    );
    assert_eq!(kinds(store, running).await, before);
    let job = store.job(&ended.to_string()).await.unwrap();
    assert!(job.events_pruned_at.is_some());
    assert_eq!(
        store.old_events(LATER).await.unwrap(),
        OldRows { rows: 0, bytes: 0 }
    );
}

#[tokio::test]
async fn datasets_that_neither_a_job_nor_a_model_has_used_are_unused() {
    let stand = Stand::new().await;
    let store = &stand.store;
    let model = stand.model().await;
    let unused = stand.dataset("unused").await;
    let used = stand.dataset("used").await;
    stand.submit(&used, json!({})).await;
    store.delete_job(model.job.unwrap(), None).await.unwrap();
    let names = async |before| -> Vec<String> {
        let found = store.unused_datasets(before).await.unwrap();
        found.iter().map(|dataset| dataset.name.to_string()).collect()
    };
    assert_eq!(
        names(LATER).await,
        ["unused"],
        "a model says what it was trained on"
    );
    assert!(names(unused.created_at).await.is_empty());
    store.delete_model(model.id, None).await.unwrap();
    assert_eq!(names(LATER).await.len(), 2);
}
