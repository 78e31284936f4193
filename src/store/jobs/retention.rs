//! What is kept of ended jobs, and for how long: which rows are old enough, and removing them.

use sqlx::{Row, SqliteConnection};

use crate::{
    domain::{
        id::{DatasetId, JobId},
        name::Name,
        time::Timestamp,
    },
    error::Result,
    store::{
        Store, references,
        row::{count, parsed, word},
    },
};

/// Jobs that are handled as one act, so that others write in between.
const AT_ONCE: u32 = 50;

/// Ended jobs of before `$1` that nothing needs: a model knows its job by its id, and where that is there the job stays with it.
macro_rules! old_jobs {
    () => {
        "status in ('succeeded', 'failed', 'cancelled')
            and finished_at < $1
            and not exists (select 1 from models where models.job_id = jobs.id)"
    };
}

/// Ended jobs of before `$1` that still have events of steps.
macro_rules! wordy_jobs {
    () => {
        "status in ('succeeded', 'failed', 'cancelled')
            and finished_at < $1
            and events_pruned_at is null"
    };
}

/// What goes with [`Store::prune_events`]. States, epochs, warnings, rewinds and the end tell the story of a job and stay.
macro_rules! of_steps {
    () => {
        "('step', 'progress', 'checkpoint', 'log')"
    };
}

/// Rows that are old enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OldRows {
    pub rows: u64,
    /// Of what they hold, about.
    pub bytes: u64,
}

/// A dataset that nothing has used.
#[derive(Clone, Debug, PartialEq)]
pub struct UnusedDataset {
    pub id: DatasetId,
    pub name: Name,
    pub created_at: Timestamp,
    /// Of its archive, and of images that were added.
    pub bytes: u64,
}

impl Store {
    /// Ended jobs of before this time that nothing needs.
    pub async fn old_jobs(&self, before: Timestamp) -> Result<Vec<JobId>> {
        let rows = sqlx::query(concat!("select id from jobs where ", old_jobs!(), " order by id"))
            .bind(before.0)
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(|row| parsed(row, "id")).collect()
    }

