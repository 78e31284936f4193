//! How attempts and jobs end: succeeded, failed, cancelled, back in the queue.
//!
//! Each transition is one `update ... where status = <from> and attempt = <mine>`; no row changed means that another transition was first,
//! and the caller stops. Events of a transition are written in the same transaction.

use sqlx::{Row, SqliteConnection};

use super::{
    events::append,
    job::{check_unchanged, read_job},
};
use crate::{
    domain::{
        id::{JobId, ModelId},
        jobs::{
            event::{EndEvent, EventKind, StatusEvent},
            job::{JobError, JobStatus, StopReason},
            predictions::BatchPredictions,
        },
        models::model::ModelMetrics,
        sinks::{EventType, JobEnded},
        tag::Tag,
        time::Timestamp,
    },
    error::{Error, Kind, Result},
    store::{
        Store, Topic,
        models::{NewModel, Origin, insert_model},
        row::to_json,
        sinks::{mlflow, outbox},
    },
};

/// How long a job waits after its first, second and later deaths.
const BACKOFF_MILLISECONDS: [i64; 3] = [1_000, 5_000, 25_000];

/// Why an attempt ended without an end of the job.
#[derive(Clone, Debug)]
pub enum Interruption {
    /// The server stops or has been stopped; costs nothing.
    Drained,
    /// The worker died or hung; counts against `max_attempts`.
    Died(JobError),
}

/// What a request to cancel came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    /// It was still queued and is cancelled now.
    Cancelled,
    /// Its worker is being stopped.
    Requested,
}

impl Store {
    /// `running -> succeeded`, with its model. None when the job no longer belongs to this attempt, or was asked to be cancelled.
    pub async fn complete_job(
        &self,
        id: JobId,
        attempt: u32,
        model: NewModel,
        stop_reason: StopReason,
    ) -> Result<Option<ModelId>> {
        let made = self
            .write_even_if_full(move |connection| {
                Box::pin(async move {
                    let now = Timestamp::now();
                    let best = model.card.metrics.as_ref().map(ModelMetrics::best);
                    let best = best.as_ref().map(to_json).transpose()?;
                    let result = model.evaluation_blob.clone();
                    if !succeed(connection, id, attempt, now, stop_reason, result).await? {
                        return Ok(None);
                    }
                    let model = insert_model(connection, Origin::Job(id), model, now).await?;
                    sqlx::query("update jobs set model_id = $2, best = $3 where id = $1")
                        .bind(id.to_string())
                        .bind(model.to_string())
                        .bind(best)
                        .execute(&mut *connection)
                        .await?;
                    append_end(connection, id, JobStatus::Succeeded, Some(model), None).await?;
                    Ok(Some(model))
                })
            })
            .await?;
        self.signals.notify(Topic::Job(id));
        self.signals.notify(Topic::Outbox);
        Ok(made)
    }

    /// `running -> succeeded` of a job that makes no model, with the digest of what it found and, where these are predictions, how many
    /// there are. False when the job no longer belongs to this attempt, or was asked to be cancelled.
    pub async fn complete_job_without_model(
        &self,
        id: JobId,
        attempt: u32,
        result: String,
        predictions: Option<BatchPredictions>,
    ) -> Result<bool> {
        let completed = self
            .write_even_if_full(move |connection| {
                Box::pin(async move {
                    let now = Timestamp::now();
                    let reason = StopReason::Completed;
                    if !succeed(connection, id, attempt, now, reason, Some(result)).await? {
                        return Ok(false);
                    }
                    if let Some(predictions) = predictions {
                        sqlx::query("update jobs set predictions = $2, csv_blob = $3 where id = $1")
                            .bind(id.to_string())
                            .bind(to_json(&predictions)?)
                            .bind(predictions.csv.sha256)
                            .execute(&mut *connection)
                            .await?;
                    }
                    append_end(connection, id, JobStatus::Succeeded, None, None).await?;
                    Ok(true)
                })
            })
            .await?;
        self.signals.notify(Topic::Job(id));
        self.signals.notify(Topic::Outbox);
        Ok(completed)
    }

