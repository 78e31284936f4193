//! The queue: which job runs next, which are running, which wait.
//!
//! A claim is one `update ... where status = 'queued'`; no row changed means that another claim was first.

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::events::append;
use crate::{
    domain::{
        id::JobId,
        jobs::{
            event::{EventKind, StatusEvent},
            job::{DatasetVersion, JobStatus},
            line::{self, Share, Shares, Waiting},
        },
        spec::{DeviceChoice, Spec},
        time::Timestamp,
        trace::TraceParent,
    },
    error::Result,
    store::{
        Store, Topic,
        row::{count, json, parsed, trace},
    },
};

/// A job that now belongs to the caller's attempt.
#[derive(Clone, Debug)]
pub struct ClaimedJob {
    pub id: JobId,
    /// From 1.
    pub attempt: u32,
    pub spec: Spec,
    /// Whatever becomes of the dataset in the meantime, it is about this version.
    pub dataset: DatasetVersion,
    pub device: String,
    /// Time that earlier attempts have used.
    pub milliseconds_used: i64,
    /// Of the request that submitted it.
    pub trace: Option<TraceParent>,
}

impl Store {
    /// `queued -> running` for the first job in line ([`line::next`]) that may run on one of the free devices. A job whose dataset is still being
    /// read is passed over.
    pub async fn claim_job(
        &self,
        free_devices: Vec<String>,
        host_has_gpu: bool,
    ) -> Result<Option<ClaimedJob>> {
        let claimed = self
            .write(move |connection| Box::pin(claim(connection, free_devices, host_has_gpu)))
            .await?;
        if let Some(job) = &claimed {
            self.signals.notify(Topic::Job(job.id));
        }
        Ok(claimed)
    }

    /// Whether somebody asked for this running job to be cancelled, or it is no longer this attempt's.
    pub async fn must_stop(&self, id: JobId, attempt: u32) -> Result<bool> {
        let requested: Option<i64> = sqlx::query_scalar(
            "select cancel_requested from jobs where id = $1 and attempt = $2 and status = 'running'",
        )
        .bind(id.to_string())
        .bind(attempt)
        .fetch_optional(&self.readers)
        .await?;
        Ok(requested != Some(0))
    }

    /// Jobs that were running when the server last stopped, each with its attempt: they have no worker now.
    pub async fn running_jobs(&self) -> Result<Vec<(JobId, u32)>> {
        let rows = sqlx::query("select id, attempt from jobs where status = 'running' order by id")
            .fetch_all(&self.readers)
            .await?;
        rows.iter()
            .map(|row| Ok((parsed(row, "id")?, row.try_get("attempt")?)))
            .collect()
    }

    /// Ids of all jobs that have not ended: their directories are needed.
    pub async fn unfinished_jobs(&self) -> Result<Vec<JobId>> {
        let rows = sqlx::query("select id from jobs where status in ('queued', 'running')")
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(|row| parsed(row, "id")).collect()
    }

    /// When the next job that waits after a crash may be claimed, if any waits.
    pub async fn next_retry(&self) -> Result<Option<Timestamp>> {
        let time: Option<i64> = sqlx::query_scalar(
            "select min(not_before) from jobs where status = 'queued' and not_before > $1",
        )
        .bind(Timestamp::now().0)
        .fetch_one(&self.readers)
        .await?;
        Ok(time.map(Timestamp))
    }
}

async fn claim(
    connection: &mut SqliteConnection,
    free: Vec<String>,
    host_has_gpu: bool,
) -> Result<Option<ClaimedJob>> {
    let now = Timestamp::now();
    // GPUs first, so that `auto` does not take the CPU while a card is free.
    let mut free = free;
    free.sort_by_key(|device| !device.starts_with("cuda:"));
    let rows = sqlx::query(
        "select id, coalesce(owner_name, '') as owner, priority, device_choice
        from jobs
        where status = 'queued'
            and not_before <= $1
            and not exists (select 1 from datasets where datasets.id = jobs.dataset_id and datasets.status = 'processing')",
    )
    .bind(now.0)
    .fetch_all(&mut *connection)
    .await?;
    let (mut jobs, mut devices) = (Vec::new(), Vec::new());
    for row in &rows {
        let choice = DeviceChoice::try_from(row.try_get::<String, _>("device_choice")?).unwrap_or_default();
        if let Some(device) = free.iter().find(|device| choice.allows(device, host_has_gpu)) {
            jobs.push(read_waiting(row)?);
            devices.push(device.clone());
        }
    }
    if jobs.is_empty() {
        return Ok(None);
    }
    let shares = shares(&mut *connection).await?;
    let Some(next) = line::next(&jobs, &shares) else {
        return Ok(None);
    };
    note_turn(&mut *connection, &jobs[next].owner).await?;
    take(connection, jobs[next].id, devices.swap_remove(next), now)
        .await
        .map(Some)
}

