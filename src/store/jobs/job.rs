//! Rows of jobs as callers make and read them. What happens to a job while it runs is in `queue.rs`.

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::events::append;
use crate::{
    domain::{
        access::Holder,
        id::{DatasetId, JobId},
        jobs::{
            event::{EventKind, StatusEvent},
            job::{DatasetVersion, Job, JobStatus},
        },
        name::Name,
        page::{Order, Page, PageRequest},
        spec::{JobKind, Spec},
        tag::Tag,
        time::Timestamp,
        trace::TraceParent,
    },
    error::{Error, Kind, Result},
    store::{
        Store, Topic,
        access::{
            answers::{IdempotencyKey, KEY_LIFE_MILLISECONDS, mismatch},
            quotas,
        },
        aliases, references,
        row::{
            check_seen, has_owner, json, optional_json, optional_parsed, owner, owner_columns, parsed,
            to_json, trace, word,
        },
    },
};

/// A job whose spec is checked and whose dataset is known.
#[derive(Clone, Debug)]
pub struct NewJob {
    pub spec: Spec,
    /// Of the model that it makes, measures or predicts with.
    pub name: Name,
    pub dataset: DatasetVersion,
    /// Most jobs that may wait in the queue.
    pub owner: Option<Holder>,
    pub max_queued: i64,
    pub key: Option<JobKey>,
    /// Of the request.
    pub trace: Option<TraceParent>,
}

/// An `Idempotency-Key`, and the digest of the request's body.
#[derive(Clone, Debug)]
pub struct JobKey {
    pub key: IdempotencyKey,
    pub sha256: String,
}

/// What creating a job came to.
#[derive(Debug)]
pub enum CreatedJob {
    Created(JobId),
    /// The same request was made before, under the same key.
    Repeated(JobId),
}

/// Which jobs a list is about.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    pub status: Option<JobStatus>,
    pub dataset: Option<DatasetId>,
    pub name: Option<String>,
    /// Id or name of a key, or `none`.
    pub owner: Option<String>,
}

/// All jobs, counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobCensus {
    /// Only kinds and statuses that there are.
    pub jobs: Vec<(JobKind, JobStatus, u64)>,
    pub oldest_queued: Option<Timestamp>,
}

impl Store {
    /// Puts a job into the queue, durable when this returns.
    ///
    /// # Errors
    /// `queue-full`, `quota-queued-jobs`, `quota-bytes`, `idempotency-mismatch`, `job-deleted`, `name-taken` when its model would have the name of an alias, or `not-found` when its dataset has gone in the meantime.
    pub async fn create_job(&self, new: NewJob) -> Result<CreatedJob> {
        let created = self
            .write(move |connection| Box::pin(insert_job(connection, new)))
            .await?;
        self.signals.notify(Topic::Queue);
        Ok(created)
    }

    /// The job that a request under this key has made already.
    ///
    /// # Errors
    /// `idempotency-mismatch` when that was another request, `job-deleted` when the job is gone.
    pub async fn repeated_job(&self, key: &JobKey) -> Result<Option<JobId>> {
        let mut connection = self.readers.acquire().await?;
        find_key(&mut connection, key, Timestamp::now()).await
    }

    /// The job of this id, or the newest job of this name.
    pub async fn job(&self, reference: &str) -> Result<Job> {
        let written = self.written();
        if let Some(job) = self.recent.get(reference, &written) {
            return Ok(job);
        }
        let mut job = self.find_job(reference).await?;
        self.place(std::slice::from_mut(&mut job)).await?;
        if job.status == JobStatus::Queued && job.queue_position.is_none() {
            // It has begun since it was read.
            job = self.find_job(reference).await?;
            self.place(std::slice::from_mut(&mut job)).await?;
        }
        self.recent.keep(reference, written, &job);
        Ok(job)
    }

    pub async fn jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<Job>> {
        let mut jobs = self.list_jobs(filter, page).await?;
        self.place(&mut jobs).await?;
        Ok(Page::from_rows(jobs, page.limit))
    }

    async fn find_job(&self, reference: &str) -> Result<Job> {
        let row = sqlx::query(
            "select * from jobs
            where id = $1 or name = $1
            order by (id = $1) desc, id desc
            limit 1",
        )
        .bind(reference)
        .fetch_optional(&self.readers)
        .await?;
        let row = row.ok_or_else(|| Error::not_found("job", reference))?;
        read_job(&row)
    }

