//! `BACKUP.json`, which makes a folder a backup: the first file in it, written again as the last one, when everything is there.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::{domain::time::Timestamp, files::private, store::Census};

pub const NAME: &str = "BACKUP.json";
/// Of the folder's layout.
const FORMAT: u32 = 1;

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Note {
    pub format: u32,
    /// False from the beginning of the backup to its end, and for ever if it was interrupted.
    pub complete: bool,
    /// Version of the program that made it.
    pub program: String,
    /// The newest migration of its database.
    pub migration: i64,
    /// When its database was copied.
    pub made_at: Timestamp,
    pub rows: Census,
    /// Files beside the database.
    pub files: u64,
    /// Of all files.
    pub bytes: u64,
}

impl Note {
    /// Of a backup that begins.
    pub fn begun(migration: i64) -> Self {
        Self {
            format: FORMAT,
            complete: false,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            migration,
            made_at: Timestamp::now(),
            rows: Census::default(),
            files: 0,
            bytes: 0,
        }
    }

    /// Claims an empty folder: of two that begin at the same time one is refused.
    pub fn begin(&self, folder: &Path) -> io::Result<()> {
        let mut file = private::options()
            .write(true)
            .create_new(true)
            .open(folder.join(NAME))?;
        file.write_all(&self.text()?)?;
        file.sync_all()?;
        File::open(folder)?.sync_all()
    }

    /// Replaces it: the old one or the new one is there whatever happens.
    pub fn replace(&self, folder: &Path) -> io::Result<()> {
        let partial = folder.join(format!("{NAME}.partial"));
        let mut file = private::options()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&partial)?;
        file.write_all(&self.text()?)?;
        file.sync_all()?;
        fs::rename(partial, folder.join(NAME))?;
        File::open(folder)?.sync_all()
    }

    fn text(&self) -> io::Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// The note of a backup that can be restored.
    ///
    /// # Errors
    /// The folder is no backup, or one that was interrupted, or of a later version.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let shown = folder.display();
        let text = match fs::read(folder.join(NAME)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                bail!("{shown} is not a backup: it has no {NAME}; `finetuned backup DIR` makes one")
            }
            text => text.with_context(|| format!("cannot read {NAME} in {shown}"))?,
        };
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let format = serde_json::from_slice::<Format>(&text).map(|note| note.format);
        if format.is_ok_and(|format| format > FORMAT) {
            bail!("{shown} is a backup by a newer version of finetuned: restore it with that version");
        }
        let note: Self = serde_json::from_slice(&text)
            .with_context(|| format!("{NAME} in {shown} is damaged: restore another backup"))?;
        if !note.complete {
            bail!(
                "{shown} is incomplete: the backup was interrupted, or has not ended; remove the folder and make the backup again, or \
                restore another one"
            );
        }
        Ok(note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_note_of_a_complete_backup_is_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let refusal = || Note::read(root).unwrap_err().to_string();
        assert!(refusal().contains("is not a backup"));
        let begun = Note::begun(7);
        begun.begin(root).unwrap();
        assert!(begun.begin(root).is_err(), "two began in one folder");
        assert!(refusal().contains("incomplete"));
        let done = Note {
            complete: true,
            files: 3,
            ..begun
        };
        done.replace(root).unwrap();
        assert_eq!(Note::read(root).unwrap().files, 3);
        Note { format: 2, ..done }.replace(root).unwrap();
        assert!(refusal().contains("newer version"));
        fs::write(root.join(NAME), "{").unwrap();
        assert!(refusal().contains("damaged"));
    }
}
