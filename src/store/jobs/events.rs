//! The events table: a job's stream, its curves, and the progress that its row shows.

use serde::Serialize;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use crate::{
    domain::{
        id::JobId,
        jobs::{
            event::{Event, EventKind, RewindEvent},
            job::{Best, Progress},
        },
        time::Timestamp,
    },
    error::Result,
    store::{
        Store, Topic,
        row::{json, to_json, word},
    },
};

/// What an attempt has told since the last time, stored as one act.
#[derive(Clone, Debug, Default)]
pub struct JobUpdate {
    pub events: Vec<(EventKind, serde_json::Value)>,
    pub progress: Option<Progress>,
    pub best: Option<Best>,
}

/// A point of a curve.
#[derive(Clone, Debug)]
pub struct MetricPoint {
    pub kind: EventKind,
    pub data: serde_json::Value,
}

/// What has to be known of all of a job's curves before the first of their events is shown.
#[derive(Clone, Debug, Default)]
pub struct CurveOutline {
    /// Whether there are step events.
    pub has_steps: bool,
    /// The newest `seq`; 0 before the first event.
    pub last: i64,
    /// `seq` of each rewind, and the last step that it leaves valid.
    rewinds: Vec<(i64, u64)>,
}

impl CurveOutline {
    /// Whether what the event `seq` says of a step was taken back later.
    pub fn takes_back(&self, seq: i64, step: u64) -> bool {
        self.rewinds
            .iter()
            .any(|(rewind, to_step)| *rewind > seq && step > *to_step)
    }
}

impl Store {
    /// Appends an attempt's events and updates the job's row. False when the job no longer belongs to this attempt: then nothing is
    /// written, and the attempt should end.
    pub async fn update_job(&self, id: JobId, attempt: u32, update: JobUpdate) -> Result<bool> {
        let written = self
            .write(move |connection| {
                Box::pin(async move {
                    let progress = update.progress.as_ref().map(to_json).transpose()?;
                    let best = update.best.as_ref().map(to_json).transpose()?;
                    let mine = sqlx::query(
                        "update jobs
                        set progress = coalesce($3, progress), best = coalesce($4, best)
                        where id = $1 and attempt = $2 and status = 'running'",
                    )
                    .bind(id.to_string())
                    .bind(attempt)
                    .bind(progress)
                    .bind(best)
                    .execute(&mut *connection)
                    .await?;
                    if mine.rows_affected() == 0 {
                        return Ok(false);
                    }
                    let now = Timestamp::now();
                    for (kind, data) in &update.events {
                        append(connection, id, now, *kind, data).await?;
                    }
                    Ok(true)
                })
            })
            .await?;
        self.signals.notify(Topic::Job(id));
        Ok(written)
    }

    /// A job's events after `after`, in order, at most `limit`.
    pub async fn events(&self, id: JobId, after: i64, limit: u32) -> Result<Vec<Event>> {
        let rows = sqlx::query(
            "select seq, kind, created_at, data
            from events
            where job_id = $1 and seq > $2
            order by seq
            limit $3",
        )
        .bind(id.to_string())
        .bind(after)
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(read_event).collect()
    }

    /// The newest `seq` of a job; 0 before its first event.
    pub async fn last_event(&self, id: JobId) -> Result<i64> {
        let seq = sqlx::query_scalar("select coalesce(max(seq), 0) from events where job_id = $1")
            .bind(id.to_string())
            .fetch_one(&self.readers)
            .await?;
        Ok(seq)
    }

    /// The outline of a job's curves as they are now.
    pub async fn curve_outline(&self, id: JobId) -> Result<CurveOutline> {
        // The last event first: what comes in between is not shown.
        let last = self.last_event(id).await?;
        let has_steps: i64 =
            sqlx::query_scalar("select exists (select 1 from events where job_id = $1 and kind = 'step')")
                .bind(id.to_string())
                .fetch_one(&self.readers)
                .await?;
        let rows = sqlx::query(
            "select seq, data
            from events
            where job_id = $1 and seq <= $2 and kind = 'rewind'",
        )
        .bind(id.to_string())
        .bind(last)
        .fetch_all(&self.readers)
        .await?;
        let rewind = |row: &SqliteRow| -> Result<(i64, u64)> {
            let rewind: RewindEvent = json(row, "data")?;
            Ok((row.try_get("seq")?, rewind.to_step))
        };
        Ok(CurveOutline {
            has_steps: has_steps != 0,
            last,
            rewinds: rows.iter().map(rewind).collect::<Result<_>>()?,
        })
    }

