//! Jobs that an MLflow server is to be told of: written down when they end, and crossed off when the server has them.

use sqlx::{Row, SqliteConnection};

use crate::{
    domain::{id::JobId, time::Timestamp},
    error::Result,
    store::{
        Store,
        row::{count, parsed},
    },
};

/// A job whose turn has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueRun {
    pub job: JobId,
    /// Attempts that failed.
    pub attempts: u32,
}

impl Store {
    /// Whether jobs that end from now on are written down.
    pub async fn use_mlflow(&self, is_used: bool) -> Result<()> {
        self.write(move |connection| {
            Box::pin(async move {
                let sql = match is_used {
                    true => "insert into mlflow_use (one) values (1) on conflict do nothing",
                    false => "delete from mlflow_use",
                };
                sqlx::query(sql).execute(connection).await?;
                Ok(())
            })
        })
        .await
    }

    /// The job that is due for longest.
    pub async fn due_run(&self, now: Timestamp) -> Result<Option<DueRun>> {
        let row = sqlx::query(
            "select job_id, attempts
            from mlflow_jobs
            where next_attempt_at <= $1
            order by next_attempt_at, job_id
            limit 1",
        )
        .bind(now.0)
        .fetch_optional(&self.readers)
        .await?;
        row.map(|row| {
            Ok(DueRun {
                job: parsed(&row, "job_id")?,
                attempts: row.try_get("attempts")?,
            })
        })
        .transpose()
    }

    /// When the next job is due.
    pub async fn next_run(&self) -> Result<Option<Timestamp>> {
        let next: Option<i64> = sqlx::query_scalar("select min(next_attempt_at) from mlflow_jobs")
            .fetch_one(&self.readers)
            .await?;
        Ok(next.map(Timestamp))
    }

    /// Crosses a job off, because the server has it, or because it is given up.
    pub async fn forget_run(&self, job: JobId) -> Result<()> {
        self.write_even_if_full(move |connection| {
            Box::pin(async move {
                sqlx::query("delete from mlflow_jobs where job_id = $1")
                    .bind(job.to_string())
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// Counts an attempt that failed.
    pub async fn postpone_run(&self, job: JobId, until: Timestamp) -> Result<()> {
        self.write_even_if_full(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "update mlflow_jobs set attempts = attempts + 1, next_attempt_at = $2 where job_id = $1",
                )
                .bind(job.to_string())
                .bind(until.0)
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// How many jobs are still to be logged.
    pub async fn pending_runs(&self) -> Result<u64> {
        let row = sqlx::query("select count(*) as pending from mlflow_jobs")
            .fetch_one(&self.readers)
            .await?;
        count(&row, "pending")
    }
}

/// Writes a job down, if there is anybody to tell. To be called in the transaction that ends it.
pub(in crate::store) async fn note_end(
    connection: &mut SqliteConnection,
    job: JobId,
    now: Timestamp,
) -> Result<()> {
    sqlx::query(
        "insert into mlflow_jobs (job_id, attempts, next_attempt_at)
        select $1, 0, $2
        from mlflow_use
        where true
        on conflict do nothing",
    )
    .bind(job.to_string())
    .bind(now.0)
    .execute(connection)
    .await?;
    Ok(())
}
