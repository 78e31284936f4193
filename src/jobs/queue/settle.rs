//! The end of an attempt as rows: a model, a result, a failure, a place in the queue.

use super::{activations, packs, stopping, verdict::Verdict};
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
    jobs::{children::failure, context::Context, disk, insist::insist},
    protocol::{Artifact, PredictedResult, TrainResult},
    store::{ClaimedJob, Interruption, NewModel},
};

/// Writes down what became of the job, and removes its folder if that was its end.
pub async fn settle(context: &Context, job: &ClaimedJob, verdict: Verdict) {
    tracing::info!(job = %job.id, attempt = job.attempt, verdict = verdict.word(), "an attempt is over");
    let store = &context.store;
    // Of an attempt that died they are kept before another can begin, which would make them again; otherwise after the job's end,
    // because nobody waits for them. A server that is about to stop has no time for them.
    let died = matches!(verdict, Verdict::Died(_));
    let has_time = !matches!(verdict, Verdict::Drained | Verdict::DiskFull | Verdict::Lost);
    if died {
        packs::keep(context, job).await;
    }
    match verdict {
        Verdict::Trained(result) => complete(context, job, *result).await,
        Verdict::Found(found) => complete_without_model(context, job, &[&found], None).await,
        Verdict::Predicted(predicted) => complete_predictions(context, job, &predicted).await,
        Verdict::Failed(error) => fail(context, job, error).await,
        Verdict::Died(error) => interrupt(context, job, Interruption::Died(error)).await,
        Verdict::Drained => interrupt(context, job, Interruption::Drained).await,
        Verdict::DiskFull => try_again_with_more_room(context, job).await,
        Verdict::Cancelled => {
            let cancel = || store.finish_cancelled(job.id, job.attempt);
            insist(context, &job.id, "write down that a job was cancelled", cancel).await;
        }
        Verdict::Lost => {}
    }
    if has_time && !died {
        packs::keep(context, job).await;
    }
    forget_if_ended(context, job).await;
}

/// Takes the model's files over, then makes its row and ends the job in one act.
async fn complete(context: &Context, job: &ClaimedJob, result: TrainResult) {
    let store = &context.store;
    if !has_room(context, job).await {
        return;
    }
    let pin = context.blobs.pin().await;
    let files: Vec<&Artifact> = [&result.weights, &result.card_file]
        .into_iter()
        .chain(&result.evaluation)
        .collect();
    if let Err(error) = adopt(context, job, &files, &pin).await {
        drop(pin);
        return not_adopted(context, job, error).await;
    }
    let id = job.id.to_string();
    let row = insist(context, &job.id, "read a job's row", || store.job(&id)).await;
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
    match insist(context, &job.id, "write down a model", complete).await {
        Some(Ok(None)) => cancel_after_all(context, job).await,
        Some(Err(full)) => {
            drop(pin);
            return not_adopted(context, job, full).await;
        }
        _ => {}
    }
    // After the job's end: nobody waits for it.
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

/// The same for a job that makes no model. The first file is what it found.
async fn complete_without_model(
    context: &Context,
    job: &ClaimedJob,
    files: &[&Artifact],
    predictions: Option<BatchPredictions>,
) {
    if !has_room(context, job).await {
        return;
    }
    let pin = context.blobs.pin().await;
    if let Err(error) = adopt(context, job, files, &pin).await {
        drop(pin);
        return not_adopted(context, job, error).await;
    }
    let digest = &files[0].sha256;
    let complete = async || {
        let (digest, predictions) = (digest.clone(), predictions.clone());
        let completed = context
            .store
            .complete_job_without_model(job.id, job.attempt, digest, predictions);
        disk::full_apart(completed.await)
    };
    match insist(context, &job.id, "write down what a job found", complete).await {
        Some(Ok(false)) => cancel_after_all(context, job).await,
        Some(Err(full)) => {
            drop(pin);
            not_adopted(context, job, full).await;
        }
        _ => {}
    }
}

/// Waits until the database can be written, before anything is pinned. False where the job was given its end meanwhile, or the server
/// stops: then its next attempt goes on from its last checkpoint.
async fn has_room(context: &Context, job: &ClaimedJob) -> bool {
    let stop = stopping::stopped(context, job);
    let probe = || context.store.check_writable();
    match disk::when_there_is_room(context, &job.id, stop, probe).await {
        // What else is wrong with the database shows with the act itself.
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

/// Takes over what the worker made.
async fn adopt(context: &Context, job: &ClaimedJob, artifacts: &[&Artifact], pin: &Pin) -> Result<()> {
    let dir = context.paths.run_dir(&job.id, job.attempt);
    for artifact in artifacts {
        context.blobs.adopt(&dir, artifact, pin).await?;
    }
    Ok(())
}

/// What the worker made could not be taken over. Nothing may be pinned now, because this may wait.
async fn not_adopted(context: &Context, job: &ClaimedJob, error: Error) {
    tracing::error!(job = %job.id, %error, "cannot take over what a worker made");
    match error.kind() {
        Kind::DiskFull => try_again_with_more_room(context, job).await,
        _ => {
            let crashed = failure::of_adoption();
            interrupt(context, job, Interruption::Died(crashed)).await;
        }
    }
}

/// The job begins another attempt, from its last checkpoint, once the disk has more room than now. That is not counted as a death.
async fn try_again_with_more_room(context: &Context, job: &ClaimedJob) {
    disk::until_there_is_more_room(context, &job.id, stopping::stopped(context, job)).await;
    interrupt(context, job, Interruption::Drained).await;
}

async fn fail(context: &Context, job: &ClaimedJob, error: JobError) {
    let fail = || context.store.fail_job(job.id, job.attempt, error.clone());
    let failed = insist(context, &job.id, "write down that a job failed", fail).await;
    if failed == Some(false) {
        cancel_after_all(context, job).await;
    }
}

async fn interrupt(context: &Context, job: &ClaimedJob, why: Interruption) {
    let interrupt = || context.store.interrupt_job(job.id, job.attempt, why.clone());
    insist(context, &job.id, "put a job back into the queue", interrupt).await;
}

/// A job that could not be given its end was cancelled while its child finished, or is no longer ours; then this changes nothing.
async fn cancel_after_all(context: &Context, job: &ClaimedJob) {
    let cancel = || context.store.finish_cancelled(job.id, job.attempt);
    insist(context, &job.id, "write down that a job was cancelled", cancel).await;
}

/// While a job is unfinished its folder stays, because its next attempt goes on from the checkpoints there.
async fn forget_if_ended(context: &Context, job: &ClaimedJob) {
    let ended = match context.store.job(&job.id.to_string()).await {
        Ok(row) => row.status.is_end(),
        Err(error) => error.kind() == Kind::NotFound,
    };
    if !ended {
        return;
    }
    let (paths, id) = (context.paths.clone(), job.id);
    let removed = tokio::task::spawn_blocking(move || paths.forget(&id)).await;
    if let Ok(Err(error)) = removed {
        tracing::warn!(job = %job.id, %error, "cannot remove the folder of a job; the next sweep tries again");
    }
}
