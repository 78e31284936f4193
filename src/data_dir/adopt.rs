//! `finetuned adopt`: goes on with the database that is there. Nothing is removed: what it does not name goes to the trash, from where the
//! server takes it when its time of grace is up.

use std::{fmt, fs, path::Path};

use anyhow::{Context, bail};

use super::{DATABASE, Lock, identity_file, look, make_private, missing};
use crate::{
    blobs::Blobs,
    domain::data_directory::{FoundDatabase, Identity},
    files::private,
    store::Store,
};

/// What adopting came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Adopted {
    /// There was no database, and an empty one was made.
    pub is_new: bool,
    /// Blobs that the database names.
    pub named: usize,
    /// Of them, those that lay in the trash.
    pub put_back: u64,
    /// Of them, those that are nowhere.
    pub missing: usize,
    /// Of those, the ones that are made again when they are needed.
    pub caches: u64,
    /// Blobs that the database does not name, now in the trash.
    pub discarded: u64,
}

/// Makes the database that lies in a data directory the one that belongs to it.
///
/// # Errors
/// There is no such directory, a server uses it, or the database is damaged or not ours.
pub async fn adopt(path: &Path) -> anyhow::Result<Adopted> {
    let path = path
        .canonicalize()
        .with_context(|| format!("there is no data directory {}", path.display()))?;
    let _lock = Lock::take(&path)?;
    let (database, _) = look(&path).await?;
    let is_new = matches!(database, FoundDatabase::Missing | FoundDatabase::Empty);
    if database == FoundDatabase::Foreign {
        bail!(
            "{} is not a finetuned database; replace it with one, or remove it to continue with an empty one",
            path.join(DATABASE).display()
        );
    }
    make_private(&path);
    if is_new {
        set_log_aside(&path)?;
        private::options()
            .create(true)
            .append(true)
            .open(path.join(DATABASE))
            .context("cannot create the database")?;
    }
    let store = Store::open(&path.join(DATABASE)).await?;
    let adopted = take(&path, &store, is_new).await;
    store.close().await;
    adopted
}

/// SQLite would remove the writes of a database that is gone, and they may be all that is left of it.
fn set_log_aside(path: &Path) -> anyhow::Result<()> {
    let log = path.join("finetuned.db-wal");
    if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        Blobs::at(path).make_trash()?;
        fs::rename(log, path.join("trash/finetuned.db-wal"))?;
    }
    Ok(())
}

async fn take(path: &Path, store: &Store, is_new: bool) -> anyhow::Result<Adopted> {
    let blobs = Blobs::at(path);
    blobs.make_trash()?;
    let ledger = store.ledger().await?;
    let put_back = blobs.put_back(&ledger.named)?;
    let missing = missing(&ledger, &blobs)?;
    let discarded = blobs.discard_unnamed(&ledger.named)?;
    let adopted = Adopted {
        is_new,
        named: ledger.named.len(),
        put_back,
        missing: missing.len(),
        caches: store.forget_caches(missing).await?,
        discarded,
    };
    // Last, so that a crash before it leaves the directory to be adopted again.
    let identity = Identity::first();
    store.set_identity(identity.clone()).await?;
    identity_file::write(path, &identity.beside())?;
    Ok(adopted)
}

impl fmt::Display for Adopted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            is_new,
            named,
            put_back,
            missing,
            caches,
            discarded,
        } = self;
        if *is_new {
            writeln!(out, "there was no database: the directory now has an empty one")?;
        } else {
            writeln!(
                out,
                "the database now belongs to the directory; it references {named} files"
            )?;
        }
        if *put_back > 0 {
            writeln!(out, "{put_back} of them were restored from trash/")?;
        }
        let lost = (*missing as u64).saturating_sub(*caches);
        if lost > 0 {
            writeln!(
                out,
                "{lost} of them are missing: `finetuned fsck` lists them, and what needs them will fail"
            )?;
        }
        if *caches > 0 {
            writeln!(out, "{caches} more are missing and will be rebuilt when needed")?;
        }
        if *discarded > 0 {
            writeln!(
                out,
                "{discarded} unreferenced files were moved to trash/, where the server keeps them for a while \
                (--blob-grace-seconds) and this command finds them again"
            )?;
        }
        Ok(())
    }
}
