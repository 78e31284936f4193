//! Caches activations of frozen stages across jobs: a training child gets those of earlier jobs, and its own are kept.
//!
//! A failure here is logged and makes later jobs slower, but never fails this job.

use crate::{
    blobs::Pin,
    domain::{id::DatasetId, jobs::job::DatasetVersion},
    error::Result,
    jobs::{children::paths::absolute, context::Context},
    protocol::{KnownActivations, UsedActivations},
    store::{ClaimedJob, NewActivations},
};

/// Activations that a child can use instead of computing them.
pub async fn known(context: &Context, dataset: DatasetId) -> Vec<KnownActivations> {
    let known = context.store.activations(dataset).await.unwrap_or_else(|error| {
        tracing::error!(%error, "cannot list the cached activations");
        Vec::new()
    });
    let known = known.into_iter().map(|(key, blob)| KnownActivations {
        key,
        path: absolute(&context.blobs.path(&blob)),
    });
    known.collect()
}

/// Keeps what an attempt computed, or records that it used cached ones. Must be called while the attempt's directory exists.
pub async fn keep(
    context: &Context,
    job: &ClaimedJob,
    dataset: &DatasetVersion,
    used: UsedActivations,
    pin: &Pin,
) {
    if let Err(error) = try_keep(context, job, dataset, used, pin).await {
        tracing::error!(job = %job.id, %error, "cannot keep the activations of a job");
    }
}

async fn try_keep(
    context: &Context,
    job: &ClaimedJob,
    dataset: &DatasetVersion,
    used: UsedActivations,
    pin: &Pin,
) -> Result<()> {
    let Some(file) = used.file else {
        return context.store.touch_activations(&used.key).await;
    };
    let dir = context.paths.run_dir(&job.id, job.attempt);
    context.blobs.adopt(&dir, &file, pin).await?;
    let new = NewActivations {
        key: used.key,
        dataset: dataset.clone(),
        blob: file.sha256,
        bytes: file.bytes,
    };
    let budget = context.config.limits.max_activation_bytes;
    if context.store.keep_activations(new, budget).await? {
        context.sweep.notify_one();
    }
    Ok(())
}
