//! A data directory knows its database, keeps for a while what nothing needs any more, and is its owner's alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

use crate::support::{
    Api, Server, patience::wait_until, patience::wait_until_no_work_is_left, pictures, program::Program,
};

/// Files of a data directory with their sizes, times and modes; the lock is whoever's looks.
fn tree(root: &Path) -> BTreeMap<PathBuf, (u64, i64, u32)> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        // What a server that runs takes away meanwhile is not there.
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let Ok(metadata) = path.symlink_metadata() else {
                continue;
            };
            if metadata.is_dir() {
                folders.push(path.clone());
            }
            files.insert(
                path,
                (
                    metadata.len(),
                    metadata.mtime_nsec() + metadata.mtime(),
                    metadata.mode(),
                ),
            );
        }
    }
    files
}

fn names(folders: impl IntoIterator<Item = PathBuf>) -> BTreeSet<String> {
    let entries = folders
        .into_iter()
        .flat_map(|folder| fs::read_dir(folder).into_iter().flatten());
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn blobs(data: &Path) -> BTreeSet<String> {
    let folders = fs::read_dir(data.join("blobs")).unwrap();
    names(folders.map(|folder| folder.unwrap().path()))
}

fn trash(data: &Path) -> BTreeSet<String> {
    names([data.join("trash")])
}

async fn run(arguments: &[&str], data: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_finetuned"));
    command
        .args(arguments)
        .arg("--data-dir")
        .arg(data)
        .env("FINETUNED_WORKER", env!("CARGO_BIN_EXE_finetuned-worker"))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    timeout(Duration::from_secs(60), command.output())
        .await
        .expect("it goes on")
        .unwrap()
}

/// Starts the server, which has to refuse and to leave everything as it is; what it says, which is one line.
async fn refused(data: &Path) -> String {
    let before = tree(data);
    let output = run(
        &[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--offline",
            "--min-free-bytes",
            "0",
        ],
        data,
    )
    .await;
    assert!(!output.status.success());
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "",
        "it said that it listens"
    );
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert_eq!(tree(data), before, "{errors}");
    errors
}

