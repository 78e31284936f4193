//! Databases of before, and what may be added to a dataset.

use std::path::Path;

use sqlx::{SqlitePool, migrate::Migrator, sqlite::SqliteConnectOptions};

use super::*;
use crate::{
    domain::datasets::{
        dataset::DatasetStatus,
        split::{Split, SplitCounts},
    },
    files::digest,
    fixtures::Stand,
};

/// A database as the program before versions left it.
async fn database_of_before(file: &Path) -> (DatasetId, DatasetId, String) {
    let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await.unwrap();
    let mut migrator = sqlx::migrate!();
    migrator.migrations = migrator
        .iter()
        .filter(|step| step.version <= 3)
        .cloned()
        .collect();
    Migrator::run(&migrator, &pool).await.unwrap();
    let (ready, processing) = (DatasetId::new(), DatasetId::new());
    let blob = |name: &str| digest::of_bytes(name.as_bytes());
    sqlx::query(
        "insert into datasets (id, name, status, version, created_at, sha256, bytes, attempt, images, classes, splits, layout,
            manifest_blob, images_blob, pack_blob, pack_side, report_blob)
        values ($1, 'old', 'ready', 1, 1000, $2, 7, 1, 3, $3, '{\"train\":3,\"val\":0,\"test\":0}', '\"flat\"', $4, $5, $6, 256, $7)",
    )
    .bind(ready.to_string())
    .bind(blob("archive"))
    .bind(r#"[{"name":"ants","index":0,"images":2},{"name":"bees","index":1,"images":1}]"#)
    .bind(blob("manifest"))
    .bind(blob("images"))
    .bind(blob("pack"))
    .bind(blob("report"))
    .execute(&pool)
    .await
    .unwrap();
    sqlx::query(
        "insert into datasets (id, name, status, version, created_at, sha256, bytes, attempt, images, classes, splits)
        values ($1, 'new', 'processing', 1, 1000, $2, 7, 0, 0, '[]', '{\"train\":0,\"val\":0,\"test\":0}')",
    )
    .bind(processing.to_string())
    .bind(blob("other archive"))
    .execute(&pool)
    .await
    .unwrap();
    let job = crate::domain::id::JobId::new().to_string();
    sqlx::query(
        "insert into jobs (id, kind, name, status, spec, dataset_id, dataset_version, device_choice, priority, max_attempts,
            not_before, created_at, attempt, deaths, milliseconds_used, cancel_requested)
        values ($1, 'train', 'old', 'queued', $2, $3, 1, 'auto', 0, 3, 0, 1000, 0, 0, 0, 0)",
    )
    .bind(&job)
    .bind(to_json(&crate::domain::spec::Spec::parse(&serde_json::json!({"dataset": "old"})).unwrap()).unwrap())
    .bind(ready.to_string())
    .execute(&pool)
    .await
    .unwrap();
    pool.close().await;
    (ready, processing, job)
}

