//! `finetuned backup` and `finetuned restore`: a copy of everything that cannot be made again, also while the server runs.
//!
//! A backup is a folder that is laid out as a data directory, with the note [`note::NAME`] instead of an identity, so that no server starts
//! on it. Rows are written after their files, and files go after their rows. So the database is copied first, and then every file that the
//! copy names is there, unless its rows went meanwhile: then a newer copy of the database does not name it either. The database is copied
//! again until nothing is missing; what was carried already stays, so each further round has less to do.

mod blobs;
mod carrier;
mod note;
mod others;
mod restore;
mod saving;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use serde::Serialize;

use self::{carrier::Carrier, others::Others, saving::Saving};
pub use self::{
    note::Note,
    restore::{Restored, restore},
};
use super::{DATABASE, Lock, look};
use crate::{blobs::Blobs, domain::data_directory::FoundDatabase, files::private, store::Store};

/// How files are carried and looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// Copies also where hard links are possible.
    pub copy: bool,
    /// Every file is read and compared with its digest, also those that are links.
    pub deep: bool,
}

/// What was saved.
#[derive(Clone, Debug, Serialize)]
pub struct Saved {
    pub folder: String,
    #[serde(flatten)]
    pub note: Note,
    /// Of the files, those that are copies; the others are hard links.
    pub copied: u64,
    /// A server was running meanwhile.
    pub is_served: bool,
}

/// Saves a data directory in an empty folder, which is made where it is not there.
///
/// # Errors
/// The folder is not empty; there is no data directory, its database does not belong to it or is of another version; files that the
/// database names are missing or damaged; the folder's disk is full. What was saved until then stays, and cannot be restored.
pub async fn backup(data_dir: &Path, folder: &Path, manner: Manner) -> anyhow::Result<Saved> {
    let data_dir = data_dir
        .canonicalize()
        .with_context(|| format!("there is no data directory {}", data_dir.display()))?;
    let is_served = Lock::try_without_a_trace(&data_dir)?.is_none();
    let migration = check(&data_dir, is_served).await?;
    let folder = empty_folder(folder, &data_dir)?;
    Note::begun(migration)
        .begin(&folder)
        .with_context(|| format!("cannot write to {}", folder.display()))?;
    let store = Store::open_beside(&data_dir.join(DATABASE)).await?;
    let saving = Saving {
        store,
        from: Blobs::at(&data_dir),
        to: Blobs::at(&folder),
        others: Others::of(&data_dir),
        folder: folder.clone(),
        carrier: Carrier::new(manner.copy),
    };
    let (note, copied) = saving.save(migration, manner.deep).await?;
    Ok(Saved {
        folder: folder.display().to_string(),
        note,
        copied,
        is_served,
    })
}

/// Whether this database can be copied as it is: its migration.
async fn check(data_dir: &Path, is_served: bool) -> anyhow::Result<i64> {
    let (database, file) = look(data_dir).await?;
    // Beside a server it is in use, and the two sides are not written at the same moment.
    if !is_served && let Err(mismatch) = super::judge(data_dir, &database, &file)? {
        bail!(
            "{mismatch}, so there is nothing to back up as it is; `finetuned fsck --data-dir {}` says more",
            data_dir.display()
        );
    }
    let newest = Store::newest_migration();
    match database {
        FoundDatabase::Ours { migration, .. } if migration == newest => Ok(migration),
        FoundDatabase::Ours { migration, .. } => bail!(
            "the database is of another version of finetuned than this program (migration {migration}, and this one writes {newest}): make \
            the backup with the version that wrote it"
        ),
        _ => bail!("{} has no database to back up", data_dir.display()),
    }
}

/// The folder, which is empty, from the root.
fn empty_folder(folder: &Path, data_dir: &Path) -> anyhow::Result<PathBuf> {
    let shown = folder.display();
    private::create_dir_all(folder).with_context(|| format!("cannot create {shown}"))?;
    let folder = folder.canonicalize()?;
    ensure!(
        !folder.starts_with(data_dir),
        "{shown} is in the data directory and would be lost with it: choose a folder elsewhere"
    );
    let mut entries = fs::read_dir(&folder).with_context(|| format!("cannot read {shown}"))?;
    ensure!(
        entries.next().is_none(),
        "{shown} is not empty: choose an empty folder, or a new one"
    );
    Ok(folder)
}

impl fmt::Display for Saved {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Note {
            rows, files, bytes, ..
        } = &self.note;
        writeln!(
            out,
            "saved {} datasets, {} models, {} jobs with {} events, {} keys",
            rows.datasets, rows.models, rows.jobs, rows.events, rows.keys
        )?;
        writeln!(
            out,
            "{files} files beside the database, {} of them hard links, {bytes} bytes in all; everything that the database references is there",
            files.saturating_sub(self.copied)
        )?;
        write!(
            out,
            "restore it with `finetuned restore {} --data-dir NEW`",
            self.folder
        )
    }
}

#[cfg(test)]
mod tests;
