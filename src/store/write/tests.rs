//! Every kind of write meets a disk that fails at each of its steps: the act is refused as a whole, and the next one is as good as ever.

use std::ops::AsyncFnMut;

use serde_json::json;

use super::*;
use crate::{
    domain::{
        datasets::dataset::{Dataset, DatasetError},
        id::ModelId,
        jobs::job::{FailureCode, JobError, JobStatus, StopReason},
        name::Name,
        time::Timestamp,
    },
    error::Result,
    fixtures::{Stand, card},
    store::{
        Interruption, JobUpdate, NewDataset, NewModel,
        faulty_disk::{FULL, FaultyDisk, NO_MEMORY, SYNC_FAILS, WRITE_FAILS},
    },
};

/// Steps of one act that a fault is tried at; an act with more would have failed at the earlier ones.
const MOST_STEPS: u32 = 60;

/// A store on a disk that fails in one way when it is told to.
struct Failing {
    stand: Stand,
    disk: FaultyDisk,
    code: i32,
}

impl Failing {
    async fn with(code: i32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::below(folder.path());
        let stand = Stand::in_folder(folder).await;
        Self { stand, disk, code }
    }

    /// Tries an act with a disk that fails at its first, second, third … step, until it takes fewer steps than that and succeeds.
    async fn hurt<T>(&self, mut act: impl AsyncFnMut() -> Result<T>) -> T {
        let mut failures = 0;
        for passing in 0..MOST_STEPS {
            self.disk.fail(self.code, passing);
            let outcome = act().await;
            self.disk.mend();
            match outcome {
                Ok(done) => {
                    assert!(failures > 0, "the disk never failed");
                    return done;
                }
                Err(error) => {
                    let expected = if self.code == FULL {
                        Kind::DiskFull
                    } else {
                        Kind::Unavailable
                    };
                    assert_eq!(error.kind(), expected, "{error}");
                    failures += 1;
                }
            }
            // The disk works again: so does the very next write, whatever state the failure left.
            let store = &self.stand.store;
            store.write(|_| Box::pin(async { Ok(()) })).await.unwrap();
        }
        panic!("the act never succeeded");
    }
}

async fn every_write_heals(code: i32) {
    let failing = Failing::with(code).await;
    let dataset = failing.stand.dataset("flowers").await;
    writes_of_a_dataset_heal(&failing).await;
    let model = writes_of_a_job_heal(&failing, &dataset).await;
    other_ends_of_jobs_heal(&failing, &dataset).await;
    let store = &failing.stand.store;
    failing.hurt(async || store.delete_model(model, None).await).await;
    store.forget_expired_uploads(Timestamp::now()).await.unwrap();
    let check: String = sqlx::query_scalar("pragma integrity_check")
        .fetch_one(&store.readers)
        .await
        .unwrap();
    assert_eq!(check, "ok");
}

/// From its upload to its end.
async fn writes_of_a_dataset_heal(failing: &Failing) {
    let store = &failing.stand.store;
    let new = NewDataset {
        options: Default::default(),
        name: Name::parse("broken").unwrap().into(),
        sha256: crate::files::digest::of_bytes(b"broken"),
        bytes: 6,
        owner: None,
    };
    let created = failing
        .hurt(async || store.create_dataset(new.clone()).await)
        .await;
    let claimed = failing.hurt(async || store.claim_dataset(Vec::new()).await).await;
    let claimed = claimed.unwrap();
    assert_eq!(
        (claimed.id, claimed.attempt),
        (created.id(), 1),
        "a claim that failed counts nothing"
    );
    let error = DatasetError {
        code: "damaged".into(),
        message: "it is damaged".into(),
    };
    let failed = async || store.fail_dataset(&claimed, error.clone(), None, None).await;
    assert!(failing.hurt(failed).await);
    failing
        .hurt(async || store.delete_dataset(claimed.id, None).await)
        .await;
}

/// A job's claims, what it tells, its interruption and its success, which leaves this model.
async fn writes_of_a_job_heal(failing: &Failing, dataset: &Dataset) -> ModelId {
    let store = &failing.stand.store;
    let job = failing.stand.submit(dataset, json!({"name": "insects"})).await;
    let free = vec!["cpu".to_owned()];
    let claim = async || store.claim_job(free.clone(), false).await;
    let attempt = failing.hurt(claim).await.unwrap();
    assert_eq!((attempt.id, attempt.attempt), (job, 1));
    let before = store.last_event(job).await.unwrap();
    let told = JobUpdate {
        events: vec![(
            crate::domain::jobs::event::EventKind::Log,
            json!({"message": "x".repeat(9000)}),
        )],
        ..JobUpdate::default()
    };
    let update = async || store.update_job(job, 1, told.clone()).await;
    assert!(failing.hurt(update).await);
    assert_eq!(
        store.last_event(job).await.unwrap(),
        before + 1,
        "an event is written once"
    );
    let drained = async || store.interrupt_job(job, 1, Interruption::Drained).await;
    assert!(failing.hurt(drained).await);
    let attempt = store.claim_job(free, false).await.unwrap().unwrap();
    let model = NewModel {
        name: Name::parse("insects").unwrap(),
        card: card(attempt.spec.training().unwrap(), dataset),
        sha256: crate::files::digest::of_bytes(b"weights"),
        bytes: 7,
        card_blob: crate::files::digest::of_bytes(b"card"),
        evaluation_blob: None,
    };
    let complete = async || {
        store
            .complete_job(job, 2, model.clone(), StopReason::Completed)
            .await
    };
    let model = failing.hurt(complete).await.unwrap();
    let row = store.job(&job.to_string()).await.unwrap();
    assert_eq!((row.status, row.model), (JobStatus::Succeeded, Some(model)));
    model
}

/// Cancelled and deleted, or failed.
async fn other_ends_of_jobs_heal(failing: &Failing, dataset: &Dataset) {
    let store = &failing.stand.store;
    let other = failing.stand.submit(dataset, json!({"name": "others"})).await;
    failing.hurt(async || store.cancel_job(other, None).await).await;
    failing.hurt(async || store.delete_job(other, None).await).await;
    let last = failing.stand.submit(dataset, json!({"name": "others"})).await;
    let free = vec!["cpu".to_owned()];
    store.claim_job(free, false).await.unwrap().unwrap();
    let error = JobError::new(FailureCode::Diverged, "it diverged");
    let fail = async || store.fail_job(last, 1, error.clone()).await;
    assert!(failing.hurt(fail).await);
}

#[tokio::test]
async fn a_full_disk_ends_one_write_and_no_other() {
    every_write_heals(FULL).await;
}

#[tokio::test]
async fn a_failed_write_ends_one_write_and_no_other() {
    every_write_heals(WRITE_FAILS).await;
}

#[tokio::test]
async fn a_failed_sync_ends_one_write_and_no_other() {
    every_write_heals(SYNC_FAILS).await;
}

#[tokio::test]
async fn a_lack_of_memory_ends_one_write_and_no_other() {
    every_write_heals(NO_MEMORY).await;
}
