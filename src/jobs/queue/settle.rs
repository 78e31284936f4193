//! Records the end of an attempt: a model, a result, a failure, or a requeued job.

use std::sync::Arc;

use super::{activations, bases, packs, quarantine, stopping, verdict::Verdict};
use crate::{
    blobs::Pin,
    domain::{
        jobs::{
            job::JobError,
            predictions::{BatchPredictions, PredictionsFile},
        },
        models::model::DatasetLineage,
    },
    error::{Error, Kind, Result},
    jobs::{children::failure, context::Context, disk, retry::retry, sweeper},
    process::traces,
    protocol::{Artifact, FoundResult, PredictedResult, TrainResult},
    store::{ClaimedJob, Interruption, NewModel},
};

/// Records how the attempt ended, and removes the job's directory if that was its end.
pub async fn settle(context: &Arc<Context>, job: &ClaimedJob, verdict: Verdict) {
    tracing::info!(job = %job.id, attempt = job.attempt, verdict = verdict.word(), "an attempt has ended");
    let store = &context.store;
    // After a crash, caches are kept before the next attempt, which would compute them again; otherwise after the job's end, because nobody
    // waits for them. A stopping server has no time for this.
    let died = matches!(verdict, Verdict::Died(_) | Verdict::DeviceLost(_));
    let has_time = !matches!(verdict, Verdict::Drained | Verdict::DiskFull | Verdict::Lost);
    if died {
        packs::keep(context, job).await;
    }
    match verdict {
        Verdict::Trained(result) => complete(context, job, *result).await,
        Verdict::Found(found) => complete_found(context, job, found).await,
        Verdict::Predicted(predicted) => complete_predictions(context, job, &predicted).await,
        Verdict::Failed(error) => fail(context, job, error).await,
        Verdict::Died(error) => interrupt(context, job, Interruption::Died(error)).await,
        Verdict::DeviceLost(error) => {
            // A device that works again at once did not fail by itself: the job is what fails there, and not for ever.
            let why = match quarantine::is_well_again(context, &job.device, &error).await {
                true => Interruption::Died(error),
                false => Interruption::Drained,
            };
            interrupt(context, job, why).await;
        }
        Verdict::Drained => interrupt(context, job, Interruption::Drained).await,
        Verdict::DiskFull => try_again_with_more_room(context, job).await,
        Verdict::Cancelled => {
            let cancel = || store.finish_cancelled(job.id, job.attempt);
            retry(context, &job.id, "record that a job was cancelled", cancel).await;
        }
        Verdict::Lost => {}
    }
    if has_time && !died {
        packs::keep(context, job).await;
    }
    forget_if_ended(context, job).await;
}

/// Moves the model's files into the blobs, then inserts the model and ends the job in one transaction.
async fn complete(context: &Context, job: &ClaimedJob, result: TrainResult) {
    let store = &context.store;
    if !has_room(context, job).await {
        return;
    }
    let pin = context.blobs.pin().await;
    let files: Vec<&Artifact> = [&result.weights, &result.card_file]
        .into_iter()
        .chain(&result.base)
        .chain(&result.evaluation)
        .collect();
    let adopted = match bases::check(context, &result).await {
        Ok(()) => adopt(context, job, &files, &pin).await,
        gone => gone,
    };
    if let Err(error) = adopted {
        drop(pin);
        return not_adopted(context, job, error).await;
    }
    let id = job.id.to_string();
    let row = retry(context, &job.id, "read a job's row", || store.job(&id)).await;
    let Some(row) = row else { return };
    let dataset = result.card.dataset.as_ref().map(DatasetLineage::version_of);
    let model = NewModel {
        name: row.name,
        card: result.card,
        sha256: result.weights.sha256,
        bytes: result.weights.bytes,
        card_blob: result.card_file.sha256,
        evaluation_blob: result.evaluation.map(|evaluation| evaluation.sha256),
    };
    let complete = async || {
        let completed = store.complete_job(job.id, job.attempt, model.clone(), result.stop_reason);
        disk::full_apart(completed.await)
    };
    match retry(context, &job.id, "record a model", complete).await {
        Some(Ok(None)) => cancel_after_all(context, job).await,
        Some(Err(full)) => {
            drop(pin);
            return not_adopted(context, job, full).await;
        }
        _ => {}
    }
    // After the job's end: nobody waits for this.
    let Some(dataset) = dataset else { return };
    for used in result.activations {
        activations::keep(context, job, &dataset, used, &pin).await;
    }
}

async fn complete_predictions(context: &Context, job: &ClaimedJob, predicted: &PredictedResult) {
    let file = |artifact: &Artifact| PredictionsFile {
        sha256: artifact.sha256.clone(),
        bytes: artifact.bytes,
    };
    let predictions = BatchPredictions {
        href: BatchPredictions::href(job.id),
        images: predicted.images,
        errors: predicted.errors,
        jsonl: file(&predicted.jsonl),
        csv: file(&predicted.csv),
    };
    let files = [&predicted.jsonl, &predicted.csv];
    complete_without_model(context, job, &files, Some(predictions)).await;
}

