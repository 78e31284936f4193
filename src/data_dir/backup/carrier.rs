//! Carries files from one folder to another: as hard links where the file system has them, else as copies that are compared with what they
//! should be.
//!
//! A hard link is a second name of the same bytes: it takes no space and no time, and stays when the first name goes. It is right only for
//! files that are never written again.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
};

use crate::files::{digest, private};

/// How files are carried, and how many were.
#[derive(Debug, Default)]
pub struct Carrier {
    /// The file system refused a hard link, or nobody wants them.
    copies: bool,
    pub files: u64,
    pub bytes: u64,
    /// Of the files, those that are copies.
    pub copied: u64,
}

impl Carrier {
    /// `copy`: without hard links.
    pub fn new(copy: bool) -> Self {
        Self {
            copies: copy,
            ..Self::default()
        }
    }

    /// Carries a file that is never written again; false where it is not there. What is at `to` already stays.
    ///
    /// # Errors
    /// The disk's, or a copy has not this digest: then it is not kept.
    pub fn carry(&mut self, from: &Path, to: &Path, sha256: Option<&str>) -> io::Result<bool> {
        if !is_file(from)? {
            return Ok(false);
        }
        if is_file(to)? {
            return Ok(true);
        }
        if !self.copies {
            match fs::hard_link(from, to) {
                Ok(()) => return self.count(to),
                Err(error) if error.kind() == io::ErrorKind::NotFound && !is_file(from)? => return Ok(false),
                // So many names are enough for this one.
                Err(error) if error.kind() == io::ErrorKind::TooManyLinks => {}
                Err(error) if is_without_links(&error) => self.copies = true,
                Err(error) => return Err(error),
            }
        }
        self.copy(from, to, sha256)
    }

    /// Copies a file, also one that may still be written; false where it is not there.
    ///
    /// # Errors
    /// As [`Carrier::carry`].
    pub fn copy(&mut self, from: &Path, to: &Path, sha256: Option<&str>) -> io::Result<bool> {
        let mut source = match File::open(from) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            source => source?,
        };
        let partial = to.with_extension("partial");
        let found = copy_into(&mut source, &partial)?;
        if sha256.is_some_and(|sha256| sha256 != found) {
            fs::remove_file(partial)?;
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} does not match its digest: it is damaged", from.display()),
            ));
        }
        fs::rename(partial, to)?;
        self.copied += 1;
        self.count(to)
    }

    fn count(&mut self, file: &Path) -> io::Result<bool> {
        self.files += 1;
        self.bytes += fs::metadata(file)?.len();
        Ok(true)
    }
}

/// Links are not followed.
fn is_file(path: &Path) -> io::Result<bool> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        metadata => Ok(metadata?.is_file()),
    }
}

/// Another disk, a file system that has none, or a kernel that does not give them for files of others.
fn is_without_links(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::CrossesDevices | io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported
    )
}

fn copy_into(source: &mut File, partial: &Path) -> io::Result<String> {
    let mut target = private::options()
        .write(true)
        .create(true)
        .truncate(true)
        .open(partial)?;
    let mut hasher = digest::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = source.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        target.write_all(&buffer[..count])?;
    }
    target.sync_all()?;
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn files_are_linked_or_copied_and_a_damaged_copy_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "text").unwrap();
        let sha256 = digest::of_bytes(b"text");
        let inode = |name: &str| fs::metadata(at(name)).unwrap().ino();

        let mut carrier = Carrier::new(false);
        assert!(carrier.carry(&at("file"), &at("link"), Some(&sha256)).unwrap());
        assert_eq!(inode("link"), inode("file"));
        assert!(carrier.carry(&at("file"), &at("link"), Some(&sha256)).unwrap());
        assert!(!carrier.carry(&at("nothing"), &at("there"), None).unwrap());
        assert_eq!((carrier.files, carrier.bytes, carrier.copied), (1, 4, 0));

        let mut carrier = Carrier::new(true);
        assert!(carrier.carry(&at("file"), &at("copy"), Some(&sha256)).unwrap());
        assert_ne!(inode("copy"), inode("file"));
        let other = digest::of_bytes(b"other");
        let error = carrier
            .carry(&at("file"), &at("damaged"), Some(&other))
            .unwrap_err();
        assert!(error.to_string().contains("is damaged"), "{error}");
        assert_eq!((carrier.files, carrier.copied), (1, 1));
        let left = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 3, "something else was left");
    }
}
