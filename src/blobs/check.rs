//! Whether a blob is still what was stored. Its name is the SHA-256 of its bytes, so anybody can tell; reading all of it is what it costs.

use std::{io, path::PathBuf, time::Duration};

use super::folder::{Blobs, blocking};
use super::looks::{Appearance, COUNTS_FOR};
use crate::{domain::damage::Damaged, error::Result, files::digest};

impl Blobs {
    /// The path of a blob whose every byte was just looked at, for what is made of it or sent with its digest. `what` is what a person
    /// calls it.
    ///
    /// # Errors
    /// `data-damaged`
    pub async fn sound(&self, sha256: &str, what: impl FnOnce() -> String) -> Result<PathBuf> {
        self.checked(sha256, Duration::ZERO, what).await
    }

    /// The same, where a look of a moment ago will do: for pages of lists and single entries, of which many are read one after another.
    pub async fn sound_lately(&self, sha256: &str, what: impl FnOnce() -> String) -> Result<PathBuf> {
        self.checked(sha256, COUNTS_FOR, what).await
    }

    /// Remembers that a blob is damaged: whoever asks for it next is told before it is read.
    pub fn note_damage(&self, sha256: &str) {
        if let Ok(file) = self.path(sha256).metadata() {
            self.looks.remember(sha256, file.into(), false);
        }
    }

    /// Whether a blob has gone, or was found damaged and has not changed since. Asks the disk for no more than that.
    pub fn is_known_damaged(&self, sha256: &str) -> bool {
        match self.path(sha256).metadata().map(Appearance::from) {
            Err(error) => error.kind() == io::ErrorKind::NotFound,
            Ok(file) => self
                .looks
                .of(sha256)
                .is_some_and(|look| !look.sound && look.file == file),
        }
    }

    async fn checked(
        &self,
        sha256: &str,
        counts_for: Duration,
        what: impl FnOnce() -> String,
    ) -> Result<PathBuf> {
        let (blobs, name) = (self.clone(), sha256.to_owned());
        if blocking(move || blobs.look(&name, counts_for)).await? {
            return Ok(self.path(sha256));
        }
        Err(Damaged::new(what()).into())
    }

    fn look(&self, sha256: &str, counts_for: Duration) -> io::Result<bool> {
        let path = self.path(sha256);
        let file = match path.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => Appearance::from(file?),
        };
        let known = self.looks.of(sha256).filter(|look| look.file == file);
        if let Some(look) = known
            && look.at.elapsed() < counts_for
        {
            return Ok(look.sound);
        }
        let sound = digest::holds(&path, sha256)?;
        self.looks.remember(sha256, file, sound);
        Ok(sound)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use bytes::Bytes;

    use super::*;
    use crate::error::Kind;

    async fn kept(blobs: &Blobs, contents: &[u8]) -> String {
        let mut writer = blobs.spool();
        writer.write(Bytes::copy_from_slice(contents)).await.unwrap();
        let spooled = writer.finish().await.unwrap();
        let sha256 = spooled.sha256.clone();
        blobs.keep(spooled, &blobs.pin().await).await.unwrap();
        sha256
    }

    fn flip(path: &Path, place: usize) {
        let mut bytes = fs::read(path).unwrap();
        bytes[place] ^= 1;
        fs::write(path, bytes).unwrap();
    }

    #[tokio::test]
    async fn a_flipped_bit_is_found_and_the_same_bytes_mend_it() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let sha256 = kept(&blobs, b"a manifest").await;
        let path = blobs.path(&sha256);
        let what = || "the manifest".to_owned();
        assert_eq!(blobs.sound(&sha256, what).await.unwrap(), path);
        for place in [0, 5, 9] {
            assert!(blobs.sound_lately(&sha256, what).await.is_ok());
            flip(&path, place);
            for error in [
                blobs.sound(&sha256, what).await.unwrap_err(),
                // A file that was written to is looked at again, however short ago the last look was.
                blobs.sound_lately(&sha256, what).await.unwrap_err(),
            ] {
                assert_eq!((error.kind(), error.slug()), (Kind::Damaged, "data-damaged"));
                assert!(error.detail().starts_with("the manifest is damaged"), "{error}");
            }
            assert!(blobs.is_known_damaged(&sha256));
            assert_eq!(kept(&blobs, b"a manifest").await, sha256);
            assert!(!blobs.is_known_damaged(&sha256));
            assert!(
                blobs.sound(&sha256, what).await.is_ok(),
                "mended by the same bytes"
            );
        }
        fs::remove_file(&path).unwrap();
        assert!(
            blobs.sound_lately(&sha256, what).await.is_err(),
            "one that is gone"
        );
        assert_eq!(fs::read_dir(folder.path().join("spool")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn damage_that_was_found_while_it_was_read_is_remembered_until_the_file_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let sha256 = kept(&blobs, b"images").await;
        assert!(!blobs.is_known_damaged(&sha256));
        blobs.note_damage(&sha256);
        assert!(blobs.is_known_damaged(&sha256));
        let copy = folder.path().join("copy");
        fs::copy(blobs.path(&sha256), &copy).unwrap();
        fs::rename(copy, blobs.path(&sha256)).unwrap();
        assert!(!blobs.is_known_damaged(&sha256));
        fs::remove_file(blobs.path(&sha256)).unwrap();
        assert!(blobs.is_known_damaged(&sha256));
    }
}
