//! The models that the predict child can read: in a folder of its own, which is all of the files that its sandbox leaves it.
//!
//! Which models those are turns out while it runs, and a process cannot be given more files than it had when it confined itself. So each model
//! that is asked for gets a second name in that folder: a hard link, which takes no space; a copy, where the file system has none. Other models,
//! datasets and the database stay out of reach.

use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use tokio::task::spawn_blocking;

use crate::{
    files::{digest, private},
    protocol::frames::ModelFiles,
};

pub struct Shown {
    folder: PathBuf,
    /// Names in it, which are digests, and the blobs that they stand for: device and inode.
    names: BTreeMap<String, (u64, u64)>,
}

impl Shown {
    /// The folder's name in the child's directory.
    pub const FOLDER: &str = "models";

    /// Begins with none.
    ///
    /// # Errors
    /// The folder cannot be emptied or made.
    pub fn none_in(dir: &Path) -> io::Result<Self> {
        let folder = dir.join(Self::FOLDER);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => private::create_dir_all(&folder)?,
        }
        Ok(Self {
            folder,
            names: BTreeMap::new(),
        })
    }

    /// The model's files under the names that the child can read. A file that cannot be shown keeps its own name: the child will say that it
    /// cannot be read.
    pub async fn show(&mut self, files: &ModelFiles) -> ModelFiles {
        let mut shown = files.clone();
        shown.weights = self.shown(&files.sha256, &files.weights).await;
        shown.card = self.shown(&files.card_sha256, &files.card).await;
        if let Some(base) = &mut shown.base {
            base.path = self.shown(&base.sha256, &base.path).await;
        }
        shown
    }

    async fn shown(&mut self, sha256: &str, blob: &Path) -> PathBuf {
        let name = self.folder.join(sha256);
        let now = fs::metadata(blob).as_ref().map(identity).ok();
        let known = self.names.get(sha256);
        // A damaged blob that was replaced has another identity. One that is gone may still be asked for: its second name remains for a while.
        if known.is_some() && (now.is_none() || now.as_ref() == known) {
            return name;
        }
        // It becomes a file name.
        debug_assert!(digest::is_digest(sha256));
        let (from, to) = (blob.to_owned(), name.clone());
        let made = spawn_blocking(move || second_name(&from, &to)).await;
        match made.map_err(io::Error::other).flatten() {
            Ok(about) => {
                self.names.insert(sha256.to_owned(), about);
                name
            }
            Err(error) => {
                tracing::error!(blob = %blob.display(), %error, "a model's file cannot be shown to the predict worker");
                blob.to_owned()
            }
        }
    }

    /// Takes back the files of models that are deleted, so that their space is free.
    pub fn hide_deleted(&mut self) {
        let folder = &self.folder;
        self.names.retain(|name, _| {
            let path = folder.join(name);
            // The last name of a file that had two. A copy looks the same; it is made again when it is asked for.
            let is_last = fs::metadata(&path).is_ok_and(|about| about.nlink() == 1);
            !(is_last && fs::remove_file(&path).is_ok())
        });
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        // What is left behind is removed when the next child starts.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn identity(about: &Metadata) -> (u64, u64) {
    (about.dev(), about.ino())
}

/// The identity of the blob that has got it.
fn second_name(blob: &Path, name: &Path) -> io::Result<(u64, u64)> {
    match fs::remove_file(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match fs::hard_link(blob, name) {
        Ok(()) => Ok(identity(&fs::metadata(name)?)),
        // Without the file there is nothing to copy either, and a copy needs space.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::StorageFull) => {
            Err(error)
        }
        Err(_) => {
            let about = identity(&fs::metadata(blob)?);
            let partial = name.with_extension("partial");
            fs::copy(blob, &partial)?;
            fs::rename(partial, name)?;
            Ok(about)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(folder: &Path, text: &str) -> (String, PathBuf) {
        let sha256 = digest::of_bytes(text.as_bytes());
        let path = folder.join(&sha256);
        fs::write(&path, text).unwrap();
        (sha256, path)
    }

    fn names(folder: &Path) -> usize {
        fs::read_dir(folder.join(Shown::FOLDER)).unwrap().count()
    }

    #[tokio::test]
    async fn only_models_that_are_asked_for_are_shown_and_deleted_ones_take_no_space() {
        let (blobs, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(dir.path().join(Shown::FOLDER)).unwrap();
        fs::write(dir.path().join(Shown::FOLDER).join("of an earlier child"), "").unwrap();
        let [weights, card, base] = ["weights", "card", "base"].map(|text| stored(blobs.path(), text));
        stored(blobs.path(), "another model");
        let path = |digest: &str| blobs.path().join(digest);
        let files = ModelFiles::of(&weights.0, &card.0, Some(&base.0), path);
        let mut shown = Shown::none_in(dir.path()).unwrap();
        assert_eq!(names(dir.path()), 0);
        for _ in 0..2 {
            let seen = shown.show(&files).await;
            assert_eq!(fs::read_to_string(&seen.weights).unwrap(), "weights");
            assert_eq!(fs::read_to_string(&seen.card).unwrap(), "card");
            assert_eq!(fs::read_to_string(&seen.base.unwrap().path).unwrap(), "base");
            assert!(seen.weights.starts_with(dir.path()));
        }
        assert_eq!(names(dir.path()), 3);
        assert_eq!(fs::metadata(&weights.1).unwrap().nlink(), 2, "it takes no space");
        shown.hide_deleted();
        assert_eq!(names(dir.path()), 3);
        // Replaced, as a damaged file is.
        fs::write(blobs.path().join("whole"), "whole again").unwrap();
        fs::rename(blobs.path().join("whole"), &card.1).unwrap();
        let seen = shown.show(&files).await;
        assert_eq!(fs::read_to_string(&seen.card).unwrap(), "whole again");
        fs::remove_file(&weights.1).unwrap();
        assert!(shown.show(&files).await.weights.exists(), "it has been asked for");
        shown.hide_deleted();
        assert_eq!(names(dir.path()), 2);
        // Gone: the child hears the name that it had.
        assert_eq!(shown.show(&files).await.weights, weights.1);
        drop(shown);
        assert!(!dir.path().join(Shown::FOLDER).exists());
    }
}
