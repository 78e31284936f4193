//! The way to the database for `finetuned keys`: beside a server that runs, or alone.
//!
//! SQLite lets two programs write to one database, one after the other, and a server looks for changes of the keys by itself. Where no
//! server runs the directory is opened as a server opens it, so a directory that is not there yet is made, and a database that does not
//! belong to it is refused.

use std::path::Path;

use anyhow::Context;

use super::{DATABASE, DataDir, Lock};
use crate::store::Store;

/// Runs a short act on the database of a data directory. Without `make` the directory has to be there.
///
/// # Errors
/// There is no such directory, its database does not belong to it or is of another version, or those of the act.
pub async fn with_database<T>(
    path: &Path,
    make: bool,
    act: impl AsyncFnOnce(&Store) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    if !make {
        path.canonicalize()
            .with_context(|| format!("there is no data directory {}", path.display()))?;
    }
    let is_served = Lock::try_without_a_trace(path)?.is_none();
    if is_served {
        let store = Store::open_beside(&path.join(DATABASE)).await?;
        let outcome = act(&store).await;
        store.close().await;
        return outcome;
    }
    // What is held back on the disk stays as it is.
    let opened = DataDir::open(path, 0).await?;
    let outcome = act(&opened.store).await;
    opened.generations.end().await;
    opened.store.close().await;
    outcome
}
