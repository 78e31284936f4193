//! One attempt at a job: what its child is to do, when it is to be stopped, and what its end means for the job.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    activations,
    context::Context,
    failure,
    insist::insist,
    paths::absolute,
    recorder::{self, Recorder},
    supervisor::{Outcome, Report, Run, supervise},
    weights,
};
use crate::{
    domain::{
        dataset::Dataset,
        job::{DatasetVersion, FailureCode, JobError},
        model::DatasetLineage,
    },
    error::{Kind, Result},
    process,
    protocol::{DatasetInput, RunResult, RunSpec, TrainResult, TrainRun},
    store::{ClaimedJob, DatasetFiles, Interruption, NewModel, Topic},
};

/// How often a running job is looked at although nobody said that it changed.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What becomes of the job after this attempt.
#[derive(Debug)]
enum Verdict {
    Trained(Box<TrainResult>),
    Failed(JobError),
    Died(JobError),
    Drained,
    Cancelled,
    /// It belongs to another attempt, or to nobody: nothing more is done.
    Lost,
}

/// Why a child is stopped.
#[derive(Debug)]
enum Cause {
    Shutdown,
    /// Cancelled by a person, or no longer ours: the store knows which.
    Asked,
    Lost,
    TimeLimit,
}

/// Runs one attempt of a claimed job until what came of it is written down.
pub async fn run(context: Arc<Context>, job: ClaimedJob) {
    let verdict = match prepare(&context, &job).await {
        Ok(run) if !context.shutdown.is_cancelled() => attempt(&context, &job, run).await,
        Ok(_) => Verdict::Drained,
        Err(verdict) => verdict,
    };
    settle(&context, &job, verdict).await;
}

async fn prepare(context: &Context, job: &ClaimedJob) -> Result<TrainRun, Verdict> {
    let unreadable = |error| {
        tracing::error!(job = %job.id, %error, "cannot prepare a job");
        Verdict::Died(failure::internal("the server could not prepare the job"))
    };
    let dataset = match context.store.dataset(&job.dataset.to_string()).await {
        Err(error) if error.kind() == Kind::NotFound => {
            let gone = JobError::new(FailureCode::InvalidData, "the job's dataset was deleted");
            return Err(Verdict::Failed(gone));
        }
        dataset => dataset.map_err(unreadable)?,
    };
    let faults = dataset.faults_for(&job.spec);
    if !faults.is_empty() {
        let messages: Vec<_> = faults.into_iter().map(|fault| fault.message).collect();
        let error = JobError::new(FailureCode::InvalidData, messages.join("; "));
        return Err(Verdict::Failed(error));
    }
    let files = context.store.dataset_files(dataset.id).await;
    let Some(files) = files.map_err(unreadable)? else {
        let unready = failure::internal("the dataset is not ready");
        return Err(Verdict::Died(unready));
    };
    let version = DatasetVersion {
        id: dataset.id,
        version: dataset.version,
    };
    let weights = weights::resolve(context, &job.spec).await.map_err(unreadable)?;
    let paths = context.paths.clone();
    let (id, attempt) = (job.id, job.attempt);
    let checkpoints = tokio::task::spawn_blocking(move || paths.checkpoints(id, attempt)).await;
    Ok(TrainRun {
        job: job.id,
        attempt: job.attempt,
        spec: job.spec.clone(),
        dataset: dataset_input(context, dataset, files),
        weights,
        device: job.device.clone(),
        threads: process::threads(context.config.train_threads),
        checkpoints: checkpoints.unwrap_or_default(),
        seconds_used: job.milliseconds_used as f64 / 1000.0,
        activations: activations::known(context, &version).await,
        max_activation_bytes: context.config.limits.max_activation_bytes,
    })
}

/// A dataset's files, for a child.
pub fn dataset_input(context: &Context, dataset: Dataset, files: DatasetFiles) -> DatasetInput {
    let blob = |digest: &str| absolute(&context.blobs.path(digest));
    DatasetInput {
        lineage: DatasetLineage {
            id: dataset.id,
            name: dataset.name,
            version: dataset.version,
            sha256: dataset.sha256,
        },
        classes: dataset.classes.into_iter().map(|class| class.name).collect(),
        manifest: blob(&files.manifest),
        images: blob(&files.images),
        pack: blob(&files.pack),
        pack_side: files.pack_side,
    }
}

