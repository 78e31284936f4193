//! Keeps pixel packs within their budget and shares them between jobs: a child gets the packs of earlier jobs, and its own are kept,
//! however the job ended.
//!
//! A failure here is logged and makes later jobs slower, but never fails this job.

use std::io;

use crate::{
    domain::id::DatasetId,
    error::{Error, Result},
    jobs::{children::paths::absolute, context::Context},
    protocol::{KnownPack, PACKS_FILE, UsedPacks},
    store::{ClaimedJob, NewPack},
};

/// Longest list that is accepted from a child.
const MAX_LIST: u64 = 1 << 20;

/// Packs that a child can use instead of decoding the originals.
pub async fn known(context: &Context, dataset: DatasetId) -> Vec<KnownPack> {
    let known = context.store.packs(dataset).await.unwrap_or_else(|error| {
        tracing::error!(%error, "cannot list the pixel packs");
        Vec::new()
    });
    let known = known.into_iter().map(|(blob, size)| KnownPack {
        path: absolute(&context.blobs.path(&blob)),
        sha256: blob,
        size,
    });
    known.collect()
}

/// Keeps what an attempt packed, and records which packs it used. Must be called while the attempt's directory exists.
pub async fn keep(context: &Context, job: &ClaimedJob) {
    if let Err(error) = try_keep(context, job).await {
        tracing::error!(job = %job.id, %error, "cannot keep a job's pixel packs");
    }
}

async fn try_keep(context: &Context, job: &ClaimedJob) -> Result<()> {
    let dir = context.paths.run_dir(&job.id, job.attempt);
    let list = dir.join(PACKS_FILE);
    let Some(packs) = tokio::task::spawn_blocking(move || read(&list))
        .await
        .map_err(Error::internal)??
    else {
        return Ok(());
    };
    let (store, dataset) = (&context.store, job.dataset.id);
    store.touch_segment_packs(dataset).await?;
    for used in &packs.used {
        store.touch_pack(dataset, used).await?;
    }
    for damaged in &packs.damaged {
        tracing::error!(%dataset, sha256 = damaged, "a pixel pack is damaged on disk; it is dropped and rebuilt when needed");
        if store.forget_pack(damaged).await? {
            context.sweep.notify_one();
        }
    }
    let budget = context.config.limits.max_pack_bytes;
    let Some(made) = packs.made.filter(|made| made.file.bytes <= budget) else {
        return Ok(());
    };
    let pin = context.blobs.pin().await;
    context.blobs.adopt(&dir, &made.file, &pin).await?;
    let new = NewPack {
        dataset,
        blob: made.file.sha256,
        size: made.size,
        bytes: made.file.bytes,
    };
    if store.keep_pack(new, budget).await? {
        context.sweep.notify_one();
    }
    Ok(())
}

/// Evicts the least recently used packs after a dataset's images were added.
pub async fn make_room(context: &Context) {
    match context
        .store
        .forget_packs_over(context.config.limits.max_pack_bytes)
        .await
    {
        Ok(true) => context.sweep.notify_one(),
        Ok(false) => {}
        Err(error) => tracing::error!(%error, "cannot evict pixel packs"),
    }
}

/// `None` if the attempt did not get that far.
fn read(list: &std::path::Path) -> io::Result<Option<UsedPacks>> {
    match std::fs::metadata(list) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(metadata) if metadata.len() > MAX_LIST => Err(io::Error::other("the list of packs is too long")),
        Ok(_) => Ok(Some(serde_json::from_slice(&std::fs::read(list)?)?)),
    }
}