    /// Step and epoch events of a job after `after`, in order, at most `limit`.
    pub async fn curve_events(&self, id: JobId, after: i64, limit: u32) -> Result<Vec<Event>> {
        let rows = sqlx::query(
            "select seq, kind, created_at, data
            from events
            where job_id = $1 and seq > $2 and kind in ('step', 'epoch')
            order by seq
            limit $3",
        )
        .bind(id.to_string())
        .bind(after)
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(read_event).collect()
    }

    /// What a job's curves are made of, in order: its step, epoch and rewind events.
    pub async fn metric_points(&self, id: JobId) -> Result<Vec<MetricPoint>> {
        let rows = sqlx::query(
            "select kind, data
            from events
            where job_id = $1 and kind in ('step', 'epoch', 'rewind')
            order by seq",
        )
        .bind(id.to_string())
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(MetricPoint {
                    kind: word(row, "kind")?,
                    data: json(row, "data")?,
                })
            })
            .collect()
    }
}

/// Appends one event. Only inside a transaction that holds the write lock: that makes `seq` free of gaps.
pub(in crate::store) async fn append(
    connection: &mut SqliteConnection,
    job: JobId,
    now: Timestamp,
    kind: EventKind,
    data: &impl Serialize,
) -> Result<()> {
    sqlx::query(
        "insert into events (job_id, seq, kind, created_at, data)
        select $1, coalesce(max(seq), 0) + 1, $2, $3, $4
        from events
        where job_id = $1",
    )
    .bind(job.to_string())
    .bind(kind.as_str())
    .bind(now.0)
    .bind(to_json(data)?)
    .execute(connection)
    .await?;
    Ok(())
}

fn read_event(row: &SqliteRow) -> Result<Event> {
    Ok(Event {
        object: "event".to_owned(),
        seq: row.try_get("seq")?,
        kind: word(row, "kind")?,
        created_at: Timestamp(row.try_get("created_at")?),
        data: json(row, "data")?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::Stand;

    #[tokio::test]
    async fn a_rewind_takes_back_what_came_before_it_and_was_later() {
        let stand = Stand::new().await;
        let store = &stand.store;
        let dataset = stand.dataset("things").await;
        let job = stand.submit(&dataset, json!({})).await;
        store
            .claim_job(vec!["cpu".to_owned()], false)
            .await
            .unwrap()
            .unwrap();
        let before = store.curve_outline(job).await.unwrap();
        assert!(!before.has_steps && before.last > 0);
        let step = |step: u64| (EventKind::Step, json!({"step": step, "train_loss": 0.5}));
        let rewind = (EventKind::Rewind, json!({"to_step": 2, "to_epoch": 1}));
        let epoch = (EventKind::Epoch, json!({"epoch": 1, "step": 3}));
        let update = JobUpdate {
            events: vec![step(1), step(2), step(3), epoch, rewind, step(3)],
            ..JobUpdate::default()
        };
        assert!(store.update_job(job, 1, update).await.unwrap());
        let outline = store.curve_outline(job).await.unwrap();
        assert!(outline.has_steps && outline.last == before.last + 6);
        let mut events = store.curve_events(job, 0, 3).await.unwrap();
        events.extend(store.curve_events(job, events[2].seq, 100).await.unwrap());
        let steps: Vec<(u64, bool)> = events
            .iter()
            .map(|event| {
                let step = event.data["step"].as_u64().unwrap();
                (step, outline.takes_back(event.seq, step))
            })
            .collect();
        assert_eq!(steps, [(1, false), (2, false), (3, true), (3, true), (3, false)]);
    }
}