async fn attempt(context: &Context, job: &ClaimedJob, run: TrainRun) -> Verdict {
    let (paths, id, number) = (context.paths.clone(), job.id, job.attempt);
    let run = RunSpec::Train(Box::new(run));
    let begun = tokio::task::spawn_blocking(move || paths.begin(&id, number, &run)).await;
    let dir = match begun.map_err(std::io::Error::other).flatten() {
        Ok(dir) => dir,
        Err(error) => {
            tracing::error!(job = %job.id, %error, "cannot make the folder of an attempt");
            return Verdict::Died(failure::of_disk(&error));
        }
    };
    let log = context.log(&job.id);
    log.note(&format!("attempt {number} on {}", job.device)).await;
    let (sender, receiver) = mpsc::channel(recorder::IN_FLIGHT);
    let recorder = Recorder {
        store: context.store.clone(),
        job: job.id,
        attempt: job.attempt,
        lost: CancellationToken::new(),
        shutdown: context.shutdown.clone(),
    };
    let stop = stop_cause(context, job, recorder.lost.clone());
    let run = Run {
        program: &context.worker,
        command: "train",
        dir: &dir,
        log,
        limits: &context.config.limits,
    };
    let (report, ()) = tokio::join!(supervise(&run, sender, stop), recorder.run(receiver));
    verdict(context, job, report)
}

/// Ready when the child is to be stopped.
async fn stop_cause(context: &Context, job: &ClaimedJob, lost: CancellationToken) -> Cause {
    let time_left = async {
        match time_left(context, job) {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = context.shutdown.cancelled() => Cause::Shutdown,
        () = lost.cancelled() => Cause::Lost,
        () = asked_to_stop(context, job) => Cause::Asked,
        () = time_left => Cause::TimeLimit,
    }
}

/// The worker itself keeps to `max_seconds`; this is for one that does not. It gets the time of one step and of leaving on top.
fn time_left(context: &Context, job: &ClaimedJob) -> Option<Duration> {
    let limits = &context.config.limits;
    let allowed = Duration::from_secs(job.spec.max_seconds?) + limits.step_deadline() + limits.stop_grace();
    let used = Duration::from_millis(job.milliseconds_used.max(0) as u64);
    Some(allowed.saturating_sub(used))
}

async fn asked_to_stop(context: &Context, job: &ClaimedJob) {
    let mut changed = context.store.signals().subscribe(Topic::Job(job.id));
    loop {
        match context.store.must_stop(job.id, job.attempt).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => tracing::error!(job = %job.id, %error, "cannot look at a running job"),
        }
        // A signal or the time, whichever comes first.
        let _ = tokio::time::timeout(LOOK_EVERY, changed.changed()).await;
    }
}

fn verdict(context: &Context, job: &ClaimedJob, report: Report<Cause>) -> Verdict {
    let broken = failure::of_child(&report, context.paths.data_dir());
    match report.outcome {
        Outcome::NotStarted(_) => Verdict::Failed(broken),
        // A person who was told that the job is being cancelled finds it cancelled, whether or not the child was done first.
        Outcome::Stopped {
            cause: Cause::Asked, ..
        } => Verdict::Cancelled,
        Outcome::Stopped {
            cause: Cause::Lost, ..
        } => Verdict::Lost,
        Outcome::Stopped {
            result: Some(result), ..
        }
        | Outcome::Ended {
            result: Some(result), ..
        } => match result {
            RunResult::Trained(trained) => Verdict::Trained(trained),
            RunResult::Failed { error } => Verdict::Failed(error),
            RunResult::Ingested(_) | RunResult::Rejected { .. } | RunResult::Previewed { .. } => {
                Verdict::Died(broken)
            }
        },
        Outcome::Stopped {
            cause: Cause::Shutdown,
            ..
        } => Verdict::Drained,
        Outcome::Stopped {
            cause: Cause::TimeLimit,
            ..
        } => Verdict::Failed(out_of_time(job)),
        Outcome::Ended { .. } | Outcome::Stalled(_) | Outcome::Unknown(_) => Verdict::Died(broken),
    }
}

