//! Runs blocking file work off the async threads.

use crate::error::{Error, Result};

/// Runs it on a thread of its own. It continues if the caller is cancelled.
///
/// # Errors
/// Its own.
pub async fn blocking<T: Send + 'static>(act: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    // One type for all that return the same, so that the runtime's task is compiled once for them.
    let act: Box<dyn FnOnce() -> Result<T> + Send> = Box::new(act);
    tokio::task::spawn_blocking(act).await.map_err(Error::internal)?
}