    /// One more than there is room for on the page, if there is.
    async fn list_jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<Vec<Job>> {
        let (comparison, direction) = match page.order {
            Order::Desc => ("<", "desc"),
            Order::Asc => (">", "asc"),
        };
        let has_owner = has_owner!("$5");
        let sql = format!(
            "select * from jobs
            where ($1 is null or id {comparison} $1)
                and ($2 is null or status = $2)
                and ($3 is null or dataset_id = $3)
                and ($4 is null or name = $4)
                and {has_owner}
            order by id {direction}
            limit $6"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(&page.after)
            .bind(filter.status.map(JobStatus::as_str))
            .bind(filter.dataset.map(|id| id.to_string()))
            .bind(&filter.name)
            .bind(&filter.owner)
            .bind(page.limit + 1)
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(read_job).collect()
    }

    /// Digest of the file with what a job found, if it has found something.
    pub async fn job_result(&self, id: JobId) -> Result<Option<String>> {
        let digest = sqlx::query_scalar("select result_blob from jobs where id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await?;
        digest.ok_or_else(|| Error::not_found("job", &id.to_string()))
    }

    /// How many jobs are queued and how many run.
    pub async fn job_counts(&self) -> Result<(u64, u64)> {
        let row = sqlx::query(
            "select
                count(*) filter (where status = 'queued') as queued,
                count(*) filter (where status = 'running') as running
            from jobs
            where status in ('queued', 'running')",
        )
        .fetch_one(&self.readers)
        .await?;
        Ok((
            crate::store::row::count(&row, "queued")?,
            crate::store::row::count(&row, "running")?,
        ))
    }

    /// How many jobs there are of each kind and status, and since when the one that has waited longest is in the queue.
    pub async fn job_census(&self) -> Result<JobCensus> {
        let rows = sqlx::query(
            "select kind, status, count(*) as jobs, min(created_at) as oldest
            from jobs
            group by kind, status",
        )
        .fetch_all(&self.readers)
        .await?;
        let mut census = JobCensus::default();
        for row in &rows {
            let status: JobStatus = word(row, "status")?;
            let oldest = Timestamp(row.try_get("oldest")?);
            if status == JobStatus::Queued {
                census.oldest_queued = Some(census.oldest_queued.map_or(oldest, |known| known.min(oldest)));
            }
            census
                .jobs
                .push((word(row, "kind")?, status, crate::store::row::count(row, "jobs")?));
        }
        Ok(census)
    }

    /// Deletes an ended job and its events, not its model.
    ///
    /// # Errors
    /// `changed` if it is no longer as it was `seen`; `job-state` while it is not ended.
    pub async fn delete_job(&self, id: JobId, seen: Option<Tag>) -> Result<()> {
        self.write_even_if_full(move |connection| {
            Box::pin(async move {
                check_unchanged(&mut *connection, id, seen).await?;
                references::release(connection, references::OF_JOB, &id.to_string()).await?;
                let done = sqlx::query(
                    "delete from jobs where id = $1 and status in ('succeeded', 'failed', 'cancelled')",
                )
                .bind(id.to_string())
                .execute(connection)
                .await?;
                if done.rows_affected() == 0 {
                    let detail = "the job has not ended; cancel it first";
                    return Err(Error::new(Kind::Conflict, "job-state", detail));
                }
                Ok(())
            })
        })
        .await
    }
}

/// Whether a job is still as it was seen, its place in the line not counted.
pub(super) async fn check_unchanged(
    connection: &mut SqliteConnection,
    id: JobId,
    seen: Option<Tag>,
) -> Result<()> {
    if seen.is_none() {
        return Ok(());
    }
    let row = sqlx::query("select * from jobs where id = $1")
        .bind(id.to_string())
        .fetch_optional(connection)
        .await?;
    let row = row.ok_or_else(|| Error::not_found("job", &id.to_string()))?;
    check_seen(seen.as_ref(), &read_job(&row)?)
}

async fn insert_job(connection: &mut SqliteConnection, new: NewJob) -> Result<CreatedJob> {
    let now = Timestamp::now();
    if let Some(key) = &new.key {
        forget_old_keys(connection, now).await?;
        if let Some(job) = find_key(connection, key, now).await? {
            return Ok(CreatedJob::Repeated(job));
        }
    }
    let queued: i64 = sqlx::query_scalar("select count(*) from jobs where status = 'queued'")
        .fetch_one(&mut *connection)
        .await?;
    if queued >= new.max_queued {
        let detail = format!("the queue is full ({queued} jobs); try again later");
        let delay = std::time::Duration::from_secs(30);
        return Err(Error::new(Kind::TooMany, "queue-full", detail).retry_after(delay));
    }
    quotas::check_job(
        &mut *connection,
        new.owner.as_ref(),
        new.spec.kind().makes_model(),
    )
    .await?;
    let dataset_there: i64 = sqlx::query_scalar("select count(*) from datasets where id = $1")
        .bind(new.dataset.id.to_string())
        .fetch_one(&mut *connection)
        .await?;
    if dataset_there == 0 {
        return Err(Error::not_found("dataset", &new.dataset.id.to_string()));
    }
    if new.spec.kind().makes_model() {
        aliases::refuse_alias(&mut *connection, &new.name).await?;
    }
    let id = JobId::new();
    let (owner_id, owner_name) = owner_columns(new.owner.as_ref());
    sqlx::query(
        "insert into jobs (id, kind, name, status, spec, dataset_id, dataset_version, dataset_sha256, device_choice, priority, max_attempts,
            not_before, created_at, attempt, deaths, milliseconds_used, cancel_requested, owner_id, owner_name,
            trace_parent)
        values ($1, $2, $3, 'queued', $4, $5, $6, $7, $8, $9, $10, 0, $11, 0, 0, 0, 0, $12, $13, $14)",
    )
    .bind(id.to_string())
    .bind(new.spec.kind().as_str())
    .bind(new.name.as_str())
    .bind(to_json(&new.spec)?)
    .bind(new.dataset.id.to_string())
    .bind(new.dataset.version)
    .bind(new.dataset.content_sha256)
    .bind(String::from(new.spec.device()))
    .bind(new.spec.priority())
    .bind(new.spec.max_attempts())
    .bind(now.0)
    .bind(owner_id)
    .bind(owner_name)
    .bind(new.trace.as_ref().map(TraceParent::as_str))
    .execute(&mut *connection)
    .await?;
    if let Some(key) = new.key {
        sqlx::query(
            "insert into idempotency_keys (owner, idempotency_key, sha256, job_id, created_at) values ($1, $2, $3, $4, $5)",
        )
        .bind(key.key.owner())
        .bind(key.key.key())
        .bind(key.sha256)
        .bind(id.to_string())
        .bind(now.0)
        .execute(&mut *connection)
        .await?;
    }
    let status = StatusEvent {
        status: JobStatus::Queued,
        attempt: 0,
        device: None,
        reason: None,
    };
    append(connection, id, now, EventKind::Status, &status).await?;
    Ok(CreatedJob::Created(id))
}

async fn forget_old_keys(connection: &mut SqliteConnection, now: Timestamp) -> Result<()> {
    sqlx::query("delete from idempotency_keys where created_at < $1")
        .bind(now.0 - KEY_LIFE_MILLISECONDS)
        .execute(connection)
        .await?;
    Ok(())
}

/// The job that this key stands for already.
async fn find_key(connection: &mut SqliteConnection, key: &JobKey, now: Timestamp) -> Result<Option<JobId>> {
    let row = sqlx::query(
        "select keys.sha256, keys.job_id, jobs.id is not null as is_there
        from idempotency_keys as keys
        left join jobs on jobs.id = keys.job_id
        where keys.owner = $1 and keys.idempotency_key = $2 and keys.created_at >= $3",
    )
    .bind(key.key.owner())
    .bind(key.key.key())
    .bind(now.0 - KEY_LIFE_MILLISECONDS)
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    if row.try_get::<&str, _>("sha256")? != key.sha256 {
        return Err(mismatch());
    }
    let job: JobId = parsed(&row, "job_id")?;
    if !row.try_get::<bool, _>("is_there")? {
        let detail = format!(
            "the first request with this Idempotency-Key made the job `{job}`, which has been deleted since; send the request under a \
             new key to make another one"
        );
        return Err(Error::new(Kind::Gone, "job-deleted", detail));
    }
    Ok(Some(job))
}

/// Without its place in the line.
pub(super) fn read_job(row: &SqliteRow) -> Result<Job> {
    let time = |column: &str| -> Result<Option<Timestamp>> {
        Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp))
    };
    Ok(Job {
        id: parsed(row, "id")?,
        object: "job".to_owned(),
        kind: word(row, "kind")?,
        name: word(row, "name")?,
        status: word(row, "status")?,
        spec: json(row, "spec")?,
        dataset: DatasetVersion {
            id: parsed(row, "dataset_id")?,
            version: row.try_get("dataset_version")?,
            content_sha256: row.try_get("dataset_sha256")?,
        },
        model: optional_parsed(row, "model_id")?,
        predictions: optional_json(row, "predictions")?,
        created_at: Timestamp(row.try_get("created_at")?),
        owner: owner(row)?,
        trace_id: trace(row)?.map(|trace| trace.trace_id().to_owned()),
        started_at: time("started_at")?,
        finished_at: time("finished_at")?,
        events_pruned_at: time("events_pruned_at")?,
        attempt: row.try_get("attempt")?,
        queue_position: None,
        device: row.try_get("device")?,
        progress: optional_json(row, "progress")?,
        best: optional_json(row, "best")?,
        stop_reason: optional_json(row, "stop_reason")?,
        error: optional_json(row, "error")?,
    })
}
