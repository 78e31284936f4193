//! A backup on its way: in which order the database and the files are copied, and when it is whole.

use std::{
    collections::{BTreeSet, HashSet},
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{bail, ensure};

use super::{
    blobs::{carry_blob, shown, verify},
    carrier::Carrier,
    note::Note,
    others::Others,
};
use crate::{
    blobs::Blobs,
    data_dir::{DATABASE, WEBHOOK_KEY},
    domain::time::Timestamp,
    files::private,
    store::Store,
};

/// So often a server may take files away before they are carried. Each round is shorter than the one before.
const ROUNDS: usize = 20;

/// A backup that is being made.
pub struct Saving {
    pub store: Store,
    pub from: Blobs,
    pub to: Blobs,
    pub others: Others,
    pub folder: PathBuf,
    pub carrier: Carrier,
}

impl Saving {
    /// The note of the whole backup, and how many files are copies.
    pub async fn save(mut self, migration: i64, deep: bool) -> anyhow::Result<(Note, u64)> {
        // Before the database: then it knows everything that they go on from.
        self.others.carry_checkpoints(&self.folder, &mut self.carrier)?;
        let (named, made_at) = self.carry_all().await?;
        self.store.close().await;
        self.remove_unnamed(&named)?;
        self.others.carry_rest(&self.folder, &mut self.carrier)?;
        let copy = Store::open(&self.folder.join(DATABASE)).await?;
        let checked = Others::remove_ended(&copy, &self.folder).await;
        let rows = copy.census().await;
        let faults = copy.faults().await;
        copy.close().await;
        checked?;
        let faults = faults?;
        ensure!(
            faults.is_empty(),
            "the copy of the database is damaged: {}",
            faults.join("; ")
        );
        verify(&self.to, &named, deep)?;
        rustix::fs::syncfs(fs::File::open(&self.folder)?)?;
        let (files, bytes) = count(&self.folder)?;
        let note = Note {
            complete: true,
            made_at,
            rows: rows?,
            files,
            bytes,
            ..Note::begun(migration)
        };
        note.replace(&self.folder)?;
        Ok((note, self.carrier.copied))
    }

    /// Copies the database and then the blobs that it names, until none is missing.
    pub(super) async fn carry_all(&mut self) -> anyhow::Result<(HashSet<String>, Timestamp)> {
        let mut missing_before = BTreeSet::new();
        for _ in 0..ROUNDS {
            let made_at = Timestamp::now();
            let named = self.copy_database().await?;
            let missing = self.carry_blobs(&named)?;
            if missing.is_empty() {
                return Ok((named, made_at));
            }
            let lost: Vec<&String> = missing.intersection(&missing_before).collect();
            if !lost.is_empty() {
                bail!(
                    "{} of the files that the database references are missing, such as {}: `finetuned fsck` lists them; delete the datasets and \
                    models that need them, or put them back, and try again",
                    lost.len(),
                    shown(&lost)
                );
            }
            missing_before = missing;
        }
        bail!(
            "the server deletes files faster than they are copied: try again when fewer datasets and models are being deleted, or with a \
            longer --blob-grace-seconds"
        )
    }

    /// The digests that the copy names.
    pub(super) async fn copy_database(&self) -> anyhow::Result<HashSet<String>> {
        let file = self.folder.join(DATABASE);
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        // SQLite would make it for everybody to read.
        private::options().create_new(true).write(true).open(&file)?;
        self.store.copy_to(&file).await?;
        let copy = Store::open(&file).await?;
        let named = async {
            copy.leave_out_caches().await?;
            copy.referenced_blobs().await
        };
        let named = named.await;
        copy.close().await;
        Ok(named?)
    }

    /// The digests of those that are nowhere.
    pub(super) fn carry_blobs(&mut self, named: &HashSet<String>) -> anyhow::Result<BTreeSet<String>> {
        let mut missing = BTreeSet::new();
        for sha256 in named {
            if !carry_blob(&self.from, &self.to, sha256, &mut self.carrier)? {
                missing.insert(sha256.clone());
            }
        }
        Ok(missing)
    }

    /// What an earlier round carried and the last copy of the database does not name.
    pub(super) fn remove_unnamed(&self, named: &HashSet<String>) -> io::Result<()> {
        for sha256 in self.to.present()? {
            if !named.contains(&sha256) {
                fs::remove_file(self.to.path(&sha256))?;
            }
        }
        Ok(())
    }
}

/// Files of a backup besides its note and database, and the bytes of all but the note.
fn count(folder: &Path) -> io::Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, fs::metadata(folder.join(DATABASE))?.len());
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(&inner)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if inner != folder || entry.file_name() == WEBHOOK_KEY {
                files += 1;
                bytes += entry.metadata()?.len();
            }
        }
    }
    Ok((files, bytes))
}
