//! What a server that was killed has left is gone before any work is begun.

use std::{fs, path::Path};

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::{
    domain::{datasets::dataset::DatasetStatus, jobs::job::JobStatus},
    fixtures::Lifeline,
    jobs::{
        children::{paths::Paths, waited},
        context::Context,
    },
    process::{FreedMemory, lock},
    protocol::{RunSpec, Segment, ThumbnailsRun},
};

/// Somebody who lives in a folder as a child of a killed server does: out of reach of its process group, and deaf to everything.
async fn live_in(dir: &Path, lifeline: &mut Lifeline, stand: &Stand) {
    fs::create_dir_all(dir).unwrap();
    let script = format!(
        "exec 9> '{}'; setsid sh -c 'echo >&9; kill -STOP $$' & wait",
        stand.beside("lifeline").display()
    );
    let arguments = ["-c", &script].map(std::ffi::OsStr::new);
    let started = process::spawn(
        Path::new("/bin/sh"),
        &arguments,
        dir,
        FreedMemory::GivenBack,
        None,
    )
    .await;
    lifeline.begun().await;
    // Its leader goes with this, as with a server.
    drop(started.unwrap());
    assert!(lock::is_held(dir).unwrap());
}

fn paths(stand: &Stand) -> Paths {
    Paths::new(&stand.config.data_dir)
}

#[tokio::test]
async fn a_job_goes_on_only_after_its_old_worker_is_gone() {
    let (stand, _, job) = with_job(json!({"max_attempts": 1})).await;
    let claimed = stand
        .store
        .claim_job(vec!["cpu".to_owned()], false)
        .await
        .unwrap();
    assert_eq!(claimed.unwrap().id, job);
    let old = paths(&stand).run_dir(&job, 1);
    let mut lifeline = stand.lifeline();
    live_in(&old, &mut lifeline, &stand).await;
    for name in [
        "checkpoint-3.safetensors",
        "checkpoint-4.safetensors.partial",
        "pixels.pack",
    ] {
        fs::write(old.join(name), b"state").unwrap();
    }
    let train = r#"
        cp run.json "$here/run.json"; ls "$(dirname "$PWD")/1" > "$here/left"
        flock --nonblock --shared "$(dirname "$PWD")/1/LOCK" true && echo alone > "$here/alone"
        model
    "#;
    let running = Running::start(&stand, worker(&stand, train, ""));
    lifeline.ended().await;
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!((row.status, row.attempt), (JobStatus::Succeeded, 2));
    assert_eq!(
        copied_run(&stand)["checkpoints"],
        json!([old.join("checkpoint-3.safetensors")])
    );
    let read = |name: &str| fs::read_to_string(stand.beside(name)).unwrap();
    assert_eq!(read("left"), "LOCK\ncheckpoint-3.safetensors\n");
    assert_eq!(read("alone"), "alone\n");
    running.stop().await;
}

#[tokio::test]
async fn an_archive_is_read_again_only_after_its_old_reader_is_gone() {
    let stand = Stand::new().await;
    let mut writer = stand.blobs.spool();
    writer.write(Bytes::from_static(b"an archive")).await.unwrap();
    let spooled = writer.finish().await.unwrap();
    let (sha256, pin) = (spooled.sha256.clone(), stand.blobs.pin().await);
    stand.blobs.keep(spooled, &pin).await.unwrap();
    drop(pin);
    let dataset = stand.upload("flowers", sha256).await;
    stand.store.claim_dataset(Vec::new()).await.unwrap().unwrap();
    let old = paths(&stand).run_dir(&dataset, 1);
    let mut lifeline = stand.lifeline();
    live_in(&old, &mut lifeline, &stand).await;
    let ingest = r#"
        [ -e ../1 ] && echo "the old folder is still there" >&2 && exit 1
        result '{"outcome":"refused","code":"no_images","message":"there is none"}'
    "#;
    let running = Running::start(&stand, worker(&stand, "", ingest));
    lifeline.ended().await;
    let row = stand
        .until_dataset(dataset, |row| row.status != DatasetStatus::Processing)
        .await;
    assert_eq!(row.error.unwrap().code, "no_images");
    running.stop().await;
}

