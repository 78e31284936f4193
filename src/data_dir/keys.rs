//! The way to the database for `finetuned keys` and `finetuned gc`: beside a server that runs, or alone.
//!
//! SQLite lets two programs write to one database, one after the other, and a server looks for changes of the keys by itself. Where no
//! server runs the directory is opened as a server opens it, so a directory that is not there yet is made, and a database that does not
//! belong to it is refused.

use std::path::Path;

use anyhow::{Context, bail};

use super::{DATABASE, DataDir, Lock, fsck::open_to_look, look};
use crate::{blobs::Blobs, domain::data_directory::FoundDatabase, store::Store};

/// A data directory that a command works in.
pub struct Opened<'a> {
    pub path: &'a Path,
    pub store: &'a Store,
    pub blobs: &'a Blobs,
    /// A server runs on it, and its files are that server's to remove.
    pub is_served: bool,
}

/// Runs an act on the rows of a data directory that changes nothing.
///
/// # Errors
/// There is no such directory, its database does not belong to it or is of a newer version, or those of the act.
pub async fn with_rows<T>(
    path: &Path,
    act: impl AsyncFnOnce(Opened<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let path = existing(path)?;
    let lock = Lock::try_without_a_trace(&path)?;
    let is_served = lock.is_none();
    let (database, file) = look(&path).await?;
    if !is_served && let Err(mismatch) = super::judge(&path, &database, &file)? {
        bail!(super::refusal(&path, &mismatch));
    }
    let migration = match database {
        FoundDatabase::Ours { migration, .. } if migration <= Store::newest_migration() => migration,
        FoundDatabase::Ours { .. } => {
            bail!("the database was made by a newer version of finetuned: use that version")
        }
        _ => bail!("{} has no database", path.display()),
    };
    let (store, _copied) = open_to_look(&path, migration, is_served).await?;
    let blobs = Blobs::at(&path);
    let outcome = act(Opened {
        path: &path,
        store: &store,
        blobs: &blobs,
        is_served,
    });
    let outcome = outcome.await;
    store.close().await;
    outcome
}

fn existing(path: &Path) -> anyhow::Result<std::path::PathBuf> {
    path.canonicalize()
        .with_context(|| format!("there is no data directory {}", path.display()))
}

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
        existing(path)?;
    }
    with_directory(path, async |opened| act(opened.store).await).await
}

/// The same on rows and files: those of a running server are only to be looked at.
///
/// # Errors
/// As [`with_database`].
pub async fn with_directory<T>(
    path: &Path,
    act: impl AsyncFnOnce(Opened<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let is_served = Lock::try_without_a_trace(path)?.is_none();
    if is_served {
        let store = Store::open_beside(&path.join(DATABASE)).await?;
        let blobs = Blobs::at(path);
        let outcome = act(Opened {
            path,
            store: &store,
            blobs: &blobs,
            is_served,
        });
        let outcome = outcome.await;
        store.close().await;
        return outcome;
    }
    // What is held back on the disk stays as it is.
    let opened = DataDir::open(path, 0).await?;
    let outcome = act(Opened {
        path: &opened.path,
        store: &opened.store,
        blobs: &opened.blobs,
        is_served,
    });
    let outcome = outcome.await;
    opened.generations.end().await;
    opened.store.close().await;
    outcome
}