    /// Events of those jobs.
    pub async fn events_of_old_jobs(&self, before: Timestamp) -> Result<OldRows> {
        let row = sqlx::query(concat!(
            "select count(*) as events, coalesce(sum(length(data)), 0) as bytes
            from events
            where job_id in (select id from jobs where ",
            old_jobs!(),
            ")"
        ))
        .bind(before.0)
        .fetch_one(&self.readers)
        .await?;
        old_rows(&row)
    }

    /// Digests of files that only those jobs name.
    pub async fn blobs_of_old_jobs(&self, before: Timestamp) -> Result<Vec<String>> {
        let digests: Vec<String> = sqlx::query_scalar(concat!(
            "select sha256
            from (
                select result_blob as sha256 from jobs where ",
            old_jobs!(),
            "   union select csv_blob from jobs where ",
            old_jobs!(),
            ") as old
            where sha256 is not null
                and sha256 not in (select evaluation_blob from models where evaluation_blob is not null)
                and not exists (
                    select 1 from jobs as others
                    where (others.result_blob = sha256 or others.csv_blob = sha256)
                        and others.id not in (select id from jobs where ",
            old_jobs!(),
            "))"
        ))
        .bind(before.0)
        .fetch_all(&self.readers)
        .await?;
        Ok(digests)
    }

    /// Deletes those jobs as [`Store::delete_job`] does. How many.
    pub async fn delete_old_jobs(&self, before: Timestamp) -> Result<u64> {
        let mut deleted = 0;
        loop {
            let some = self
                .write_even_if_full(move |connection| {
                    Box::pin(async move { delete_some(connection, before).await })
                })
                .await?;
            deleted += some;
            if some < u64::from(AT_ONCE) {
                return Ok(deleted);
            }
        }
    }

    /// Events of single steps of jobs that ended before this time.
    pub async fn old_events(&self, before: Timestamp) -> Result<OldRows> {
        let row = sqlx::query(concat!(
            "select count(*) as events, coalesce(sum(length(data)), 0) as bytes
            from events
            where kind in ",
            of_steps!(),
            " and job_id in (select id from jobs where ",
            wordy_jobs!(),
            ")"
        ))
        .bind(before.0)
        .fetch_one(&self.readers)
        .await?;
        old_rows(&row)
    }

    /// Removes them. How many.
    pub async fn prune_events(&self, before: Timestamp) -> Result<u64> {
        let mut removed = 0;
        loop {
            let some = self
                .write_even_if_full(move |connection| {
                    Box::pin(async move { prune_next(connection, before).await })
                })
                .await?;
            match some {
                Some(events) => removed += events,
                None => return Ok(removed),
            }
        }
    }

    /// Datasets of before this time that no job names and no model was trained on, largest first.
    pub async fn unused_datasets(&self, before: Timestamp) -> Result<Vec<UnusedDataset>> {
        // A model's card says what it was trained on, also after its job was deleted. PostgreSQL would say `card::json #>> '{dataset,id}'`.
        let rows = sqlx::query(
            "select id, name, created_at, bytes + added_bytes as total
            from datasets
            where created_at < $1
                and status <> 'processing'
                and not exists (select 1 from jobs where dataset_id = datasets.id)
                and id not in (
                    select json_extract(card, '$.dataset.id') from models where json_extract(card, '$.dataset.id') is not null
                )
            order by total desc, id",
        )
        .bind(before.0)
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(UnusedDataset {
                    id: parsed(row, "id")?,
                    name: word(row, "name")?,
                    created_at: Timestamp(row.try_get("created_at")?),
                    bytes: count(row, "total")?,
                })
            })
            .collect()
    }

    /// When a job ended; none while it has not, or where it is not there.
    pub async fn job_end(&self, id: JobId) -> Result<Option<Timestamp>> {
        let end: Option<Option<i64>> = sqlx::query_scalar("select finished_at from jobs where id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await?;
        Ok(end.flatten().map(Timestamp))
    }

    /// How many blobs were let go and not swept yet, also by another program.
    pub async fn released(&self) -> Result<u64> {
        let row = sqlx::query("select count(*) as blobs from released_blobs")
            .fetch_one(&self.readers)
            .await?;
        count(&row, "blobs")
    }
}

fn old_rows(row: &sqlx::sqlite::SqliteRow) -> Result<OldRows> {
    Ok(OldRows {
        rows: count(row, "events")?,
        bytes: count(row, "bytes")?,
    })
}

async fn delete_some(connection: &mut SqliteConnection, before: Timestamp) -> Result<u64> {
    let ids: Vec<String> = sqlx::query_scalar(concat!(
        "select id from jobs where ",
        old_jobs!(),
        " order by id limit $2"
    ))
    .bind(before.0)
    .bind(AT_ONCE)
    .fetch_all(&mut *connection)
    .await?;
    for id in &ids {
        references::release(connection, references::OF_JOB, id).await?;
        sqlx::query("delete from jobs where id = $1")
            .bind(id)
            .execute(&mut *connection)
            .await?;
    }
    Ok(ids.len() as u64)
}

/// Of one job; none where no job is left that has any.
async fn prune_next(connection: &mut SqliteConnection, before: Timestamp) -> Result<Option<u64>> {
    let id: Option<String> = sqlx::query_scalar(concat!(
        "select id from jobs where ",
        wordy_jobs!(),
        " order by id limit 1"
    ))
    .bind(before.0)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(id) = id else { return Ok(None) };
    let removed = sqlx::query(concat!(
        "delete from events where job_id = $1 and kind in ",
        of_steps!()
    ))
    .bind(&id)
    .execute(&mut *connection)
    .await?;
    sqlx::query("update jobs set events_pruned_at = $2 where id = $1")
        .bind(&id)
        .bind(Timestamp::now().0)
        .execute(connection)
        .await?;
    Ok(Some(removed.rows_affected()))
}

#[cfg(test)]
mod tests;
