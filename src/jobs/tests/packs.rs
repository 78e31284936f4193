//! Pixels that one attempt packed are there for the next, and for other jobs.

use serde_json::json;

use super::{Running, copied_run, worker_doing};
use crate::{
    domain::{jobs::job::JobStatus, models::preprocessing::Interpolation},
    files::digest,
    fixtures::Stand,
    protocol::PackSize,
};

/// Packs, and dies the first time.
const SCRIPT: &str = r#"
    cp run.json "$here/run.json"
    [ "$attempt" = 2 ] && { printf '{}' > lr_find.json; result '{"outcome":"found","kind":"lr_find","file":'"$(artifact lr_find.json)"'}'; exit 0; }
    printf 'pixels' > pixels.pack
    printf '{"used":[],"made":{"file":%s,"size":{"side":146,"bring_up":true}}}' "$(artifact pixels.pack)" > packs.json
    step "$attempt"
    exit 9
"#;

#[tokio::test]
async fn what_an_attempt_packed_is_kept_although_it_died() {
    let stand = Stand::new().await;
    let dataset = stand.dataset("flowers").await;
    let job = stand.submit(&dataset, json!({"kind": "lr_find"})).await;
    let running = Running::start(&stand, worker_doing(&stand, "lr_find", SCRIPT));
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!((row.status, row.attempt), (JobStatus::Succeeded, 2));
    running.stop().await;
    let sha256 = digest::of_bytes(b"pixels");
    let size = PackSize {
        side: 146,
        bring_up: true,
        interpolation: Interpolation::Bilinear,
    };
    let known = stand.store.packs(dataset.id).await.unwrap();
    assert_eq!(known, [(sha256.clone(), size)]);
    assert_eq!(std::fs::read(stand.blobs.path(&sha256)).unwrap(), b"pixels");
    assert!(stand.store.referenced_blobs().await.unwrap().contains(&sha256));
    let told = &copied_run(&stand)["train"]["dataset"]["packs"];
    assert_eq!(told[0]["sha256"], sha256, "{told:#}");
    assert_eq!(told[0]["size"], json!({"side": 146, "bring_up": true}));
}

#[tokio::test]
async fn without_room_for_packs_none_is_kept() {
    let mut stand = Stand::new().await;
    stand.config.limits.max_pack_bytes = 5;
    let dataset = stand.dataset("flowers").await;
    let job = stand.submit(&dataset, json!({"kind": "lr_find"})).await;
    let running = Running::start(&stand, worker_doing(&stand, "lr_find", SCRIPT));
    stand.until(job, |job| job.status.is_end()).await;
    running.stop().await;
    assert!(stand.store.packs(dataset.id).await.unwrap().is_empty());
    assert!(!stand.blobs.path(&digest::of_bytes(b"pixels")).exists());
}
