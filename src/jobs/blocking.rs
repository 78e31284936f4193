//! Work with files, away from the threads that must not wait.

use crate::error::{Error, Result};

/// Does it on a thread of its own. A caller that leaves does not stop it.
///
/// # Errors
/// Its own.
pub async fn blocking<T: Send + 'static>(act: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(act).await.map_err(Error::internal)?
}
