//! Caches of files that can be rebuilt, with a directory for each owner; the least recently used are evicted when they exceed the budget.
//! Everything outside [`Cache`] blocks.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    str::FromStr,
    time::SystemTime,
};

use super::{blocking::blocking, children::paths};
use crate::error::{Kind, Result};

/// The directories of one cache.
pub struct Cache {
    /// Its name in log lines.
    pub what: &'static str,
    /// Contains a directory per owner, named by its id.
    pub folder: PathBuf,
    /// Most bytes of all files together.
    pub budget: u64,
}

impl Cache {
    /// Evicts files if necessary.
    pub async fn tidy(&self) {
        let (folder, budget) = (self.folder.clone(), self.budget);
        let tidied = blocking(move || Ok(keep_within(&folder, budget)?)).await;
        if let Err(error) = tidied {
            tracing::warn!(%error, what = self.what, "cannot evict cached files");
        }
    }

    /// Removes directories whose owner `look_up` does not find, and evicts files. Entries that are not named by an id are left alone.
    pub async fn sweep<I: FromStr, F, T>(&self, look_up: impl Fn(I) -> F) -> Result<()>
    where
        F: Future<Output = Result<T>>,
    {
        let folder = self.folder.clone();
        for name in blocking(move || Ok(paths::names(&folder))).await? {
            let Ok(id) = name.parse() else { continue };
            match look_up(id).await {
                Err(error) if error.kind() == Kind::NotFound => {
                    let gone = self.folder.join(name);
                    blocking(move || Ok(fs::remove_dir_all(gone)?)).await?;
                }
                found => {
                    found?;
                }
            }
        }
        self.tidy().await;
        Ok(())
    }
}

/// Records that a file was used now.
pub fn touch(file: &File) -> io::Result<()> {
    match file.set_modified(SystemTime::now()) {
        // A read-only copy of the data directory can still be served.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        noted => noted,
    }
}

/// Deletes the least recently used files of all directories in `folder` while their total size exceeds the budget.
pub fn keep_within(folder: &Path, budget: u64) -> io::Result<()> {
    let mut files = Vec::new();
    for owner in paths::names(folder) {
        for name in paths::names(&folder.join(&owner)) {
            let path = folder.join(&owner).join(name);
            // Another request may have removed it meanwhile.
            let Some(about) = there(fs::metadata(&path))? else {
                continue;
            };
            files.push((about.modified()?, about.len(), path));
        }
    }
    files.sort_by(|one, other| other.cmp(one));
    let mut bytes = 0;
    for (_, length, path) in files {
        bytes += length;
        if bytes > budget {
            there(fs::remove_file(path))?;
        }
    }
    Ok(())
}

/// Removes a damaged cached file; it will be rebuilt.
pub fn discard(path: &Path, what: &str) -> io::Result<()> {
    tracing::warn!(
        path = %path.display(),
        "a cached file ({what}) is damaged on disk; removing and rebuilding it"
    );
    there(fs::remove_file(path)).map(|_| ())
}

/// `None` if the file does not exist.
pub fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::Error;

    #[tokio::test]
    async fn what_belongs_to_things_that_are_gone_goes_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["1", "2", "not-ours"] {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join("file"), "made").unwrap();
        }
        let cache = Cache {
            what: "things",
            folder: folder.path().to_owned(),
            budget: 100,
        };
        let there = |name: &str| folder.path().join(name).join("file").exists();
        let out_of_order = |_: u32| async { Err::<(), _>(Error::internal(anyhow::anyhow!("out of order"))) };
        assert!(cache.sweep(out_of_order).await.is_err());
        assert_eq!(["1", "2", "not-ours"].map(there), [true, true, true]);
        let look_up = |id: u32| async move {
            match id {
                1 => Ok(()),
                id => Err(Error::not_found("thing", &id.to_string())),
            }
        };
        cache.sweep(look_up).await.unwrap();
        assert_eq!(["1", "2", "not-ours"].map(there), [true, false, true]);
    }

    #[test]
    fn the_least_recently_used_files_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let owner = folder.path().join("owner");
        fs::create_dir(&owner).unwrap();
        let path = |name: &str| owner.join(name);
        for (name, age) in [("a", 30), ("b", 10), ("c", 20)] {
            fs::write(path(name), [0; 23]).unwrap();
            let then = SystemTime::now() - Duration::from_secs(age);
            let file = File::options().write(true).open(path(name)).unwrap();
            file.set_modified(then).unwrap();
        }
        touch(&File::open(path("a")).unwrap()).unwrap();
        keep_within(folder.path(), 50).unwrap();
        assert_eq!(
            ["a", "b", "c"].map(|name| path(name).exists()),
            [true, true, false]
        );
    }
}
