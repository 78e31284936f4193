//! `?wait=SECONDS`: responds when the object has reached the requested state or the time is up.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::error::Result;

/// Longest wait, in seconds.
pub const MAX_WAIT: i64 = 3600;

/// Polls until `done` holds, the time is up, or the server stops; returns the last value.
pub async fn until<T, F>(
    mut changed: watch::Receiver<()>,
    wait_seconds: Option<u64>,
    stop: &CancellationToken,
    look: impl Fn() -> F,
    done: impl Fn(&T) -> bool,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let end = Instant::now() + Duration::from_secs(wait_seconds.unwrap_or(0));
    loop {
        changed.mark_unchanged();
        let seen = look().await?;
        if done(&seen) || Instant::now() >= end {
            return Ok(seen);
        }
        tokio::select! {
            woken = timeout_at(end, changed.changed()) => if woken.is_err() { return look().await },
            () = stop.cancelled() => return Ok(seen),
        }
    }
}
