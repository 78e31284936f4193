//! Where queued jobs stand in the line. It takes all rows of the queue to say it of one, and many may ask: so it is remembered until the next
//! write.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::SqliteConnection;
use tokio::sync::Mutex;

use super::queue::{read_waiting, shares};
use crate::{
    domain::{
        id::JobId,
        jobs::{
            job::{Job, JobStatus, Progress, WaitingFor},
            line,
        },
    },
    error::Result,
    store::{Store, write::Written},
};

/// Times of files are coarse: should another program have written at the same one, that is seen after this.
const LONGEST: Duration = Duration::from_millis(500);

/// The line as it was last, if anybody has asked.
#[derive(Default)]
pub struct Places(Mutex<Option<Remembered>>);

struct Remembered {
    /// What had been written when it was read.
    written: Written,
    at: Instant,
    line: Arc<Line>,
}

/// The line at one moment.
struct Line {
    places: HashMap<JobId, u64>,
    /// Owners who have as many jobs running as they may.
    full: HashSet<String>,
}

impl Store {
    /// Says of queued jobs where they stand in the line, and whether the quota of their owner holds them up.
    pub(super) async fn place(&self, jobs: &mut [Job]) -> Result<()> {
        let mut queued: Vec<&mut Job> = jobs
            .iter_mut()
            .filter(|job| job.status == JobStatus::Queued)
            .collect();
        if queued.is_empty() {
            return Ok(());
        }
        let mut line = self.line(false).await?;
        // They came after it.
        if queued.iter().any(|job| !line.places.contains_key(&job.id)) {
            line = self.line(true).await?;
        }
        for job in &mut queued {
            job.queue_position = line.places.get(&job.id).copied();
            let owner = job.owner.as_ref().map_or("", |owner| owner.name.as_str());
            if line.full.contains(owner) {
                job.progress.get_or_insert(Progress::NONE).waiting = Some(WaitingFor::Quota);
            }
        }
        Ok(())
    }

    async fn line(&self, anew: bool) -> Result<Arc<Line>> {
        // One reads it, and the others wait for it.
        let mut remembered = self.places.0.lock().await;
        let (written, at) = (self.written(), Instant::now());
        if let Some(known) = remembered.as_ref()
            && !anew
            && known.written == written
            && known.at.elapsed() < LONGEST
        {
            return Ok(known.line.clone());
        }
        let mut moment = self.readers.begin().await?;
        let line = Arc::new(read_line(&mut moment).await?);
        moment.rollback().await?;
        *remembered = Some(Remembered {
            written,
            at,
            line: line.clone(),
        });
        Ok(line)
    }
}

async fn read_line(connection: &mut SqliteConnection) -> Result<Line> {
    let rows = sqlx::query(
        "select id, coalesce(owner_name, '') as owner, priority
        from jobs
        where status = 'queued'",
    )
    .fetch_all(&mut *connection)
    .await?;
    let waiting = rows.iter().map(read_waiting).collect::<Result<Vec<_>>>()?;
    let shares = shares(connection).await?;
    let line = line::line(&waiting, &shares);
    let places = (0..).zip(line).map(|(place, index)| (waiting[index].id, place));
    Ok(Line {
        places: places.collect(),
        full: shares
            .into_iter()
            .filter(|(_, share)| share.is_full())
            .map(|(owner, _)| owner)
            .collect(),
    })
}