    /// `running -> failed`, for good. False when the job no longer belongs to this attempt, or was asked to be cancelled.
    pub async fn fail_job(&self, id: JobId, attempt: u32, error: JobError) -> Result<bool> {
        let failed = self
            .write_even_if_full(move |connection| {
                Box::pin(async move { fail(connection, id, attempt, error).await })
            })
            .await?;
        self.signals.notify(Topic::Job(id));
        self.signals.notify(Topic::Outbox);
        Ok(failed)
    }

    /// `running -> cancelled`, after its worker was stopped because of [`Store::cancel_job`].
    pub async fn finish_cancelled(&self, id: JobId, attempt: u32) -> Result<bool> {
        let cancelled = self
            .write_even_if_full(move |connection| {
                Box::pin(async move {
                    let done = sqlx::query(
                        "update jobs
                        set status = 'cancelled', finished_at = $3, stop_reason = '\"cancelled\"'
                        where id = $1 and attempt = $2 and status = 'running' and cancel_requested = 1",
                    )
                    .bind(id.to_string())
                    .bind(attempt)
                    .bind(Timestamp::now().0)
                    .execute(&mut *connection)
                    .await?;
                    if done.rows_affected() == 0 {
                        return Ok(false);
                    }
                    append_end(connection, id, JobStatus::Cancelled, None, None).await?;
                    Ok(true)
                })
            })
            .await?;
        self.signals.notify(Topic::Job(id));
        self.signals.notify(Topic::Outbox);
        Ok(cancelled)
    }

    /// `running -> queued`, or to its end: cancelled where that was asked for, failed where the job has died too often.
    /// False when the job no longer belongs to this attempt.
    pub async fn interrupt_job(&self, id: JobId, attempt: u32, why: Interruption) -> Result<bool> {
        let mine = self
            .write_even_if_full(move |connection| {
                Box::pin(async move { interrupt(connection, id, attempt, why).await })
            })
            .await?;
        self.signals.notify(Topic::Job(id));
        self.signals.notify(Topic::Outbox);
        self.signals.notify(Topic::Queue);
        Ok(mine)
    }

    /// Ends a queued job, or asks for a running one to be stopped.
    ///
    /// # Errors
    /// `changed` if it is no longer as it was `seen`; `job-state` when it has ended already.
    pub async fn cancel_job(&self, id: JobId, seen: Option<Tag>) -> Result<CancelOutcome> {
        let outcome = self.write_even_if_full(move |connection| {
            Box::pin(async move {
                check_unchanged(&mut *connection, id, seen).await?;
                cancel(connection, id).await
            })
        });
        let outcome = outcome.await?;
        self.signals.notify(Topic::Job(id));
        self.signals.notify(Topic::Outbox);
        self.signals.notify(Topic::Queue);
        Ok(outcome)
    }
}

