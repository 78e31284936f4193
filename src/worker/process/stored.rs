//! Reading what the server has stored: nothing in a file is trusted before it has been verified.
//!
//! Files that are read as a whole have a SHA-256, which the run file lists beside their paths. Each original image has its own in the
//! manifest. Packed pixels and rows of activations are mapped into memory and accessed again and again: each image and each row has a
//! CRC-32, which detects every change of up to 32 neighbouring bits and costs a hundredth of the processing of the pixels.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use anyhow::{Context, ensure};

use crate::{domain::damage::Damaged, files::digest, protocol::ManifestImage};

/// Verifies a whole file against its digest.
///
/// # Errors
/// [`Damaged`] with the name that `what` returns.
pub fn check(path: &Path, sha256: &str, what: impl FnOnce() -> String) -> anyhow::Result<()> {
    ensure!(digest::holds(path, sha256)?, Damaged::new(what()));
    Ok(())
}

/// The file of an image among the originals of its segment.
pub fn original<'a>(originals: &'a [u8], image: &ManifestImage) -> Result<&'a [u8], Damaged> {
    let part = || {
        let begin = usize::try_from(image.offset).ok()?;
        let bytes = originals
            .get(begin..)?
            .get(..usize::try_from(image.bytes).ok()?)?;
        (digest::of_bytes(bytes) == image.sha256).then_some(bytes)
    };
    part().ok_or_else(|| Damaged::image(image.id, &image.path))
}

/// The same, read from an open file.
pub fn read_original(originals: &File, image: &ManifestImage) -> anyhow::Result<Vec<u8>> {
    let bytes = read(originals, image.offset, image.bytes).context("the dataset's images cannot be read")?;
    let bytes = bytes.filter(|bytes| digest::of_bytes(bytes) == image.sha256);
    Ok(bytes.ok_or_else(|| Damaged::image(image.id, &image.path))?)
}

/// Some bytes of a file; none if it ends before them, or the disk cannot read them.
pub fn read(file: &File, offset: u64, bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
    match file.read_exact_at(&mut buffer, offset) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof || digest::is_lost(&error) => Ok(None),
        outcome => outcome.map(|()| Some(buffer)),
    }
}

/// CRC-32 as in zip.
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// The damage, if that is why something failed.
pub fn damage_in(error: &anyhow::Error) -> Option<&Damaged> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::domain::random::{Draws, Stream};

    /// Calls `look` with one bit of the file flipped, at this many places in turn: its first byte, its last, and random ones in between.
    /// Afterwards the file is unchanged.
    pub(crate) fn flipping(path: &Path, places: usize, mut look: impl FnMut()) {
        let whole = fs::read(path).unwrap();
        let mut draws = Draws::at(12, Stream::SampleDataset, 0, whole.len() as u64);
        for number in 0..places {
            let place = match number {
                0 => 0,
                1 => whole.len() - 1,
                _ => draws.below(whole.len()),
            };
            let mut flipped = whole.clone();
            flipped[place] ^= 1 << draws.below(8);
            fs::write(path, flipped).unwrap();
            look();
        }
        fs::write(path, whole).unwrap();
    }

    #[test]
    fn a_changed_bit_is_found_wherever_it_is_and_so_is_a_file_that_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
        fs::write(&path, &bytes).unwrap();
        let sha256 = digest::of_bytes(&bytes);
        let checked = || check(&path, &sha256, || "the file".to_owned());
        checked().unwrap();
        let crc = crc32(&bytes);
        flipping(&path, 50, || {
            let error = checked().unwrap_err();
            assert!(damage_in(&error.context("while it was read")).is_some());
            assert_ne!(crc32(&fs::read(&path).unwrap()), crc);
        });
        fs::remove_file(&path).unwrap();
        assert!(damage_in(&checked().unwrap_err()).is_some());
    }

    #[test]
    fn the_crc_is_that_of_zip() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
