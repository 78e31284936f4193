//! Records how something ended, however busy the database is and however full the disk.

use std::{fmt::Display, future::Future, time::Duration};

use super::context::Context;
use crate::error::{Kind, Result};

/// Time between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// Repeats a store operation until it succeeds: a row that stayed `running` without a worker would wait for the next start of the server.
/// When the server is stopping, there is one try; what is not written then is recovered at the next start. `who` is the object concerned;
/// it is registered as waiting if the disk is full.
pub async fn retry<T, F>(
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
        tracing::error!(%who, %error, "cannot {what}; retrying");
        tokio::select! {
            () = context.shutdown.cancelled() => return None,
            () = tokio::time::sleep(wait) => {}
        }
    }
}
