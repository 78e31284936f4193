//! The key that the secrets of webhooks are made of: `webhooks.key` in the data directory, 256 random bits that nobody but the server reads.
//!
//! It is beside the database and not in it, so that a copy of the database signs nothing. A backup has it; where it is lost, a new one is made,
//! and every webhook needs a new secret.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Mutex,
};

use crate::{data_dir::WEBHOOK_KEY as NAME, files::private};

/// Made when the first webhook is.
pub struct ServerKey {
    path: PathBuf,
    known: Mutex<Option<[u8; 32]>>,
}

impl ServerKey {
    pub fn of(data_dir: &Path) -> Self {
        Self {
            path: data_dir.join(NAME),
            known: Mutex::default(),
        }
    }

    /// The key, made if it is not there.
    ///
    /// # Errors
    /// The disk's; and a file that holds something else.
    pub fn get(&self) -> io::Result<[u8; 32]> {
        let mut known = self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(key) = *known {
            return Ok(key);
        }
        let key = match fs::read(&self.path) {
            Ok(bytes) => bytes.try_into().map_err(|_| {
                io::Error::other(format!("{NAME} in the data directory does not hold 32 bytes"))
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make()?,
            Err(error) => return Err(error),
        };
        *known = Some(key);
        Ok(key)
    }

    /// It is there for good when this returns.
    fn make(&self) -> io::Result<[u8; 32]> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        let partial = self.path.with_extension("key.partial");
        let mut file = private::options()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&partial)?;
        file.write_all(&key)?;
        file.sync_all()?;
        fs::rename(&partial, &self.path)?;
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let key = ServerKey::of(folder.path()).get().unwrap();
        assert_eq!(ServerKey::of(folder.path()).get().unwrap(), key);
        let path = folder.path().join(NAME);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let elsewhere = tempfile::tempdir().unwrap();
        assert_ne!(ServerKey::of(elsewhere.path()).get().unwrap(), key);
        fs::write(&path, "short").unwrap();
        assert!(ServerKey::of(folder.path()).get().is_err());
    }
}
