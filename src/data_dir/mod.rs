//! A data directory as a whole: who may use it, which database belongs to it, whom its files belong to.
//!
//! [`DataDir::open`] is the only way to a store and blobs that are used for good. It compares before it changes anything: where the
//! database does not belong to the files it refuses, and nothing has been made, moved or removed. `adopt` and `fsck` are the commands
//! for a person whose server refuses, `backup` saves and restores all of it, `keys` is the way to the database for those who make keys.

mod adopt;
mod backup;
mod fsck;
mod generation;
mod identity_file;
mod keys;
mod lock;
mod sizes;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

pub use self::{
    adopt::{Adopted, adopt},
    backup::{Manner, Note, Restored, Saved, backup, restore},
    fsck::{Report, fsck},
    generation::Generations,
    keys::{Opened, with_database, with_directory, with_rows},
    lock::Lock,
    sizes::{Size, sizes},
};
use crate::{
    blobs::Blobs,
    domain::{
        data_directory::{self, FoundDatabase, FoundFile, Mismatch, Standing},
        jobs::ledger::Ledger,
    },
    files::private,
    store::{Ballast, Store},
};

/// What of a data directory is ours: other files in it are left alone.
const OURS: &[&str] = &[
    "LOCK",
    identity_file::NAME,
    DATABASE,
    "finetuned.db-wal",
    "finetuned.db-shm",
    "placed",
    BALLAST,
    "blobs",
    "exports",
    "logs",
    "predict",
    "runs",
    "spool",
    "thumbnails",
    "trash",
    "uploads",
    "weights",
    WEBHOOK_KEY,
];
const DATABASE: &str = "finetuned.db";
/// The database of a directory that is being restored, until everything else is there. No server starts beside it.
const UNFINISHED: &str = "restoring.db";
/// What the secrets of webhooks are made of.
pub const WEBHOOK_KEY: &str = "webhooks.key";
/// See [`Ballast`].
const BALLAST: &str = "ballast";

/// A data directory that is this process's own.
pub struct DataDir {
    /// From the root, without symbolic links.
    pub path: PathBuf,
    pub store: Store,
    pub blobs: Blobs,
    pub generations: Generations,
    pub lock: Lock,
}

impl DataDir {
    /// Takes the directory for this process, made where it is not there, and opens what is in it. `ballast_bytes` of the disk are held back.
    ///
    /// # Errors
    /// Another server uses it; the database does not belong to it, is damaged or of a newer version.
    pub async fn open(path: &Path, ballast_bytes: u64) -> anyhow::Result<Self> {
        let path = create(path)?;
        let lock = Lock::take(&path)?;
        ensure!(
            !path.join(UNFINISHED).exists(),
            "{} was not restored to its end: remove it, and restore the backup again",
            path.display()
        );
        let (database, file) = look(&path).await?;
        let standing = stand(&path, &database, &file)?;
        if standing == Standing::New {
            // SQLite would make it for everybody to read.
            private::options()
                .create(true)
                .append(true)
                .open(path.join(DATABASE))
                .context("cannot create the database")?;
        }
        let ballast = Ballast::new(path.join(BALLAST), ballast_bytes);
        // Opening the database makes files beside it, also on a full disk.
        ballast.drop_if_full();
        let store = Store::open(&path.join(DATABASE)).await?;
        if let Err(error) = ballast.fill(0) {
            tracing::warn!(%error, "cannot reserve ballast for the database; deleting may fail on a full disk");
        }
        let store = store.with_ballast(ballast);
        match Self::enter(&path, &store, &file).await {
            Ok((blobs, generations)) => Ok(Self {
                path,
                store,
                blobs,
                generations,
                lock,
            }),
            Err(error) => {
                store.close().await;
                Err(error)
            }
        }
    }

