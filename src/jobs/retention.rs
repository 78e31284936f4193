//! Removes rows of ended jobs that are older than the settings say. Their files go with the sweep that follows.

use crate::{
    domain::{retention::Keep, time::Timestamp},
    error::Result,
    store::{Store, UnusedDataset},
};

/// A dataset of today is not called unused.
const NEW_MILLISECONDS: i64 = 24 * 3600 * 1000;

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    pub jobs: u64,
    pub events: u64,
    pub deliveries: u64,
}

/// Removes what is too old.
pub async fn apply(store: &Store, keep: Keep) -> Result<Removed> {
    let now = Timestamp::now();
    let mut removed = Removed::default();
    if let Some(before) = keep.runs.before(now) {
        removed.jobs = store.delete_old_jobs(before).await?;
    }
    if let Some(before) = keep.events.before(now) {
        removed.events = store.prune_events(before).await?;
    }
    if let Some(before) = keep.deliveries.before(now) {
        removed.deliveries = store.forget_old_deliveries(before).await?;
    }
    Ok(removed)
}

/// Datasets that no job and no model has used, largest first.
pub async fn unused(store: &Store) -> Result<Vec<UnusedDataset>> {
    let before = Timestamp(Timestamp::now().0 - NEW_MILLISECONDS);
    store.unused_datasets(before).await
}

impl Removed {
    pub fn tell(self) {
        let Self {
            jobs,
            events,
            deliveries,
        } = self;
        if jobs + events + deliveries > 0 {
            tracing::info!(
                jobs,
                events,
                deliveries,
                "removed ended jobs, events and messages to webhooks that are older than --keep-runs, --keep-events and --keep-deliveries"
            );
        }
    }
}