fn out_of_time(job: &ClaimedJob) -> JobError {
    let allowed = job.spec.max_seconds.unwrap_or_default();
    let message = format!(
        "the worker did not come to an end within `max_seconds` ({allowed}) and was stopped; allow more time, or ask for fewer epochs"
    );
    JobError::new(FailureCode::TimeLimit, message)
}

/// Writes down what became of the job, and removes its folder if that was its end.
async fn settle(context: &Context, job: &ClaimedJob, verdict: Verdict) {
    tracing::info!(job = %job.id, attempt = job.attempt, verdict = verdict.word(), "an attempt is over");
    let store = &context.store;
    match verdict {
        Verdict::Trained(result) => complete(context, job, *result).await,
        Verdict::Failed(error) => fail(context, job, error).await,
        Verdict::Died(error) => interrupt(context, job, Interruption::Died(error)).await,
        Verdict::Drained => interrupt(context, job, Interruption::Drained).await,
        Verdict::Cancelled => {
            let cancel = || store.finish_cancelled(job.id, job.attempt);
            insist(&context.shutdown, "write down that a job was cancelled", cancel).await;
        }
        Verdict::Lost => {}
    }
    forget_if_ended(context, job).await;
}

impl Verdict {
    fn word(&self) -> &'static str {
        match self {
            Verdict::Trained(_) => "trained",
            Verdict::Failed(_) => "failed",
            Verdict::Died(_) => "died",
            Verdict::Drained => "drained",
            Verdict::Cancelled => "cancelled",
            Verdict::Lost => "lost",
        }
    }
}

/// Takes the model's files over, then makes its row and ends the job in one act.
async fn complete(context: &Context, job: &ClaimedJob, result: TrainResult) {
    let store = &context.store;
    let pin = context.blobs.pin().await;
    let dir = context.paths.run_dir(&job.id, job.attempt);
    for artifact in [&result.weights, &result.card_file] {
        if let Err(error) = context.blobs.adopt(&dir, artifact, &pin).await {
            tracing::error!(job = %job.id, file = artifact.file, %error, "cannot take over what a worker made");
            return match failure::of_adoption(&error) {
                full if full.code == FailureCode::DiskFull => fail(context, job, full).await,
                crashed => interrupt(context, job, Interruption::Died(crashed)).await,
            };
        }
    }
    let id = job.id.to_string();
    let row = insist(&context.shutdown, "read a job's row", || store.job(&id)).await;
    let Some(row) = row else { return };
    let model = NewModel {
        name: row.name,
        card: result.card.clone(),
        sha256: result.weights.sha256,
        bytes: result.weights.bytes,
        card_blob: result.card_file.sha256,
    };
    let complete = || store.complete_job(job.id, job.attempt, model.clone(), result.stop_reason);
    let completed = insist(&context.shutdown, "write down a model", complete).await;
    if let Some(None) = completed {
        cancel_after_all(context, job).await;
    }
    // After the job's end: nobody waits for it.
    if let Some(used) = result.activations {
        let lineage = &result.card.dataset;
        let version = DatasetVersion {
            id: lineage.id,
            version: lineage.version,
        };
        activations::keep(context, job, version, used).await;
    }
}

async fn fail(context: &Context, job: &ClaimedJob, error: JobError) {
    let fail = || context.store.fail_job(job.id, job.attempt, error.clone());
    let failed = insist(&context.shutdown, "write down that a job failed", fail).await;
    if failed == Some(false) {
        cancel_after_all(context, job).await;
    }
}

async fn interrupt(context: &Context, job: &ClaimedJob, why: Interruption) {
    let interrupt = || context.store.interrupt_job(job.id, job.attempt, why.clone());
    insist(&context.shutdown, "put a job back into the queue", interrupt).await;
}

/// A job that could not be given its end was cancelled while its child finished, or is no longer ours; then this changes nothing.
async fn cancel_after_all(context: &Context, job: &ClaimedJob) {
    let cancel = || context.store.finish_cancelled(job.id, job.attempt);
    insist(&context.shutdown, "write down that a job was cancelled", cancel).await;
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
