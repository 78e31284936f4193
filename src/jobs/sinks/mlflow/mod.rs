//! Logs each job that ends as a run of an MLflow tracking server, over its REST API.
//!
//! One job at a time, from the list that the store keeps. A run is found again by a tag with the job's id, and says itself how far it is: so a
//! kill, or a server that is away, leads to no second run.

mod client;
mod run;

use std::{sync::Arc, time::Duration};

use self::client::Client;
use crate::{
    domain::{id::JobId, time::Timestamp},
    error::{Kind, Result},
    jobs::{context::Context, retry::retry},
    store::{DueRun, Topic},
};

/// Longest time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Between two tries to read the database, where that fails.
const AFTER_A_FAILURE: Duration = Duration::from_secs(5);
/// The first wait after a failure, and the longest; each is four times the one before.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// About four days.
const MOST_ATTEMPTS: u32 = 100;

pub async fn run(context: Arc<Context>) {
    let settings = &context.config.mlflow;
    let use_it = || context.store.use_mlflow(settings.mlflow_url.is_some());
    retry(&context, &"MLflow", "note whether it is used", use_it).await;
    let Some(url) = &settings.mlflow_url else { return };
    let client = match Client::new(url.clone(), settings) {
        Ok(client) => client,
        Err(error) => return tracing::error!(%error, "jobs cannot be logged to MLflow"),
    };
    let mut outbox = context.store.signals().subscribe(Topic::Outbox);
    while !context.shutdown.is_cancelled() {
        let work = async {
            match log_due(&context, &client).await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::error!(%error, "cannot read what MLflow is to be told");
                    AFTER_A_FAILURE
                }
            }
        };
        let wait = tokio::select! {
            // What is half logged is taken up again at the next start.
            () = context.shutdown.cancelled() => return,
            wait = work => wait,
        };
        tokio::select! {
            () = context.shutdown.cancelled() => {}
            Ok(()) = outbox.changed() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Logs what is due; how long until there may be more.
async fn log_due(context: &Context, client: &Client) -> Result<Duration> {
    let store = &context.store;
    while let Some(due) = store.due_run(Timestamp::now()).await? {
        attempt(context, client, due).await?;
    }
    let next = store.next_run().await?;
    Ok(next.map_or(LOOK_EVERY, |next| {
        let milliseconds = (next.0 - Timestamp::now().0).max(0) as u64 + 1;
        Duration::from_millis(milliseconds).min(LOOK_EVERY)
    }))
}

async fn attempt(context: &Context, client: &Client, due: DueRun) -> Result<()> {
    let DueRun { job, attempts } = due;
    let store = &context.store;
    let row = match store.job(&job.to_string()).await {
        Ok(row) => row,
        Err(error) if error.kind() == Kind::NotFound => return store.forget_run(job).await,
        Err(error) => return Err(error),
    };
    match run::log(store, client, &row).await? {
        Ok(run) => {
            tracing::info!(%job, run, "logged a job to MLflow");
            store.forget_run(job).await
        }
        Err(error) => postpone(context, job, attempts, &error).await,
    }
}

async fn postpone(context: &Context, job: JobId, attempts: u32, error: &str) -> Result<()> {
    if attempts + 1 >= MOST_ATTEMPTS {
        tracing::error!(%job, error, "gave up logging a job to MLflow");
        return context.store.forget_run(job).await;
    }
    let wait = FIRST_WAIT
        .saturating_mul(4u32.saturating_pow(attempts))
        .min(LONGEST_WAIT);
    tracing::warn!(%job, error, seconds = wait.as_secs(), "cannot log a job to MLflow; trying again");
    let until = Timestamp(Timestamp::now().0 + wait.as_millis() as i64);
    context.store.postpone_run(job, until).await
}