#[tokio::test]
async fn what_nobody_remembers_goes_at_the_start() {
    let stand = Stand::new().await;
    let paths = paths(&stand);
    let mut lifeline = stand.lifeline();
    let held = paths.runs().join("passing-held");
    live_in(&held, &mut lifeline, &stand).await;
    let made = |path: std::path::PathBuf| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, b"something").unwrap();
        path
    };
    let gone = [
        made(paths.runs().join("passing-free/run.json")),
        made(paths.logs().join("thing.log.partial")),
        held,
    ];
    let kept = [
        made(paths.runs().join("not-ours/file")),
        made(paths.logs().join("predict.log")),
    ];
    let running = Running::start(&stand, worker(&stand, "", ""));
    soon(running.jobs.0.cleared.wait()).await;
    lifeline.ended().await;
    for path in gone {
        assert!(!path.exists(), "{} is still there", path.display());
    }
    for path in kept {
        assert!(path.exists(), "{} is gone", path.display());
    }
    running.stop().await;
}

#[tokio::test]
async fn whoever_predicted_for_an_earlier_server_goes_at_the_start() {
    let stand = Stand::new().await;
    let mut lifeline = stand.lifeline();
    live_in(&stand.config.data_dir.join("predict"), &mut lifeline, &stand).await;
    let running = Running::start(&stand, worker(&stand, "", ""));
    lifeline.ended().await;
    running.stop().await;
}

#[tokio::test]
async fn a_worker_that_does_not_hear_that_it_is_cancelled_is_killed_soon() {
    let (mut stand, _, job) = with_job(json!({})).await;
    // What there is to save at a shutdown may take longer than this test.
    stand.config.limits.stop_grace_seconds = 3600;
    stand.config.limits.cancel_grace_seconds = 1;
    let running = Running::start(&stand, worker(&stand, "step 1; kill -STOP $$", ""));
    stand.until(job, |job| job.progress.is_some()).await;
    stand.store.cancel_job(job, None).await.unwrap();
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!((row.status, row.error), (JobStatus::Cancelled, None));
    running.stop().await;
}

#[tokio::test]
async fn whoever_a_worker_started_and_left_behind_is_gone_before_its_job_is_over() {
    let (stand, _, job) = with_job(json!({"max_attempts": 1})).await;
    let mut lifeline = stand.lifeline();
    let train = r#"
        exec 9> "$here/lifeline"
        mkfifo begun
        setsid sh -c 'echo >&9; echo > begun; kill -STOP $$' &
        read -r _ < begun
        model
    "#;
    let running = Running::start(&stand, worker(&stand, train, ""));
    lifeline.begun().await;
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!(row.status, JobStatus::Succeeded);
    lifeline.ended().await;
    let run_dir = running.jobs.run_dir(job, 1);
    running.stop().await;
    assert!(!run_dir.exists());
}

#[tokio::test]
async fn a_caller_who_leaves_takes_the_child_and_then_its_folder_along() {
    let stand = Stand::new().await;
    let mut lifeline = stand.lifeline();
    let script = r#"exec 9> "$here/lifeline"; echo >&9; while :; do echo > "file-$((n += 1))"; done"#;
    let context = Context::new(JobsContext {
        store: stand.store.clone(),
        blobs: stand.blobs.clone(),
        config: stand.config.clone(),
        worker: worker_doing(&stand, "thumbnails", script),
        shutdown: CancellationToken::new(),
    });
    let segment = Segment {
        number: 0,
        images: "/nowhere".into(),
        pack: "/nowhere".into(),
        pack_sha256: String::new(),
        pack_side: 1,
    };
    let thumbnails = waited::WaitedRun {
        run: RunSpec::Thumbnails(ThumbnailsRun {
            segment,
            images: Vec::new(),
            side: 1,
            threads: 1,
        }),
        deadline: std::time::Duration::from_secs(3600),
    };
    let refused = |error| waited::refusal("thumbnails-failed", error);
    let too_slow = || unreachable!("it has an hour");
    tokio::select! {
        _ = waited::run(&context, thumbnails, too_slow, refused) => panic!("it never ends"),
        () = lifeline.begun() => {}
    }
    lifeline.ended().await;
    let empty = async {
        while fs::read_dir(context.paths.runs()).unwrap().count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    soon(empty).await;
}
