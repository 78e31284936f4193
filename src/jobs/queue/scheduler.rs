//! The claim loop: looks into the queue whenever a device is free and a job may be ready.
//!
//! Woken by a signal of the store, a freed device, the time of the next retry, and a timer in any case: a signal is a hint that may be
//! missed; the database is the truth.

use std::{sync::Arc, time::Duration};

use super::attempt;
use crate::{
    domain::{
        jobs::job::{FailureCode, JobError},
        time::Timestamp,
    },
    jobs::{context::Context, retry::retry},
    store::{ClaimedJob, Interruption, Topic},
};

/// Longest time between two looks at the queue.
const LOOK_EVERY: Duration = Duration::from_secs(2);

pub async fn run(context: Arc<Context>) {
    if !context.may_begin().await {
        return;
    }
    recover(&context).await;
    if !context.slots.opened(&context.shutdown).await {
        return;
    }
    let mut queue = context.store.signals().subscribe(Topic::Queue);
    while !context.shutdown.is_cancelled() {
        claim_all(&context).await;
        let wait = time_to_next_retry(&context).await;
        tokio::select! {
            () = context.shutdown.cancelled() => {}
            () = context.slots.freed() => {}
            Ok(()) = queue.changed() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Requeues jobs that were running when the server last stopped. Their workers are gone, see `leftovers`.
async fn recover(context: &Context) {
    let store = &context.store;
    let list = || store.running_jobs();
    let Some(running) = retry(context, &"the queue", "list the running jobs", list).await else {
        return;
    };
    for (job, attempt) in running {
        tracing::warn!(%job, attempt, "the server stopped while this job was running; requeueing it");
        let interrupt = || store.interrupt_job(job, attempt, Interruption::Drained);
        retry(context, &job, "requeue a job", interrupt).await;
    }
}

/// Starts jobs until none can start or no device is free.
async fn claim_all(context: &Arc<Context>) {
    while !context.shutdown.is_cancelled() {
        let free = context.slots.free();
        if free.is_empty() {
            return;
        }
        match context.store.claim_job(free, context.slots.has_gpu()).await {
            Ok(Some(job)) => start(context, job),
            Ok(None) => return,
            Err(error) => return tracing::error!(%error, "cannot read the queue"),
        }
    }
}

fn start(context: &Arc<Context>, job: ClaimedJob) {
    let slot = context.slots.take(&job.device, job.id);
    let (id, attempt) = (job.id, job.attempt);
    tracing::info!(job = %id, attempt, device = job.device, "starting a job");
    let task = tokio::spawn(attempt::run(context.clone(), job));
    let context = context.clone();
    let tasks = context.tasks.clone();
    tasks.spawn(async move {
        // A bug of ours must cost the job an attempt, not the queue a device.
        if let Err(error) = task.await {
            tracing::error!(job = %id, attempt, %error, "the server failed while handling a job");
            let died = JobError::new(
                FailureCode::Internal,
                "the server failed while handling the worker",
            );
            let interrupt = || {
                let why = Interruption::Died(died.clone());
                context.store.interrupt_job(id, attempt, why)
            };
            retry(&context, &id, "requeue a job", interrupt).await;
        }
        drop(slot);
    });
}

async fn time_to_next_retry(context: &Context) -> Duration {
    match context.store.next_retry().await {
        Ok(Some(time)) => {
            let milliseconds = (time.0 - Timestamp::now().0).max(0) as u64;
            // One more, because a job can be claimed only after its time has come.
            Duration::from_millis(milliseconds + 1).min(LOOK_EVERY)
        }
        Ok(None) => LOOK_EVERY,
        Err(error) => {
            tracing::error!(%error, "cannot read the queue");
            LOOK_EVERY
        }
    }
}