async fn adopt(data: &Path) -> String {
    let output = run(&["adopt"], data).await;
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

async fn fsck(data: &Path, arguments: &[&str]) -> (bool, Value) {
    let output = run(&[&["fsck", "--json"][..], arguments].concat(), data).await;
    assert!(output.stderr.is_empty(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], output.status.success(), "{report:#}");
    (output.status.success(), report)
}

/// Changes rows behind the server's back.
async fn sql(data: &Path, statements: &[&str]) {
    let options = SqliteConnectOptions::new().filename(data.join("finetuned.db"));
    let mut connection = options.connect().await.unwrap();
    for statement in statements {
        sqlx::query(sqlx::AssertSqlSafe((*statement).to_owned()))
            .execute(&mut connection)
            .await
            .unwrap();
    }
    connection.close().await.unwrap();
}

fn keep_database(data: &Path) -> Vec<u8> {
    fs::read(data.join("finetuned.db")).unwrap()
}

/// As the documentation says it: with the log of writes out of the way.
fn put_database(data: &Path, bytes: &[u8]) {
    for log in ["finetuned.db-wal", "finetuned.db-shm"] {
        let _ = fs::remove_file(data.join(log));
    }
    fs::write(data.join("finetuned.db"), bytes).unwrap();
}

async fn upload(server: &Server, name: &str, classes: usize) {
    server.api.upload(name, pictures::flat_archive(classes, 4)).await;
}

/// A data directory that a server has left, with one dataset; its database of then, and now with two.
async fn used() -> (TempDir, Vec<u8>, Vec<u8>) {
    let server = Server::start().await;
    upload(&server, "first", 2).await;
    wait_until_no_work_is_left(&server).await;
    let data = server.stop().await;
    let older = keep_database(data.path());
    let server = Server::on(data, |_| {}).await;
    upload(&server, "second", 3).await;
    wait_until_no_work_is_left(&server).await;
    let data = server.stop().await;
    let newer = keep_database(data.path());
    (data, older, newer)
}

async fn datasets(api: &Api) -> Vec<String> {
    let list = api.get("/v1/datasets?order=asc").await.expect(200).json();
    let list = list["data"].as_array().unwrap();
    list.iter()
        .map(|dataset| dataset["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_belong_to_the_files_is_refused_and_nothing_is_touched() {
    let (data, older, newer) = used().await;
    let data_dir = data.path();
    let all = blobs(data_dir);
    assert!(all.len() >= 10, "{all:?}");
    let other = Server::start().await.stop().await;
    let other = keep_database(other.path());
    let rows = [
        "delete from datasets",
        "delete from dataset_versions",
        "delete from segments",
    ];
    let cases: [(&str, &str); 7] = [
        ("missing", "finetuned.db is missing"),
        ("empty", "finetuned.db is empty"),
        ("text", "not a database of finetuned"),
        ("older", "older than the files"),
        ("other", "another data directory"),
        ("without rows", "knows nothing of"),
        (
            "by a newer version",
            "made by a newer version of finetuned (migration 999",
        ),
    ];
    for (case, expected) in cases {
        put_database(data_dir, &newer);
        match case {
            "missing" => fs::remove_file(data_dir.join("finetuned.db")).unwrap(),
            "empty" => put_database(data_dir, b""),
            "text" => put_database(
                data_dir,
                &b"no database at all, and long enough for one. ".repeat(200),
            ),
            "older" => put_database(data_dir, &older),
            "other" => put_database(data_dir, &other),
            "without rows" => sql(data_dir, &rows).await,
            _ => {
                let newer =
                    "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
                    values (999, 'of tomorrow', 1, x'00', 0)";
                sql(data_dir, &[newer]).await;
            }
        }
        let errors = refused(data_dir).await;
        assert!(errors.contains(expected), "{case}: {errors}");
        if case == "without rows" {
            let count = all.len();
            let expected = format!("nothing of {count} of the {count} files");
            assert!(errors.contains(&expected), "{errors}");
        }
        if case != "by a newer version" {
            for way in [
                "Restore the database",
                "finetuned adopt --data-dir",
                "empty --data-dir",
            ] {
                assert!(errors.contains(way), "{case}: {errors}");
            }
        }
        assert_eq!(blobs(data_dir), all, "{case}");
        let (ok, report) = fsck(data_dir, &[]).await;
        assert!(!ok, "{case}: {report:#}");
    }
    put_database(data_dir, &newer);
    let server = Server::on(data, |_| {}).await;
    assert_eq!(datasets(&server.api).await, ["first", "second"]);
    assert_eq!(blobs(&server.data_dir()), all);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_made_while_the_server_ran_is_known_for_older_after_a_kill_too() {
    let data = tempfile::tempdir().unwrap();
    let program = Program::start(data.path());
    let generation = || -> u64 {
        let text = fs::read(data.path().join("IDENTITY.json")).unwrap();
        serde_json::from_slice::<Value>(&text).unwrap()["generation"]
            .as_u64()
            .unwrap()
    };
    let backup = data.path().join("backup");
    sql(data.path(), &[&format!("vacuum into '{}'", backup.display())]).await;
    let (before, backup_bytes) = (generation(), fs::read(&backup).unwrap());
    fs::remove_file(backup).unwrap();
    program
        .api
        .put("/v1/datasets?name=late", pictures::flat_archive(2, 4))
        .await
        .expect(201);
    program.api.get("/v1/datasets/late?wait=60").await.expect(200);
    wait_until("the generation moves on", async || generation() > before).await;
    program.kill();
    put_database(data.path(), &backup_bytes);
    let errors = refused(data.path()).await;
    assert!(errors.contains("older than the files"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn adopting_an_older_database_keeps_the_rest_and_finds_it_again() {
    let (data, older, newer) = used().await;
    let all = blobs(data.path());
    put_database(data.path(), &older);
    let told = adopt(data.path()).await;
    assert!(told.contains("moved to trash/"), "{told}");
    let (kept, aside) = (blobs(data.path()), trash(data.path()));
    assert!(!kept.is_empty() && !aside.is_empty() && kept.is_disjoint(&aside));
    assert_eq!(kept.union(&aside).cloned().collect::<BTreeSet<_>>(), all);

    let server = Server::on(data, |_| {}).await;
    assert_eq!(datasets(&server.api).await, ["first"]);
    server.api.get("/v1/datasets/first/archive").await.expect(200);
    let data = server.stop().await;
    assert_eq!(trash(data.path()), aside, "a start takes nothing before its time");

    // A folder goes a moment after whoever worked in it.
    let runs = data.path().join("runs");
    wait_until("nobody works there any more", async || {
        fs::read_dir(&runs).unwrap().next().is_none()
    })
    .await;
    put_database(data.path(), &newer);
    let errors = refused(data.path()).await;
    assert!(errors.contains("another data directory"), "{errors}");
    let told = adopt(data.path()).await;
    assert!(told.contains("restored from trash/"), "{told}");
    assert_eq!((blobs(data.path()), trash(data.path())), (all, BTreeSet::new()));
    let server = Server::on(data, |_| {}).await;
    assert_eq!(datasets(&server.api).await, ["first", "second"]);
    server.api.get("/v1/datasets/second/archive").await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn adopting_without_a_database_begins_an_empty_one() {
    let (data, _, _) = used().await;
    let all = blobs(data.path());
    fs::remove_file(data.path().join("finetuned.db")).unwrap();
    let told = adopt(data.path()).await;
    assert!(told.contains("there was no database"), "{told}");
    assert_eq!((blobs(data.path()), trash(data.path())), (BTreeSet::new(), all));
    let server = Server::on(data, |_| {}).await;
    assert!(datasets(&server.api).await.is_empty());
    let output = run(&["adopt"], &server.data_dir()).await;
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && errors.contains("another finetuned server"),
        "{errors}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_an_earlier_version_gets_its_identity_in_silence_if_its_rows_know_its_files() {
    let (data, older, newer) = used().await;
    let all = blobs(data.path());
    let before = [
        "drop table data_directory",
        "drop table released_blobs",
        "drop table keys",
        "drop table key_changes",
        "alter table datasets drop column deaths",
        "alter table datasets drop column options",
        "alter table datasets drop column pending_options",
        "alter table uploads drop column options",
        "alter table uploads drop column name_is_derived",
        "alter table packs drop column bicubic",
        "alter table jobs drop column trace_parent",
        "drop index models_on_a_base",
        "alter table models drop column base_bytes",
        "alter table models drop column base_blob",
        "alter table dataset_versions drop column several_labels",
        "alter table jobs drop column events_pruned_at",
        "drop table webhook_deliveries",
        "drop table mlflow_jobs",
        "drop table mlflow_use",
        "drop table webhooks",
        "drop table audit",
        "drop table queue_turns",
        "drop table kept_answers",
        "drop table idempotency_keys",
        "create table idempotency_keys (idempotency_key text primary key, sha256 text not null, job_id text not null, created_at bigint not null)",
        "drop index jobs_queue",
        "create index jobs_queue on jobs (status, priority desc, id)",
        "drop index datasets_owner",
        "drop index uploads_owner",
        "drop index models_owner",
        "drop index jobs_owner",
        "alter table datasets drop column added_bytes",
        "alter table datasets drop column owner_id",
        "alter table datasets drop column owner_name",
        "alter table uploads drop column owner_id",
        "alter table uploads drop column owner_name",
        "alter table jobs drop column owner_id",
        "alter table jobs drop column owner_name",
        "alter table models drop column owner_id",
        "alter table models drop column owner_name",
        "delete from _sqlx_migrations where version >= 10",
    ];
    // A backup of then, which lacks half of the files.
    put_database(data.path(), &older);
    sql(data.path(), &before).await;
    fs::remove_file(data.path().join("IDENTITY.json")).unwrap();
    assert!(
        !data.path().join("placed").exists(),
        "a stop in order leaves none"
    );
    let output = run(&["serve", "--listen", "127.0.0.1:0", "--offline"], data.path()).await;
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && errors.contains("knows nothing of"),
        "{errors}"
    );
    assert_eq!(blobs(data.path()), all);

    put_database(data.path(), &newer);
    sql(data.path(), &before).await;
    let server = Server::on(data, |_| {}).await;
    assert_eq!(datasets(&server.api).await, ["first", "second"]);
    let data = server.stop().await;
    assert_eq!((blobs(data.path()), trash(data.path())), (all, BTreeSet::new()));
    let (ok, report) = fsck(data.path(), &[]).await;
    assert!(ok, "{report:#}");
    assert!(report["identity"]["file"]["generation"].as_u64().unwrap() >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_is_kept_for_its_time_of_grace_and_then_gone() {
    let server = Server::with(|config| config.limits.blob_grace_seconds = 3600).await;
    upload(&server, "things", 2).await;
    let data_dir = server.data_dir();
    let all = blobs(&data_dir);
    server.api.delete("/v1/datasets/things").await.expect(204);
    wait_until("its blobs go to the trash", async || trash(&data_dir) == all).await;
    assert!(blobs(&data_dir).is_empty());
    // What comes again is needed again, and not kept twice.
    upload(&server, "again", 2).await;
    let again = blobs(&data_dir);
    assert!(!again.is_empty() && again.is_disjoint(&trash(&data_dir)));
    let data = server.stop().await;
    let server = Server::on(data, |config| config.limits.blob_grace_seconds = 0).await;
    wait_until("the time of the trash is up", async || {
        trash(&data_dir).is_empty()
    })
    .await;
    assert_eq!(blobs(&data_dir), again);
    server.api.get("/v1/datasets/again/archive").await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_the_owners_alone_also_those_of_before() {
    let data = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let root = data.path().join("data");
    let work = async || {
        let program = Program::start(&root);
        program
            .api
            .put("/v1/datasets?name=things", pictures::flat_archive(2, 4))
            .await;
        program.api.get("/v1/datasets/things?wait=60").await.expect(200);
        let id = program
            .api
            .get("/v1/datasets/things/images")
            .await
            .expect(200)
            .json()["data"][0]["id"]
            .clone();
        let thumbnail = format!("/v1/datasets/things/images/{id}?size=64");
        program.api.get(&thumbnail).await.expect(200);
        let open: Vec<_> = tree(&root)
            .into_iter()
            .filter(|(path, (_, _, mode))| mode & 0o077 != 0 && !path.is_symlink())
            .collect();
        assert!(open.is_empty(), "{open:?}");
        assert_eq!(root.metadata().unwrap().mode() & 0o777, 0o700);
        program.kill();
    };
    work().await;
    // As a version of before left it, and with something of somebody else's linked into it.
    let stranger = outside.path().join("file");
    fs::write(&stranger, "text").unwrap();
    std::os::unix::fs::symlink(&stranger, root.join("blobs/linked")).unwrap();
    fs::set_permissions(&stranger, Permissions::from_mode(0o644)).unwrap();
    for (path, (_, _, mode)) in tree(&root) {
        if !path.is_symlink() {
            fs::set_permissions(&path, Permissions::from_mode(mode | (mode & 0o500) >> 3 | 0o044)).unwrap();
        }
    }
    fs::set_permissions(&root, Permissions::from_mode(0o755)).unwrap();
    work().await;
    assert_eq!(stranger.metadata().unwrap().mode() & 0o777, 0o644);
}

#[tokio::test(flavor = "multi_thread")]
async fn fsck_tells_what_lies_where_and_changes_nothing() {
    let server = Server::start().await;
    upload(&server, "things", 2).await;
    wait_until_no_work_is_left(&server).await;
    let data_dir = server.data_dir();
    let all = blobs(&data_dir);
    let (ok, report) = fsck(&data_dir, &["--deep"]).await;
    assert!(ok && report["is_served"] == true, "{report:#}");
    let data = server.stop().await;
    fs::write(
        data_dir.join("uploads/upl_0123456789abcdef0123456789abcdef"),
        "left",
    )
    .unwrap();
    let before = tree(&data_dir);
    let (ok, report) = fsck(&data_dir, &["--deep"]).await;
    assert!(ok && report["is_served"] == false, "{report:#}");
    assert_eq!(report["blobs"]["present"]["count"], all.len());
    assert_eq!(report["blobs"]["unreferenced"]["count"], 0);
    assert_eq!(report["deep"]["read"], all.len());
    assert_eq!(report["uploads"]["unknown"], json!({"count": 1, "bytes": 4}));
    let generation = &report["identity"]["file"]["generation"];
    assert_eq!(generation, &report["identity"]["database"]["generation"]);
    let output = run(&["fsck"], &data_dir).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && text.ends_with("no problems found\n"),
        "{text}"
    );
    assert_eq!(tree(&data_dir), before);

    // A bit that flipped is found by reading, a file that is gone at once.
    let hurt = all.first().unwrap();
    let path = data_dir.join("blobs").join(&hurt[..2]).join(hurt);
    let mut bytes = fs::read(&path).unwrap();
    bytes[0] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(fsck(&data_dir, &[]).await.0);
    let (ok, report) = fsck(&data_dir, &["--deep"]).await;
    assert!(!ok && report["deep"]["damaged"] == json!([hurt]), "{report:#}");
    fs::remove_file(&path).unwrap();
    let (ok, report) = fsck(&data_dir, &[]).await;
    assert!(!ok && report["blobs"]["missing"] == json!([hurt]), "{report:#}");
    // In the trash it is not lost: the next start puts it back.
    bytes[0] ^= 1;
    fs::write(data_dir.join("trash").join(hurt), &bytes).unwrap();
    let (ok, report) = fsck(&data_dir, &[]).await;
    assert!(ok && report["blobs"]["missing_in_trash"] == 1, "{report:#}");
    let server = Server::on(data, |_| {}).await;
    assert_eq!(fs::read(&path).unwrap(), bytes);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fsck_reads_what_a_killed_server_left_and_leaves_it() {
    let data = tempfile::tempdir().unwrap();
    let program = Program::start(data.path());
    program
        .api
        .put("/v1/datasets?name=things", pictures::flat_archive(2, 4))
        .await
        .expect(201);
    program.api.get("/v1/datasets/things?wait=60").await.expect(200);
    program.kill();
    assert!(data.path().join("finetuned.db-wal").metadata().unwrap().len() > 0);
    let contents = |data: &Path| {
        ["finetuned.db", "finetuned.db-wal", "IDENTITY.json"].map(|file| fs::read(data.join(file)).unwrap())
    };
    let (before, bytes) = (tree(data.path()), contents(data.path()));
    let (ok, report) = fsck(data.path(), &["--deep"]).await;
    assert!(ok, "{report:#}");
    assert!(
        report["blobs"]["present"]["count"].as_u64().unwrap() >= 5,
        "{report:#}"
    );
    assert_eq!(contents(data.path()), bytes);
    assert_eq!(
        tree(data.path()).keys().collect::<Vec<_>>(),
        before.keys().collect::<Vec<_>>()
    );
    // A page of the database that is no longer one.
    let mut database = fs::read(data.path().join("finetuned.db")).unwrap();
    let middle = database.len() / 2;
    database[middle..].fill(0x5a);
    put_database(data.path(), &database);
    let (ok, report) = fsck(data.path(), &[]).await;
    assert!(!ok, "{report:#}");
}
