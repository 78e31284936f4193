//! What nobody needs goes, what somebody needs stays.

use std::fs;

use serde_json::json;

use super::*;
use crate::{
    domain::{
        id::DatasetId,
        jobs::job::{FailureCode, JobError},
    },
    files::digest,
    jobs::{context::Context, sweeper},
};

#[tokio::test]
async fn sweeping_removes_what_no_row_needs_and_nothing_else() {
    let (stand, dataset, ended) = with_job(json!({})).await;
    let claimed = stand
        .store
        .claim_job(vec!["cpu".to_owned()], false)
        .await
        .unwrap()
        .unwrap();
    let error = JobError::new(FailureCode::Internal, "for the test");
    stand.store.fail_job(claimed.id, 1, error).await.unwrap();
    let unfinished = stand.submit(&dataset, json!({})).await;
    let processing = stand.upload("processing", digest::of_bytes(b"archive")).await;
    let gone = JobId::new();

    let context = Context::new(JobsContext {
        store: stand.store.clone(),
        blobs: stand.blobs.clone(),
        config: stand.config.clone(),
        worker: "worker".into(),
        shutdown: CancellationToken::new(),
    });
    let made = |path: PathBuf| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, b"something").unwrap();
        path
    };
    let file = |of: &str| made(context.paths.runs().join(of).join("1/checkpoint-1.safetensors"));
    let log = |of: &str| made(context.paths.logs().join(format!("{of}.log")));
    let id = |id: &dyn std::fmt::Display| id.to_string();
    let kept = [
        file(&id(&unfinished)),
        file(&id(&processing)),
        file("not-an-id"),
        log(&id(&ended)),
        log(&id(&unfinished)),
        log(&id(&dataset.id)),
        log("predict"),
        made(stand.blobs.path(&digest::of_bytes(b"archive"))),
    ];
    let removed = [
        file(&id(&ended)),
        file(&id(&gone)),
        file(&id(&dataset.id)),
        file(&id(&DatasetId::new())),
        log(&id(&gone)),
        log(&id(&DatasetId::new())),
        made(stand.blobs.path(&digest::of_bytes(b"nobody's"))),
    ];
    sweeper::sweep(&context).await.unwrap();
    for path in kept {
        assert!(path.exists(), "{} is gone", path.display());
    }
    for path in removed {
        assert!(!path.exists(), "{} is still there", path.display());
    }
}
