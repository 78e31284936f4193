//! Writing down how something ended, however busy the database is.

use std::{future::Future, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::error::Result;

const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Repeats an act of the store until it succeeds: a row that stayed `running` without a worker would wait for the next start of the
/// server. When the server stops, the act gets one try; what is then not written is put right by the recovery at the next start.
pub async fn insist<T, F>(shutdown: &CancellationToken, what: &str, mut act: impl FnMut() -> F) -> Option<T>
where
    F: Future<Output = Result<T>>,
{
    let mut wait = Duration::from_secs(1);
    loop {
        let error = match act().await {
            Ok(done) => return Some(done),
            Err(error) => error,
        };
        tracing::error!(%error, "cannot {what}; trying again");
        tokio::select! {
            () = shutdown.cancelled() => return None,
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(LONGEST_WAIT),
        }
    }
}
