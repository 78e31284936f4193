//! Writing down how something ended, however busy the database is and however full the disk.

use std::{fmt::Display, future::Future, time::Duration};

use super::context::Context;
use crate::error::{Kind, Result};

/// What has been mended is noticed within this time.
const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// Repeats an act of the store until it succeeds: a row that stayed `running` without a worker would wait for the next start of the
/// server. When the server stops, the act gets one try; what is then not written is put right by the recovery at the next start.
/// `who` is whose end it is: it is known to wait for the disk where that is full.
pub async fn insist<T, F>(
    context: &Context,
    who: &impl Display,
    what: &str,
    mut act: impl FnMut() -> F,
) -> Option<T>
where
    F: Future<Output = Result<T>>,
{
    let mut wait = Duration::from_secs(1);
    let mut full = None;
    loop {
        let error = match act().await {
            Ok(done) => return Some(done),
            Err(error) => error,
        };
        if error.kind() == Kind::DiskFull {
            full.get_or_insert_with(|| context.waits.begin(who));
        } else {
            full = None;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        tracing::error!(%who, %error, "cannot {what}; trying again");
        tokio::select! {
            () = context.shutdown.cancelled() => return None,
            () = tokio::time::sleep(wait) => {}
        }
    }
}
