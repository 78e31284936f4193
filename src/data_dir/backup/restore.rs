//! `finetuned restore`: makes a data directory out of a backup, which stays as it is.
//!
//! The database comes last, by rename. Before that there is only [`UNFINISHED`], beside which no server starts. The new directory gets an
//! identity of its own: it and the one that was saved go their own ways from here, and a database of one does not belong to the other.

use std::{
    collections::HashSet,
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use serde::Serialize;

use super::{
    Manner, Note,
    blobs::{carry_blob, verify},
    carrier::Carrier,
    others::Others,
};
use crate::{
    blobs::Blobs,
    data_dir::{DATABASE, Lock, UNFINISHED, identity_file},
    domain::data_directory::Identity,
    store::Store,
};

/// What was restored.
#[derive(Clone, Debug, Serialize)]
pub struct Restored {
    pub data_dir: String,
    #[serde(flatten)]
    pub note: Note,
    /// Of the files, those that are copies; the others are hard links.
    pub copied: u64,
}

/// Restores a backup into an empty data directory, which is made where it is not there.
///
/// # Errors
/// The folder is not a complete backup, was made by a newer version, or lacks files; the directory is not empty; the disk is full. What was
/// restored until then stays, and no server starts on it.
pub async fn restore(folder: &Path, data_dir: &Path, manner: Manner) -> anyhow::Result<Restored> {
    let folder = folder
        .canonicalize()
        .with_context(|| format!("there is no backup {}", folder.display()))?;
    let note = Note::read(&folder)?;
    let newest = Store::newest_migration();
    ensure!(
        note.migration <= newest,
        "{} was made by a newer version of finetuned (migration {}; this one supports up to {newest}): restore it with version {} or a newer one",
        folder.display(),
        note.migration,
        note.program
    );
    let data_dir = empty_directory(data_dir, &folder)?;
    let restored = fill(&folder, &data_dir, manner).await;
    let copied = restored.with_context(|| {
        format!(
            "the backup could not be restored; remove {} before you try again",
            data_dir.display()
        )
    })?;
    Ok(Restored {
        data_dir: data_dir.display().to_string(),
        note,
        copied,
    })
}

fn empty_directory(data_dir: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let shown = data_dir.display();
    let empty = fs::read_dir(data_dir).map_or(true, |mut entries| entries.next().is_none());
    ensure!(
        empty,
        "{shown} is not empty: name a --data-dir that is empty or not there; `finetuned restore` replaces nothing"
    );
    let data_dir = crate::data_dir::create(data_dir)?;
    ensure!(
        !data_dir.starts_with(folder),
        "{shown} is in the backup: name a --data-dir elsewhere"
    );
    Ok(data_dir)
}

/// How many files are copies.
async fn fill(folder: &Path, data_dir: &Path, manner: Manner) -> anyhow::Result<u64> {
    let _lock = Lock::take(data_dir)?;
    let (from, to) = (Blobs::at(folder), Blobs::at(data_dir));
    let mut carrier = Carrier::new(manner.copy);
    let unfinished = data_dir.join(UNFINISHED);
    // It is written to, so never a link.
    let has_database = Carrier::new(true).copy(&folder.join(DATABASE), &unfinished, None)?;
    ensure!(has_database, "{} has no {DATABASE}", folder.display());
    let identity = Identity::first();
    let named = upgrade(&unfinished, identity.clone()).await?;
    carry_blobs(&from, &to, &named, &mut carrier)?;
    let others = Others::of(folder);
    others.carry_checkpoints(data_dir, &mut carrier)?;
    others.carry_rest(data_dir, &mut carrier)?;
    verify(&to, &named, manner.deep)?;
    rustix::fs::syncfs(fs::File::open(data_dir)?)?;
    fs::rename(unfinished, data_dir.join(DATABASE))?;
    identity_file::write(data_dir, &identity.beside())?;
    Ok(carrier.copied)
}

/// Brings the copy up to date; the digests that it names.
async fn upgrade(database: &Path, identity: Identity) -> anyhow::Result<HashSet<String>> {
    let store = Store::open(database).await?;
    let named = async {
        store.set_identity(identity).await?;
        store.referenced_blobs().await
    };
    let named = named.await;
    store.close().await;
    Ok(named?)
}

fn carry_blobs(
    from: &Blobs,
    to: &Blobs,
    named: &HashSet<String>,
    carrier: &mut Carrier,
) -> anyhow::Result<()> {
    for sha256 in named {
        if !carry_blob(from, to, sha256, carrier)? {
            bail!("the backup lacks the file {sha256}: it is damaged, restore another one");
        }
    }
    Ok(())
}

impl fmt::Display for Restored {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = &self.note.rows;
        writeln!(
            out,
            "restored {} datasets, {} models, {} jobs and {} files as of {}",
            rows.datasets,
            rows.models,
            rows.jobs,
            self.note.files,
            self.note.made_at.to_rfc3339()
        )?;
        write!(
            out,
            "start it with `finetuned serve --data-dir {}`",
            self.data_dir
        )
    }
}