    /// The last look before anything is removed: do the rows know the blobs?
    async fn enter(path: &Path, store: &Store, file: &FoundFile) -> anyhow::Result<(Blobs, Generations)> {
        let ledger = store.ledger().await?;
        if let Some(mismatch) = Blobs::at(path).check(&ledger)? {
            bail!(refusal(path, &mismatch));
        }
        make_private(path);
        let blobs = Blobs::open(path)?;
        let back = blobs.put_back(&ledger.named)?;
        if back > 0 {
            tracing::info!(blobs = back, "restored referenced blobs from the trash");
        }
        let generations = Generations::begin(path, store.clone(), blobs.clone(), file).await?;
        Ok((blobs, generations))
    }
}

/// Makes the directory where it is not there, for its owner alone; its path from the root.
fn create(path: &Path) -> anyhow::Result<PathBuf> {
    private::create_dir_all(path)
        .with_context(|| format!("cannot create the data directory {}", path.display()))?;
    Ok(path.canonicalize()?)
}

/// Both sides of a data directory, as they are.
async fn look(path: &Path) -> anyhow::Result<(FoundDatabase, FoundFile)> {
    let database = Store::look(&path.join(DATABASE)).await?;
    Ok((database, identity_file::read(path)?))
}

fn stand(path: &Path, database: &FoundDatabase, file: &FoundFile) -> anyhow::Result<Standing> {
    // Opening it says so, and changes nothing: what a newer version means by its rows is not for this one to judge.
    if matches!(database, FoundDatabase::Ours { migration, .. } if *migration > Store::newest_migration()) {
        return Ok(Standing::Fits);
    }
    match judge(path, database, file)? {
        Ok(standing) => Ok(standing),
        Err(mismatch) => bail!(refusal(path, &mismatch)),
    }
}

fn judge(
    path: &Path,
    database: &FoundDatabase,
    file: &FoundFile,
) -> std::io::Result<Result<Standing, Mismatch>> {
    // Only then does it matter, and there may be many to look through.
    let is_without = matches!(database, FoundDatabase::Missing | FoundDatabase::Empty);
    let is_used = is_without && is_used(path)?;
    Ok(data_directory::judge(database, file, is_used))
}

/// Whether files lie there that rows would name, or writes of a database that is not there.
fn is_used(path: &Path) -> std::io::Result<bool> {
    let has_log = std::fs::metadata(path.join("finetuned.db-wal")).is_ok_and(|log| log.len() > 0);
    let folders = ["uploads", "trash"].map(|folder| path.join(folder));
    let has_files = folders
        .iter()
        .any(|folder| std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()));
    Ok(has_log || has_files || !Blobs::at(path).present()?.is_empty())
}

/// What happened, and three ways on; one line.
fn refusal(path: &Path, mismatch: &Mismatch) -> String {
    let with_what = match mismatch {
        Mismatch::Missing | Mismatch::Empty => "an empty database",
        _ => "the existing database",
    };
    format!(
        "{mismatch}, so nothing in {path} was touched. Restore the database that belongs to it; or run `finetuned adopt --data-dir \
        {path}` to continue with {with_what}; or start with an empty --data-dir",
        path = path.display()
    )
}

/// Closes to others what an earlier version left open.
fn make_private(path: &Path) {
    let mut done = private::Closed::default();
    for name in OURS {
        let path = path.join(name);
        if path
            .symlink_metadata()
            .is_ok_and(|metadata| !metadata.is_symlink())
        {
            let closed = private::close(&path);
            done.closed += closed.closed;
            done.failed += closed.failed;
        }
    }
    let folder = private::close_one(path);
    if done.failed > 0 || folder.is_err() {
        tracing::warn!(
            files = done.failed,
            "the data directory has files that other users can read and that belong to another user"
        );
    } else if done.closed > 0 {
        tracing::info!(
            files = done.closed,
            "restricted the permissions of files in the data directory to their owner"
        );
    }
}

/// Digests that rows name and that are neither in their place nor in the trash.
fn missing(ledger: &Ledger, blobs: &Blobs) -> std::io::Result<Vec<String>> {
    let present: std::collections::HashSet<String> = blobs.present()?.into_iter().collect();
    let mut missing: Vec<String> = ledger.named.difference(&present).cloned().collect();
    missing.sort();
    Ok(missing)
}
