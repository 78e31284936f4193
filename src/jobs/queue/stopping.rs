//! When a running job has to stop.

use std::time::Duration;

use crate::{
    jobs::context::Context,
    store::{ClaimedJob, Topic},
};

/// How often a running job is checked without a signal.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Ready when the server stops, or when the job has to stop.
pub async fn stopped(context: &Context, job: &ClaimedJob) {
    tokio::select! {
        () = context.shutdown.cancelled() => {}
        () = asked_to_stop(context, job) => {}
    }
}

/// Ready when the job is to be cancelled, or no longer belongs to this attempt.
pub async fn asked_to_stop(context: &Context, job: &ClaimedJob) {
    let mut changed = context.store.signals().subscribe(Topic::Job(job.id));
    loop {
        match context.store.must_stop(job.id, job.attempt).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => tracing::error!(job = %job.id, %error, "cannot read a running job"),
        }
        // A signal or the timer, whichever comes first.
        let _ = tokio::time::timeout(LOOK_EVERY, changed.changed()).await;
    }
}