#[tokio::test]
async fn a_database_of_before_versions_goes_on_working() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("finetuned.db");
    let (ready, processing, job) = database_of_before(&file).await;
    let store = Store::open(&file).await.unwrap();

    let dataset = store.dataset("old").await.unwrap();
    assert_eq!(
        (dataset.version, dataset.latest_version, dataset.images),
        (1, 1, 3)
    );
    assert_eq!((dataset.classes.len(), dataset.splits.train), (2, 3));
    assert_eq!(dataset.content_sha256, None);
    let waiting = store.dataset("new").await.unwrap();
    assert_eq!(
        (waiting.id, waiting.status, waiting.images),
        (processing, DatasetStatus::Processing, 0)
    );

    let files = store.version_files(ready, 1).await.unwrap().unwrap();
    assert_eq!(files.manifest, digest::of_bytes(b"manifest"));
    assert_eq!(
        (files.segments.len(), files.segments[0].files.pack_side),
        (1, 256)
    );
    assert_eq!(files.segments[0].files.pack, digest::of_bytes(b"pack"));
    let kept = store.referenced_blobs().await.unwrap();
    for name in ["archive", "manifest", "images", "pack", "report", "other archive"] {
        assert!(kept.contains(&digest::of_bytes(name.as_bytes())), "{name}");
    }
    let versions = store.versions(ready, &first_page()).await.unwrap();
    assert_eq!((versions.data.len(), versions.data[0].change.added), (1, 3));
    assert_eq!(store.next_of_dataset(ready).await.unwrap(), (3, 1));

    let [(id, 1, _, classes)] = &store.versions_without_digest().await.unwrap()[..] else {
        panic!("the version that has no digest is not found");
    };
    assert_eq!(classes[0].images, 2);
    let mut counted = classes.clone();
    counted[0].splits = Some(SplitCounts {
        train: 2,
        ..SplitCounts::default()
    });
    store
        .complete_version(*id, 1, "c".repeat(64), counted)
        .await
        .unwrap();
    assert_eq!(store.versions_without_digest().await.unwrap(), []);
    let dataset = store.dataset("old@1").await.unwrap();
    assert_eq!(dataset.content_sha256, Some("c".repeat(64)));
    assert_eq!(dataset.classes[0].splits.unwrap().of(Split::Train), 2);

    let claimed = store
        .claim_job(vec!["cpu".to_owned()], false)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (claimed.id.to_string(), claimed.dataset.version),
        (job.clone(), 1)
    );
    assert_eq!(
        store.job(&job).await.unwrap().dataset.content_sha256,
        Some("c".repeat(64))
    );
}

fn first_page() -> PageRequest {
    PageRequest {
        limit: 20,
        after: None,
        order: Order::Asc,
    }
}

fn next(dataset: DatasetId, version: u32, segments: Vec<u32>) -> NewVersion {
    NewVersion {
        dataset,
        version,
        change: Change::of(ChangeKind::Edit),
        images: 5,
        classes: Vec::new(),
        splits: SplitCounts::default(),
        several_labels: 0,
        content_sha256: digest::of_bytes(&version.to_be_bytes()),
        manifest: digest::of_bytes(format!("manifest {version}").as_bytes()),
        segments,
        new_segment: None,
        next_image: 20,
        added_bytes: 0,
    }
}

#[tokio::test]
async fn of_two_changes_of_one_version_one_wins_and_old_versions_stay() {
    let stand = Stand::new().await;
    let first = stand.dataset("flowers").await;
    let store = &stand.store;
    assert!(store.add_version(next(first.id, 2, vec![0])).await.unwrap());
    assert!(
        !store.add_version(next(first.id, 2, vec![0])).await.unwrap(),
        "there is a version 2"
    );
    let mut third = next(first.id, 3, vec![0, 1]);
    third.new_segment = Some(SegmentFiles {
        number: 1,
        images: digest::of_bytes(b"more images"),
        pack: digest::of_bytes(b"more pixels"),
        pack_bytes: 11,
        pack_side: 256,
    });
    assert!(store.add_version(third).await.unwrap());

    let newest = store.dataset("flowers").await.unwrap();
    assert_eq!((newest.version, newest.latest_version, newest.images), (3, 3, 5));
    let old = store.dataset("flowers@1").await.unwrap();
    assert_eq!((old.version, old.latest_version, old.images), (1, 3, 20));
    assert_eq!(old.content_sha256, first.content_sha256);
    for absent in ["flowers@4", "flowers@0", "flowers@", "flowers@x"] {
        assert!(store.dataset(absent).await.is_err(), "{absent}");
    }
    assert_eq!(store.next_of_dataset(first.id).await.unwrap(), (20, 2));
    let segments = async |version| -> Vec<u32> {
        let files = store.version_files(first.id, version).await.unwrap().unwrap();
        files
            .segments
            .iter()
            .map(|segment| segment.files.number)
            .collect()
    };
    assert_eq!((segments(2).await, segments(3).await), (vec![0], vec![0, 1]));

    store.delete_dataset(first.id, None).await.unwrap();
    assert_eq!(store.referenced_blobs().await.unwrap().len(), 0);
    assert!(
        !store.add_version(next(first.id, 4, vec![0])).await.unwrap(),
        "it is gone"
    );
}
