//! One attempt at a job of any kind: its child's life, when it is to be stopped, and what its end means for the job. What the child is
//! to do is for `prepare` to say, what is written down about its end for `settle`.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{prepare::prepare, recorder::Recorder, settle::settle};
use super::{
    stopping::{asked_to_stop, stopped},
    verdict::Verdict,
};
use crate::{
    domain::{
        jobs::job::{FailureCode, JobError},
        spec::JobKind,
    },
    jobs::{
        blocking::blocking,
        children::{
            child::{self, End},
            failure,
            supervisor::Stop,
        },
        context::Context,
        disk,
    },
    process::traces::{self, Attempted},
    protocol::{RunResult, RunSpec},
    store::ClaimedJob,
};

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
    let span = traces::of_attempt(&Attempted {
        job: job.id,
        kind: job.spec.kind().as_str(),
        attempt: job.attempt,
        device: &job.device,
        submitted: job.trace.as_ref(),
    });
    let verdict = match prepare(&context, &job).await {
        Ok(run) if !context.shutdown.is_cancelled() => attempt(&context, &job, run).await,
        Ok(_) => Verdict::Drained,
        Err(verdict) => verdict,
    };
    span.attempted(verdict.word(), verdict.fault());
    settle(&context, &job, verdict).await;
}

async fn attempt(context: &Context, job: &ClaimedJob, run: RunSpec) -> Verdict {
    let begin = || {
        let (paths, id, number, run) = (context.paths.clone(), job.id, job.attempt, run.clone());
        blocking(move || Ok(paths.begin(&id, number, &run)?))
    };
    let dir = match disk::when_there_is_room(context, &job.id, stopped(context, job), begin).await {
        Some(Ok(dir)) => dir,
        Some(Err(error)) => {
            tracing::error!(job = %job.id, %error, "cannot make the folder of an attempt");
            return Verdict::Died(failure::internal("the server could not make the job's folder"));
        }
        None if context.shutdown.is_cancelled() => return Verdict::Drained,
        None => return Verdict::Cancelled,
    };
    let log = context.log(&job.id);
    let trace = job.trace.as_ref().map(|trace| format!(", {trace}"));
    let trace = trace.unwrap_or_default();
    log.note(&format!("attempt {} on {}{trace}", job.attempt, job.device))
        .await;
    let recorder = Recorder {
        store: context.store.clone(),
        job: job.id,
        attempt: job.attempt,
        lost: CancellationToken::new(),
        shutdown: context.shutdown.clone(),
        waits: context.waits.clone(),
    };
    let stop = stop_cause(context, job, recorder.lost.clone());
    let hear = |messages| recorder.run(messages);
    let end = child::run(context, &dir, log, hear, stop).await;
    verdict(job, end)
}

/// Ready when the child is to be stopped.
async fn stop_cause(context: &Context, job: &ClaimedJob, lost: CancellationToken) -> Stop<Cause> {
    let cause = tokio::select! {
        () = context.shutdown.cancelled() => Cause::Shutdown,
        () = lost.cancelled() => Cause::Lost,
        () = asked_to_stop(context, job) => Cause::Asked,
        () = out_of_time(context, job) => Cause::TimeLimit,
    };
    let limits = &context.config.limits;
    match cause {
        Cause::Shutdown | Cause::TimeLimit => Stop::with_time_to_save(cause, limits),
        Cause::Lost | Cause::Asked => Stop::at_once(cause, limits),
    }
}

/// The worker itself keeps to `max_seconds`; this is for one that does not. It gets the time of one step and of leaving on top. Time in
/// which it waits for the disk is not its own.
async fn out_of_time(context: &Context, job: &ClaimedJob) {
    const TICK: Duration = Duration::from_secs(1);
    let Some(seconds) = job.spec.max_seconds() else {
        return std::future::pending().await;
    };
    let limits = &context.config.limits;
    let allowed = Duration::from_secs(seconds) + limits.step_deadline() + limits.stop_grace();
    let mut left = allowed.saturating_sub(Duration::from_millis(job.milliseconds_used.max(0) as u64));
    while !left.is_zero() {
        let tick = TICK.min(left);
        tokio::time::sleep(tick).await;
        if !context.waits.contains(&job.id) {
            left -= tick;
        }
    }
}

fn verdict(job: &ClaimedJob, end: End<Cause>) -> Verdict {
    match end {
        // A person who was told that the job is being cancelled finds it cancelled, whether or not the child was done first.
        End::Stopped {
            cause: Cause::Asked, ..
        } => Verdict::Cancelled,
        End::Stopped {
            cause: Cause::Lost, ..
        } => Verdict::Lost,
        End::Stopped {
            result: Some(result), ..
        }
        | End::Done(result) => match (job.spec.kind(), result) {
            (of_job, RunResult::Trained(trained)) if of_job.makes_model() => Verdict::Trained(trained),
            (JobKind::BatchPredict, RunResult::Predicted(predicted)) => Verdict::Predicted(predicted),
            (of_job, RunResult::Found(_)) if of_job.makes_model() || of_job == JobKind::BatchPredict => {
                Verdict::Died(failure::of_another_kind())
            }
            (of_job, RunResult::Found(found)) if found.kind == of_job => Verdict::Found(found),
            (_, RunResult::Failed(error)) if error.code == FailureCode::DiskFull => Verdict::DiskFull,
            (_, RunResult::Failed(error)) => Verdict::Failed(error),
            _ => Verdict::Died(failure::of_another_kind()),
        },
        End::Stopped {
            cause: Cause::Shutdown,
            ..
        } => Verdict::Drained,
        End::Stopped {
            cause: Cause::TimeLimit,
            ..
        } => Verdict::Failed(over_its_time(job)),
        End::Broken(broken) => match broken.to_job() {
            error if broken.never_began() => Verdict::Failed(error),
            error if error.code == FailureCode::DiskFull => Verdict::DiskFull,
            error if error.code == FailureCode::DeviceLost => Verdict::DeviceLost(error),
            error => Verdict::Died(error),
        },
    }
}

fn over_its_time(job: &ClaimedJob) -> JobError {
    let allowed = job.spec.max_seconds().unwrap_or_default();
    let message = format!(
        "the worker did not come to an end within `max_seconds` ({allowed}) and was stopped; allow more time, or ask for less work"
    );
    JobError::new(FailureCode::TimeLimit, message)
}