async fn succeed(
    connection: &mut SqliteConnection,
    id: JobId,
    attempt: u32,
    now: Timestamp,
    reason: StopReason,
    result: Option<String>,
) -> Result<bool> {
    let done = sqlx::query(
        "update jobs
        set status = 'succeeded', finished_at = $3, stop_reason = $4, result_blob = $5
        where id = $1 and attempt = $2 and status = 'running' and cancel_requested = 0",
    )
    .bind(id.to_string())
    .bind(attempt)
    .bind(now.0)
    .bind(to_json(&reason)?)
    .bind(result)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

async fn interrupt(
    connection: &mut SqliteConnection,
    id: JobId,
    attempt: u32,
    why: Interruption,
) -> Result<bool> {
    let row = sqlx::query(
        "select deaths, max_attempts, cancel_requested, attempt_started_at
        from jobs
        where id = $1 and attempt = $2 and status = 'running'",
    )
    .bind(id.to_string())
    .bind(attempt)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(false) };
    let now = Timestamp::now();
    if row.try_get::<i64, _>("cancel_requested")? != 0 {
        let done = sqlx::query(
            "update jobs
            set status = 'cancelled', finished_at = $3, stop_reason = '\"cancelled\"'
            where id = $1 and attempt = $2 and status = 'running'",
        )
        .bind(id.to_string())
        .bind(attempt)
        .bind(now.0)
        .execute(&mut *connection)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        append_end(connection, id, JobStatus::Cancelled, None, None).await?;
        return Ok(true);
    }
    let mut deaths: i64 = row.try_get("deaths")?;
    let (reason, wait) = match why {
        Interruption::Drained => ("interrupted".to_owned(), 0),
        Interruption::Died(error) => {
            deaths += 1;
            if deaths >= row.try_get("max_attempts")? {
                return fail(connection, id, attempt, error).await;
            }
            let backoff = BACKOFF_MILLISECONDS[(deaths as usize - 1).min(BACKOFF_MILLISECONDS.len() - 1)];
            let code = serde_json::to_value(error.code)
                .ok()
                .and_then(|code| code.as_str().map(str::to_owned));
            (
                format!("{}: {}", code.unwrap_or_default(), error.message),
                backoff,
            )
        }
    };
    let started: Option<i64> = row.try_get("attempt_started_at")?;
    let done = sqlx::query(
        "update jobs
        set status = 'queued', deaths = $3, not_before = $4, device = null, milliseconds_used = milliseconds_used + $5
        where id = $1 and attempt = $2 and status = 'running'",
    )
    .bind(id.to_string())
    .bind(attempt)
    .bind(deaths)
    .bind(now.0 + wait)
    .bind((now.0 - started.unwrap_or(now.0)).max(0))
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    let status = StatusEvent {
        status: JobStatus::Queued,
        attempt,
        device: None,
        reason: Some(reason),
    };
    append(connection, id, now, EventKind::Status, &status).await?;
    Ok(true)
}

async fn fail(connection: &mut SqliteConnection, id: JobId, attempt: u32, error: JobError) -> Result<bool> {
    let done = sqlx::query(
        "update jobs
        set status = 'failed', finished_at = $3, error = $4
        where id = $1 and attempt = $2 and status = 'running' and cancel_requested = 0",
    )
    .bind(id.to_string())
    .bind(attempt)
    .bind(Timestamp::now().0)
    .bind(to_json(&error)?)
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    append_end(connection, id, JobStatus::Failed, None, Some(error)).await?;
    Ok(true)
}

async fn cancel(connection: &mut SqliteConnection, id: JobId) -> Result<CancelOutcome> {
    let now = Timestamp::now();
    let queued = sqlx::query(
        "update jobs
        set status = 'cancelled', finished_at = $2, cancel_requested = 1, stop_reason = '\"cancelled\"'
        where id = $1 and status = 'queued'",
    )
    .bind(id.to_string())
    .bind(now.0)
    .execute(&mut *connection)
    .await?;
    if queued.rows_affected() == 1 {
        append_end(connection, id, JobStatus::Cancelled, None, None).await?;
        return Ok(CancelOutcome::Cancelled);
    }
    let running = sqlx::query("update jobs set cancel_requested = 1 where id = $1 and status = 'running'")
        .bind(id.to_string())
        .execute(connection)
        .await?;
    if running.rows_affected() == 1 {
        return Ok(CancelOutcome::Requested);
    }
    Err(Error::new(
        Kind::Conflict,
        "job-state",
        "the job has already ended and cannot be cancelled",
    ))
}

/// The last event of a job, and what MLflow and webhooks are to be told of it. To be called when the row says all of it.
async fn append_end(
    connection: &mut SqliteConnection,
    id: JobId,
    status: JobStatus,
    model: Option<ModelId>,
    error: Option<JobError>,
) -> Result<()> {
    let end = EndEvent { status, model, error };
    let now = Timestamp::now();
    append(connection, id, now, EventKind::End, &end).await?;
    mlflow::note_end(connection, id, now).await?;
    let Some(event) = EventType::of_job(status) else {
        return Ok(());
    };
    if !outbox::is_wanted(connection, event).await? {
        return Ok(());
    }
    let row = sqlx::query("select * from jobs where id = $1")
        .bind(id.to_string())
        .fetch_one(&mut *connection)
        .await?;
    outbox::announce(connection, event, &JobEnded::from(read_job(&row)?)).await
}