async fn complete_found(context: &Context, job: &ClaimedJob, found: FoundResult) {
    let pin = complete_without_model(context, job, &[&found.file], None).await;
    // After the job's end: nobody waits for this.
    let Some(pin) = pin else { return };
    for used in found.activations {
        activations::keep(context, job, &job.dataset, used, &pin).await;
    }
}

/// The same for a job that does not create a model. The first file is its result. None where it could not be stored.
async fn complete_without_model(
    context: &Context,
    job: &ClaimedJob,
    files: &[&Artifact],
    predictions: Option<BatchPredictions>,
) -> Option<Pin> {
    if !has_room(context, job).await {
        return None;
    }
    let pin = context.blobs.pin().await;
    if let Err(error) = adopt(context, job, files, &pin).await {
        drop(pin);
        not_adopted(context, job, error).await;
        return None;
    }
    let digest = &files[0].sha256;
    let complete = async || {
        let (digest, predictions) = (digest.clone(), predictions.clone());
        let completed = context
            .store
            .complete_job_without_model(job.id, job.attempt, digest, predictions);
        disk::full_apart(completed.await)
    };
    match retry(context, &job.id, "record a job's result", complete).await {
        Some(Ok(false)) => {
            cancel_after_all(context, job).await;
            None
        }
        Some(Err(full)) => {
            drop(pin);
            not_adopted(context, job, full).await;
            None
        }
        _ => Some(pin),
    }
}

/// Waits until the database is writable, before anything is pinned. False if the job was ended meanwhile, or the server stops: then its
/// next attempt resumes from its last checkpoint.
async fn has_room(context: &Context, job: &ClaimedJob) -> bool {
    let stop = stopping::stopped(context, job);
    let probe = || context.store.check_writable();
    match disk::when_there_is_room(context, &job.id, stop, probe).await {
        // Any other database error shows up in the write itself.
        Some(_) => true,
        None if context.shutdown.is_cancelled() => {
            interrupt(context, job, Interruption::Drained).await;
            false
        }
        None => {
            cancel_after_all(context, job).await;
            false
        }
    }
}

/// Stores the worker's files as blobs.
async fn adopt(context: &Context, job: &ClaimedJob, artifacts: &[&Artifact], pin: &Pin) -> Result<()> {
    let dir = context.paths.run_dir(&job.id, job.attempt);
    for artifact in artifacts {
        context.blobs.adopt(&dir, artifact, pin).await?;
    }
    Ok(())
}

/// The worker's files could not be stored. Nothing may be pinned now, because this may wait.
async fn not_adopted(context: &Context, job: &ClaimedJob, error: Error) {
    tracing::error!(job = %job.id, %error, "cannot store a worker's files");
    match error.kind() {
        Kind::DiskFull => try_again_with_more_room(context, job).await,
        _ => {
            let crashed = failure::of_adoption();
            interrupt(context, job, Interruption::Died(crashed)).await;
        }
    }
}

/// Requeues the job, to resume from its last checkpoint, once the disk has more room. That does not count as a crash.
async fn try_again_with_more_room(context: &Context, job: &ClaimedJob) {
    disk::until_there_is_more_room(context, &job.id, stopping::stopped(context, job)).await;
    interrupt(context, job, Interruption::Drained).await;
}

async fn fail(context: &Context, job: &ClaimedJob, error: JobError) {
    let fail = || context.store.fail_job(job.id, job.attempt, error.clone());
    let failed = retry(context, &job.id, "record that a job failed", fail).await;
    if failed == Some(false) {
        cancel_after_all(context, job).await;
    }
}

async fn interrupt(context: &Context, job: &ClaimedJob, why: Interruption) {
    let interrupt = || context.store.interrupt_job(job.id, job.attempt, why.clone());
    retry(context, &job.id, "requeue a job", interrupt).await;
}

/// A job that could not be ended was cancelled while its child finished, or no longer belongs to this attempt; then this has no effect.
async fn cancel_after_all(context: &Context, job: &ClaimedJob) {
    let cancel = || context.store.finish_cancelled(job.id, job.attempt);
    retry(context, &job.id, "record that a job was cancelled", cancel).await;
}

/// The directory of an unfinished job is kept, because its next attempt resumes from the checkpoints there. That of an ended one has only
/// checkpoints, if those are kept for a while.
async fn forget_if_ended(context: &Context, job: &ClaimedJob) {
    match context.store.job(&job.id.to_string()).await {
        Ok(row) if row.status.is_end() => traces::job_ended(&row, job.trace.as_ref()),
        // It was deleted.
        Err(error) if error.kind() == Kind::NotFound => {}
        _ => return,
    }
    let age = context.config.keep.keep_checkpoints;
    if sweeper::keeps_checkpoints(&context.store, age, job.id)
        .await
        .unwrap_or(true)
    {
        return sweeper::keep_checkpoints(&context.paths, job.id).await;
    }
    let (paths, id) = (context.paths.clone(), job.id);
    let removed = tokio::task::spawn_blocking(move || paths.forget_when_left(&id)).await;
    if let Ok(Err(error)) = removed {
        tracing::warn!(job = %job.id, %error, "cannot remove a job's directory; the next sweep retries");
    }
}
