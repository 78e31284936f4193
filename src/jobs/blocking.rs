//! Runs blocking file work off the async threads.

use crate::error::{Error, Result};

/// Runs it on a thread of its own. It continues if the caller is cancelled.
///
/// # Errors
/// Its own.
pub async fn blocking<T: Send + 'static>(act: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(act).await.map_err(Error::internal)?
}
