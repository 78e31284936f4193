//! Activations of frozen stages from job to job: a training child is told what earlier ones left, and what it made itself is kept.
//!
//! All of it is a cache. A failure here is told to the operator and costs later jobs time, never this job its model.

use crate::{
    blobs::Pin,
    domain::jobs::job::DatasetVersion,
    error::Result,
    jobs::{children::paths::absolute, context::Context},
    protocol::{KnownActivations, UsedActivations},
    store::{ClaimedJob, NewActivations},
};

/// What a child may take instead of computing it.
pub async fn known(context: &Context, dataset: &DatasetVersion) -> Vec<KnownActivations> {
    let known = context.store.activations(dataset).await.unwrap_or_else(|error| {
        tracing::error!(%error, "cannot read which activations there are");
        Vec::new()
    });
    let known = known.into_iter().map(|(key, blob)| KnownActivations {
        key,
        path: absolute(&context.blobs.path(&blob)),
    });
    known.collect()
}

/// Keeps what an attempt computed, or notes that it used what was there. To be called while the attempt's folder is there.
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