pub(super) fn read_waiting(row: &SqliteRow) -> Result<Waiting> {
    Ok(Waiting {
        id: parsed(row, "id")?,
        owner: row.try_get("owner")?,
        priority: row.try_get("priority")?,
    })
}

/// What each owner has of the devices, and had.
pub(super) async fn shares(connection: &mut SqliteConnection) -> Result<Shares> {
    let mut shares = Shares::new();
    let turns = sqlx::query("select owner, turn from queue_turns")
        .fetch_all(&mut *connection)
        .await?;
    for row in &turns {
        let share: &mut Share = shares.entry(row.try_get("owner")?).or_default();
        share.turn = row.try_get("turn")?;
    }
    let running = sqlx::query(
        "select coalesce(owner_name, '') as owner, count(*) as jobs
        from jobs
        where status = 'running'
        group by owner_name",
    )
    .fetch_all(&mut *connection)
    .await?;
    for row in &running {
        let share = shares.entry(row.try_get("owner")?).or_default();
        share.running = count(row, "jobs")?;
    }
    // The quota of the key that is good, or was last, under the name of an owner who waits.
    let quotas = sqlx::query(
        "select name, max_running_jobs
        from keys
        where name in (select owner_name from jobs where status = 'queued')
        order by (revoked_at is null), id",
    )
    .fetch_all(connection)
    .await?;
    for row in &quotas {
        let share = shares.entry(row.try_get("name")?).or_default();
        share.most_running = row.try_get("max_running_jobs")?;
    }
    Ok(shares)
}

async fn note_turn(connection: &mut SqliteConnection, owner: &str) -> Result<()> {
    sqlx::query(
        "insert into queue_turns (owner, turn)
        select $1, coalesce(max(turn), 0) + 1 from queue_turns where true
        on conflict (owner) do update set turn = excluded.turn",
    )
    .bind(owner)
    .execute(connection)
    .await?;
    Ok(())
}

async fn take(
    connection: &mut SqliteConnection,
    id: JobId,
    device: String,
    now: Timestamp,
) -> Result<ClaimedJob> {
    let row = sqlx::query(
        "update jobs
        set status = 'running', attempt = attempt + 1, device = $2, attempt_started_at = $3,
            started_at = coalesce(started_at, $3),
            dataset_sha256 = coalesce(dataset_sha256, (
                select content_sha256
                from dataset_versions
                where dataset_versions.dataset_id = jobs.dataset_id and dataset_versions.version = jobs.dataset_version
            ))
        where id = $1 and status = 'queued'
        returning attempt, spec, dataset_id, dataset_version, dataset_sha256, milliseconds_used, trace_parent",
    )
    .bind(id.to_string())
    .bind(&device)
    .bind(now.0)
    .fetch_one(&mut *connection)
    .await?;
    let attempt = row.try_get("attempt")?;
    let claimed = ClaimedJob {
        id,
        attempt,
        spec: json(&row, "spec")?,
        dataset: DatasetVersion {
            id: parsed(&row, "dataset_id")?,
            version: row.try_get("dataset_version")?,
            content_sha256: row.try_get("dataset_sha256")?,
        },
        device: device.clone(),
        milliseconds_used: row.try_get("milliseconds_used")?,
        trace: trace(&row)?,
    };
    let status = StatusEvent {
        status: JobStatus::Running,
        attempt,
        device: Some(device),
        reason: None,
    };
    append(connection, id, now, EventKind::Status, &status).await?;
    Ok(claimed)
}
