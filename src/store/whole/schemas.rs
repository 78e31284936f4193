//! For tests only: a database of every released schema opens, with its rows.
//!
//! `tests/golden/schemas.sql` has rows for each migration, as the program of then wrote them, below a line `--- NNNN_name`. They are inserted
//! after their migration, and what was inserted before goes through all later ones.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use super::copies::Census;
use crate::{
    domain::{
        datasets::dataset::DatasetStatus,
        jobs::job::JobStatus,
        page::{Order, PageRequest},
    },
    files::digest,
    store::{AuditFilter, Store},
};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Text of the rows that belong to each migration.
fn rows() -> BTreeMap<i64, String> {
    let text = fs::read_to_string(path("tests/golden/schemas.sql")).unwrap();
    let parts = text.split("\n--- ").skip(1);
    let numbered = parts.map(|part| {
        let (name, sql) = part.split_once('\n').unwrap();
        (name[..4].parse().unwrap(), sql.to_owned())
    });
    numbered.collect()
}

/// A database as a program whose newest migration is this one left it.
async fn as_of(newest: i64, file: &Path, rows: &BTreeMap<i64, String>) {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .foreign_keys(true);
    let mut connection = options.connect().await.unwrap();
    let all = sqlx::migrate!();
    for migration in all.iter().filter(|migration| migration.version <= newest) {
        migrate(&mut connection, &all, migration.version).await;
        if let Some(sql) = rows.get(&migration.version) {
            sqlx::raw_sql(AssertSqlSafe(sql.clone()))
                .execute(&mut connection)
                .await
                .unwrap_or_else(|error| panic!("rows of migration {}: {error}", migration.version));
        }
    }
    connection.close().await.unwrap();
}

async fn migrate(connection: &mut SqliteConnection, all: &sqlx::migrate::Migrator, upto: i64) {
    let some = all
        .iter()
        .filter(|migration| migration.version <= upto)
        .cloned()
        .collect();
    let migrator = sqlx::migrate::Migrator::with_migrations(some);
    migrator.run(connection).await.unwrap();
}

/// What the rows of this and of all earlier migrations say, read as today.
async fn check(store: &Store, newest: i64) {
    let page = PageRequest {
        limit: 10,
        after: None,
        order: Order::Asc,
    };
    let census = store.census().await.unwrap();
    let models = if newest >= 7 { 2 } else { 1 };
    let keys = u64::from(newest >= 15);
    let expected = Census {
        datasets: 2,
        models,
        jobs: 3,
        events: 4,
        keys,
    };
    assert_eq!(census, expected);
    let flowers = store.dataset("flowers").await.unwrap();
    assert_eq!(flowers.status, DatasetStatus::Ready);
    let version = if newest >= 4 { 2 } else { 1 };
    assert_eq!((flowers.latest_version, flowers.classes.len()), (version, 2));
    let first = store.dataset_at("flowers", Some(1)).await.unwrap();
    assert_eq!((first.images, first.splits.train), (20, 20));
    assert_eq!(store.datasets(None, &page).await.unwrap().data.len(), 2);

    let jobs = store.jobs(&Default::default(), &page).await.unwrap().data;
    let statuses: Vec<JobStatus> = jobs.iter().map(|job| job.status).collect();
    assert_eq!(
        statuses,
        [JobStatus::Succeeded, JobStatus::Failed, JobStatus::Queued]
    );
    let spec = jobs[0].spec.training().unwrap();
    assert_eq!((spec.epochs, spec.seed, spec.batch_size), (2, 7, 32));
    let events = store.events(jobs[0].id, 0, 10).await.unwrap();
    assert_eq!(
        events.iter().map(|event| event.seq).collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
    let model = store.model("flowers-resnet18").await.unwrap();
    assert_eq!(model.card.classes, ["ants", "bees"]);
    assert_eq!(model.job, Some(jobs[0].id));
    assert_eq!(store.job_result(jobs[0].id).await.unwrap().is_some(), newest >= 3);
    if newest >= 7 {
        let alias = store.alias("production").await.unwrap();
        assert_eq!(alias.history.len(), 1);
        assert!(store.model("imported").await.unwrap().imported_from.is_some());
    }
    if newest >= 15 {
        assert_eq!(store.key("camera-7").await.unwrap().scopes.len(), 2);
    }
    if newest >= 16 {
        assert_eq!(flowers.owner.unwrap().name.as_str(), "camera-7");
    }
    if newest >= 19 {
        let audit = store.audit(&AuditFilter::default(), &page).await.unwrap();
        assert_eq!(audit.data.len(), 1);
    }
    let named = store.referenced_blobs().await.unwrap();
    let mut expected = vec!["archive", "images", "manifest", "report", "weights", "card"];
    for (since, text) in [
        (2, "activations"),
        (3, "evaluation"),
        (4, "images 2"),
        (21, "base"),
    ] {
        expected.extend((newest >= since).then_some(text));
    }
    for text in expected {
        assert!(named.contains(&digest::of_bytes(text.as_bytes())), "{text}");
    }
    assert!(store.faults().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_database_of_every_released_schema_opens_with_its_rows() {
    let rows = rows();
    assert!(rows.len() >= 21);
    for newest in sqlx::migrate!().iter().map(|migration| migration.version) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("finetuned.db");
        as_of(newest, &file, &rows).await;
        let store = Store::open(&file).await.unwrap();
        check(&store, newest).await;
        let orphans: Vec<sqlx::sqlite::SqliteRow> = sqlx::query("pragma foreign_key_check")
            .fetch_all(&store.readers)
            .await
            .unwrap();
        assert!(orphans.is_empty(), "after migration {newest}");
        store.close().await;
        // And is as new as any from now on.
        Store::open_beside(&file).await.unwrap().close().await;
    }
}

#[tokio::test]
async fn a_database_of_a_newer_schema_is_refused_in_a_line_that_says_what_to_do_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("finetuned.db");
    Store::open(&file).await.unwrap().close().await;
    let options = SqliteConnectOptions::new().filename(&file);
    let mut connection = options.connect().await.unwrap();
    let newer = Store::newest_migration() + 1;
    sqlx::query(
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
        values ($1, 'of tomorrow', 1, x'00', 0)",
    )
    .bind(newer)
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    let before = digest::of_file(&file).unwrap();
    let refused = format!("{:#}", Store::open(&file).await.err().unwrap());
    assert_eq!(refused.lines().count(), 1, "{refused}");
    for part in [
        "a newer version of finetuned",
        &format!("migration {newer}"),
        "start that version",
    ] {
        assert!(refused.contains(part), "{refused}");
    }
    assert_eq!(digest::of_file(&file).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// A database records the digest of each migration that it went through, and refuses a program in which it differs.
#[test]
fn migrations_that_were_released_never_change() {
    let released = fs::read_to_string(path("tests/golden/migrations.sha256")).unwrap();
    let rows = rows();
    assert!(released.lines().count() >= 21);
    for line in released.lines() {
        let (expected, name) = line.split_once("  ").unwrap();
        let (found, _) = digest::of_file(&path("migrations").join(name)).unwrap();
        assert_eq!(
            found, expected,
            "{name} was released: write another migration instead"
        );
        let number: i64 = name[..4].parse().unwrap();
        assert!(
            rows.contains_key(&number),
            "tests/golden/schemas.sql has no rows of {name}"
        );
    }
}
