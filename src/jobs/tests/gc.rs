//! What `finetuned gc` finds is what it removes, beside a server rows only.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use serde_json::json;

use super::*;
use crate::{
    data_dir::Lock,
    domain::{
        id::DatasetId,
        retention::{Age, Keep},
    },
    files::digest,
    jobs::{
        context::Context,
        gc::{Collected, Rules, gc},
        sweeper,
    },
};

const OLD: Keep = Keep {
    runs: Age::Seconds(0),
    events: Age::Seconds(0),
    checkpoints: Age::Seconds(0),
    deliveries: Age::Seconds(0),
};

fn rules(keep: Keep) -> Rules {
    Rules {
        keep,
        grace: Duration::from_secs(3600),
    }
}

fn files(root: &Path) -> BTreeSet<String> {
    let (mut found, mut folders) = (BTreeSet::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => drop(found.insert(path.strip_prefix(root).unwrap().display().to_string())),
            }
        }
    }
    found
}

fn count(collected: &Collected, kind: &str) -> u64 {
    let heap = collected.removed.iter().find(|heap| heap.kind == kind);
    heap.unwrap().count
}

fn write(path: PathBuf, text: &str) -> PathBuf {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

/// A job that has measured a model, and ended a moment ago.
async fn ended(stand: &Stand) -> JobId {
    let model = stand.model().await;
    let dataset = stand.dataset("flowers").await;
    let spec = json!({"kind": "evaluate", "model": model.id.to_string()});
    let job = stand.submit(&dataset, spec).await;
    let free = vec!["cpu".to_owned()];
    stand.store.claim_job(free, false).await.unwrap();
    let result = digest::of_bytes(b"result");
    write(stand.blobs.path(&result), "result");
    let completed = stand.store.complete_job_without_model(job, 1, result, None).await;
    assert!(completed.unwrap());
    let end = stand.store.job_end(job).await.unwrap().unwrap();
    while crate::domain::time::Timestamp::now() <= end {
        tokio::task::yield_now().await;
    }
    job
}

#[tokio::test]
async fn what_is_old_is_counted_first_then_removed_and_beside_a_server_only_rows_are() {
    let stand = Stand::new().await;
    let job = ended(&stand).await;
    let data_dir = stand.config.data_dir.clone();
    let paths = crate::jobs::children::paths::Paths::new(&data_dir);
    let checkpoint = write(paths.run_dir(&job, 1).join("checkpoint-3.safetensors"), "state");
    let log = write(paths.log(&job), "a line");
    let lost = write(paths.log(&DatasetId::new()), "of a deleted dataset");
    let result = stand.blobs.path(&digest::of_bytes(b"result"));

    let before = files(&data_dir);
    let kept = gc(&data_dir, rules(Keep::DEFAULT), true).await.unwrap();
    assert!(kept.dry_run && !kept.is_served);
    for (kind, expected) in [
        ("jobs", 0),
        ("events", 0),
        ("checkpoints", 1),
        ("logs", 1),
        ("blobs", 0),
    ] {
        assert_eq!(count(&kept, kind), expected, "{kind}: {kept}");
    }
    let found = gc(&data_dir, rules(OLD), true).await.unwrap();
    for (kind, expected) in [("jobs", 1), ("checkpoints", 1), ("logs", 2), ("blobs", 1)] {
        assert_eq!(count(&found, kind), expected, "{kind}: {found}");
    }
    assert_eq!(files(&data_dir), before, "a dry run changed something");
    assert!(found.to_string().ends_with("nothing was removed (--dry-run)"));

    let server = Lock::take(&data_dir).unwrap();
    let beside = gc(&data_dir, rules(OLD), false).await.unwrap();
    assert!(beside.is_served);
    assert_eq!(count(&beside, "jobs"), 1);
    assert!(stand.store.job(&job.to_string()).await.is_err());
    for file in [&checkpoint, &log, &lost, &result] {
        assert!(file.exists(), "{} is the server's to remove", file.display());
    }
    drop(server);
    let alone = gc(&data_dir, rules(OLD), false).await.unwrap();
    assert_eq!((count(&alone, "jobs"), count(&alone, "blobs")), (0, 1));
    for file in [&checkpoint, &log, &lost, &result] {
        assert!(!file.exists(), "{} is still there", file.display());
    }
    let trash = data_dir.join("trash").join(digest::of_bytes(b"result"));
    assert!(trash.exists(), "its time is not up");
    let mut now = rules(OLD);
    now.grace = Duration::ZERO;
    let emptied = gc(&data_dir, now, false).await.unwrap();
    assert_eq!(count(&emptied, "trash"), 1);
    assert!(!trash.exists());
    let nothing = gc(&data_dir, now, false).await.unwrap();
    assert!(nothing.removed.iter().all(|heap| heap.count == 0), "{nothing}");
}

#[tokio::test]
async fn a_server_applies_its_settings_with_every_sweep_and_keeps_checkpoints_for_their_time() {
    let stand = Stand::new().await;
    let job = ended(&stand).await;
    let mut config = stand.config.clone();
    config.keep.keep_checkpoints = "1d".parse().unwrap();
    let context = |config: &crate::config::Config| {
        Context::new(JobsContext {
            store: stand.store.clone(),
            blobs: stand.blobs.clone(),
            config: config.clone(),
            worker: "worker".into(),
            shutdown: CancellationToken::new(),
        })
    };
    let keeping = context(&config);
    let run = keeping.paths.run_dir(&job, 1);
    let checkpoint = write(run.join("checkpoint-3.safetensors"), "state");
    let other = write(run.join("run.json"), "{}");
    sweeper::sweep(&keeping).await.unwrap();
    assert!(
        checkpoint.exists() && !other.exists(),
        "only checkpoints are kept"
    );
    stand.store.job(&job.to_string()).await.unwrap();

    config.keep.keep_checkpoints = "0s".parse().unwrap();
    sweeper::sweep(&context(&config)).await.unwrap();
    assert!(!checkpoint.exists());
    config.keep.keep_events = "0s".parse().unwrap();
    sweeper::sweep(&context(&config)).await.unwrap();
    let row = stand.store.job(&job.to_string()).await.unwrap();
    assert!(row.events_pruned_at.is_some());
    config.keep.keep_runs = "0s".parse().unwrap();
    sweeper::sweep(&context(&config)).await.unwrap();
    assert!(stand.store.job(&job.to_string()).await.is_err());
    let result = digest::of_bytes(b"result");
    assert!(
        !stand.blobs.path(&result).exists(),
        "its result goes with the same sweep"
    );
}
