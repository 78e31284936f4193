//! Reading archives.

use bytes::Bytes;

use super::*;
use crate::domain::{datasets::dataset::DatasetStatus, id::DatasetId};

const READY: &str = r#"
    for file in manifest images pack report; do printf "$file of $(basename "$(dirname "$PWD")")" > $file; done
    result '{"outcome":"ingested","layout":"flat","images":2,"content_sha256":"c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0",
        "classes":[{"name":"ants","index":0,"images":1},{"name":"bees","index":1,"images":1}],
        "splits":{"train":2,"val":0,"test":0},
        "report":{"used":2,"skipped":0,"ignored":0,"duplicates":0,"leaks":0,"warnings":[]},
        "manifest":'"$(artifact manifest)"',"images_file":'"$(artifact images)"',"pack":'"$(artifact pack)"',"report_entries":'"$(artifact report)"'}'
"#;

/// An archive that is durable and waits to be read.
async fn uploaded(stand: &Stand, name: &str) -> DatasetId {
    let mut writer = stand.blobs.spool();
    writer
        .write(Bytes::from(format!("archive {name}")))
        .await
        .unwrap();
    let spooled = writer.finish().await.unwrap();
    let sha256 = spooled.sha256.clone();
    let pin = stand.blobs.pin().await;
    stand.blobs.keep(spooled, &pin).await.unwrap();
    stand.upload(name, sha256).await
}

#[tokio::test]
async fn an_archive_becomes_a_dataset() {
    let stand = Stand::new().await;
    let first = uploaded(&stand, "flowers").await;
    let ingest = format!(
        r#"cp run.json "$here/run.json"; cp "$(sed -n 's/.*"archive": "\(.*\)",/\1/p' run.json)" "$here/archive"; {READY}"#
    );
    let running = Running::start(&stand, worker(&stand, "", &ingest));
    let row = stand
        .until_dataset(first, |row| row.status != DatasetStatus::Processing)
        .await;
    assert_eq!(
        (row.status, row.images, row.classes.len()),
        (DatasetStatus::Ready, 2, 2)
    );
    let files = stand.store.version_files(first, 1).await.unwrap().unwrap();
    let manifest = std::fs::read_to_string(stand.blobs.path(&files.manifest)).unwrap();
    assert_eq!(manifest, format!("manifest of {first}"));
    assert_eq!(
        std::fs::read_to_string(stand.beside("archive")).unwrap(),
        "archive flowers"
    );
    let run = copied_run(&stand);
    assert_eq!((&run["kind"], &run["pack_side"]), (&json!("ingest"), &json!(256)));
    assert_eq!(files.segments[0].files.pack_side, 256);
    // The next one needs a signal, not a restart.
    let second = uploaded(&stand, "trees").await;
    stand
        .until_dataset(second, |row| row.status == DatasetStatus::Ready)
        .await;
    running.stop().await;
    let runs = stand.config.data_dir.join("runs");
    assert_eq!(std::fs::read_dir(runs).unwrap().count(), 0);
}

#[tokio::test]
async fn what_cannot_be_used_says_why_and_keeps_its_report() {
    let stand = Stand::new().await;
    let id = uploaded(&stand, "flowers").await;
    let ingest = r#"
        printf 'entries' > report
        result '{"outcome":"refused","code":"no_images","message":"there is no image in it",
            "report":{"used":0,"skipped":3,"ignored":0,"duplicates":0,"leaks":0,"warnings":[]},"report_entries":'"$(artifact report)"'}'
    "#;
    let running = Running::start(&stand, worker(&stand, "", ingest));
    let row = stand
        .until_dataset(id, |row| row.status == DatasetStatus::Failed)
        .await;
    assert_eq!(row.error.unwrap().code, "no_images");
    assert_eq!(row.report.unwrap().skipped, 3);
    let report = stand.store.report_blob(id).await.unwrap().unwrap();
    assert_eq!(std::fs::read(stand.blobs.path(&report)).unwrap(), b"entries");
    running.stop().await;
}

#[tokio::test]
async fn an_archive_that_kills_its_reader_three_times_is_given_up() {
    let stand = Stand::new().await;
    let id = uploaded(&stand, "flowers").await;
    let running = Running::start(
        &stand,
        worker(
            &stand,
            "",
            r#"echo "$attempt" >> "$here/attempts"; kill -ABRT $$"#,
        ),
    );
    let row = stand
        .until_dataset(id, |row| row.status == DatasetStatus::Failed)
        .await;
    let error = row.error.unwrap();
    assert_eq!(error.code, "worker_crashed");
    assert!(error.message.contains("signal 6"), "{}", error.message);
    assert_eq!(
        std::fs::read_to_string(stand.beside("attempts")).unwrap(),
        "1\n2\n3\n"
    );
    running.stop().await;
}

#[tokio::test]
async fn deleting_a_dataset_stops_its_reader() {
    let stand = Stand::new().await;
    let id = uploaded(&stand, "flowers").await;
    let mut lifeline = stand.lifeline();
    let ingest = r#"exec 9> "$here/lifeline"; echo >&9; until_stdin_ends; exit 75"#;
    let running = Running::start(&stand, worker(&stand, "", ingest));
    lifeline.begun().await;
    stand.store.delete_dataset(id, None).await.unwrap();
    lifeline.ended().await;
    let log = running.jobs.dataset_log_path(id);
    running.stop().await;
    assert!(std::fs::read_to_string(log).unwrap().contains("asked to stop"));
    assert!(stand.store.dataset(&id.to_string()).await.is_err());
    assert_eq!(
        std::fs::read_dir(stand.config.data_dir.join("runs"))
            .unwrap()
            .count(),
        0
    );
}

#[tokio::test]
async fn an_archive_whose_reading_a_shutdown_interrupts_is_read_again() {
    let stand = Stand::new().await;
    let id = uploaded(&stand, "flowers").await;
    let mut lifeline = stand.lifeline();
    let ingest = format!(
        r#"case $attempt in 1) exec 9> "$here/lifeline"; echo >&9; until_stdin_ends; exit 75 ;; *) {READY} ;; esac"#
    );
    let worker = worker(&stand, "", &ingest);
    let first = Running::start(&stand, worker.clone());
    lifeline.begun().await;
    first.stop().await;
    let row = stand.store.dataset(&id.to_string()).await.unwrap();
    assert_eq!(row.status, DatasetStatus::Processing);
    let second = Running::start(&stand, worker);
    stand
        .until_dataset(id, |row| row.status == DatasetStatus::Ready)
        .await;
    second.stop().await;
}

#[tokio::test]
async fn an_archive_is_not_given_up_for_what_happened_to_the_server() {
    let stand = Stand::new().await;
    let id = uploaded(&stand, "flowers").await;
    // A server that was killed while it was read, again and again.
    for _ in 0..4 {
        stand.store.claim_dataset(Vec::new()).await.unwrap().unwrap();
    }
    let ingest = format!(r#"[ -e "$here/died" ] || {{ touch "$here/died"; exit 3; }}; {READY}"#);
    let running = Running::start(&stand, worker(&stand, "", &ingest));
    let row = stand
        .until_dataset(id, |row| row.status != DatasetStatus::Processing)
        .await;
    assert_eq!((row.status, row.error), (DatasetStatus::Ready, None));
    running.stop().await;
}
