//! A full disk is a state, not a failure: writes are retried until they succeed, and the API reports what is waiting.
//!
//! `attempt`, `settle`, `ingest` and `recorder` wait here for the server's own writes. A child waits by itself and sends a message, which
//! the recorder registers here. This state is in memory only: the next start finds out again.

use std::{fmt::Display, sync::Arc, time::Duration};

use super::context::Context;
use crate::error::{Kind, Result};

/// Time between two tries.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// Time between two attempts to reserve the ballast again.
const REFILL_EVERY: Duration = Duration::from_secs(5);

/// Repeats `act` as long as it fails only because the disk is full. Returns `None` if `stop` is ready first.
pub async fn when_there_is_room<T, F>(
    context: &Context,
    who: &impl Display,
    stop: impl Future<Output = ()>,
    mut act: impl FnMut() -> F,
) -> Option<Result<T>>
where
    F: Future<Output = Result<T>>,
{
    let mut stop = std::pin::pin!(stop);
    let mut wait = None;
    loop {
        let outcome = act().await;
        match &outcome {
            Err(error) if error.kind() == Kind::DiskFull => {
                wait.get_or_insert_with(|| context.waits.begin(who));
            }
            _ => return Some(outcome),
        }
        tokio::select! {
            () = &mut stop => return None,
            () = tokio::time::sleep(RETRY_EVERY) => {}
        }
    }
}

/// A full disk as an outcome, for callers that must not wait: a [`Pin`](crate::blobs::Pin) blocks the sweep, and so the very deletions that
/// make room.
/// so the very deletions that make room.
pub fn full_apart<T>(outcome: Result<T>) -> Result<Result<T>> {
    match outcome {
        Err(error) if error.kind() == Kind::DiskFull => Ok(Err(error)),
        outcome => outcome.map(Ok),
    }
}

/// Waits until the disk has more room than now, or for a while: for work that starts over and may fail in the same way.
pub async fn until_there_is_more_room(context: &Context, who: &impl Display, stop: impl Future<Output = ()>) {
    /// What a small deletion frees at least.
    const MORE: u64 = 1 << 20;
    const LONGEST: Duration = Duration::from_secs(60);
    let _wait = context.waits.begin(who);
    let before = context.blobs.free_bytes().unwrap_or(u64::MAX);
    let more = async {
        while context
            .blobs
            .free_bytes()
            .is_ok_and(|free| free < before.saturating_add(MORE))
        {
            tokio::time::sleep(RETRY_EVERY).await;
        }
    };
    tokio::select! {
        () = stop => {}
        () = more => {}
        () = tokio::time::sleep(LONGEST) => {}
    }
}

/// Maintains the ballast file, and reserves it again when it was released and the disk is no longer full.
pub async fn run(context: Arc<Context>) {
    loop {
        tokio::select! {
            () = context.shutdown.cancelled() => return,
            () = tokio::time::sleep(REFILL_EVERY) => {}
        }
        let store = context.store.clone();
        let reserve = context.config.limits.min_free_bytes;
        let fill = move || store.ballast().map_or(Ok(()), |ballast| ballast.fill(reserve));
        if let Ok(Err(error)) = tokio::task::spawn_blocking(fill).await {
            // If it is impossible in general, that was logged at the start.
            tracing::debug!(%error, "cannot reserve the ballast again yet");
        }
    }
}
