//! Files and folders that are their owner's alone: 0600 and 0700.
//!
//! `finetuned serve` sets a umask that says so for itself and its children, and what is made through here is private without it too.
//! What an earlier version left open is closed at start by [`close`].

use std::{
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// What others may do with a file.
const OTHERS: u32 = 0o077;

/// Makes a folder, and those above it where they are not there.
pub fn create_dir_all(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// How files are opened for writing.
pub fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// Takes from one file or folder what others may do with it. What is behind a symbolic link is not ours.
///
/// # Errors
/// It is not there, or belongs to somebody else.
pub fn close_one(path: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_symlink() || metadata.mode() & OTHERS == 0 {
        return Ok(());
    }
    // By its path and not through a descriptor: closing one of the database would take its locks away.
    fs::set_permissions(path, Permissions::from_mode(metadata.mode() & 0o700))
}

/// What came of [`close`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Closed {
    pub closed: u64,
    /// Those that somebody else owns, or that went while they were looked at.
    pub failed: u64,
}

/// Does the same for everything in a folder, however deep, and for the folder last: a crash on the way leaves it to be done again.
pub fn close(root: &Path) -> Closed {
    let mut done = Closed::default();
    for_each(root, &mut |path| match is_open(path) {
        Ok(false) => {}
        Ok(true) if close_one(path).is_ok() => done.closed += 1,
        _ => done.failed += 1,
    });
    done
}

/// How many files and folders others may look at.
pub fn count_open(root: &Path) -> u64 {
    let mut open = 0;
    for_each(root, &mut |path| {
        open += u64::from(is_open(path).unwrap_or(false))
    });
    open
}

fn is_open(path: &Path) -> io::Result<bool> {
    let metadata = fs::symlink_metadata(path)?;
    Ok(!metadata.is_symlink() && metadata.mode() & OTHERS != 0)
}

/// Folders after what is in them. Symbolic links are not followed.
fn for_each(root: &Path, act: &mut impl FnMut(&Path)) {
    let mut folders: Vec<PathBuf> = Vec::new();
    let mut to_list = vec![root.to_owned()];
    while let Some(folder) = to_list.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => to_list.push(entry.path()),
                Ok(kind) if kind.is_symlink() => {}
                _ => act(&entry.path()),
            }
        }
        folders.push(folder);
    }
    for folder in folders.iter().rev() {
        act(folder);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn an_open_tree_is_closed_and_what_it_links_to_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (root, outside) = (folder.path().join("data"), folder.path().join("outside"));
        for (path, bits) in [(&root, 0o755), (&root.join("blobs"), 0o775), (&outside, 0o755)] {
            fs::create_dir(path).unwrap();
            fs::set_permissions(path, Permissions::from_mode(bits)).unwrap();
            fs::write(path.join("file"), "text").unwrap();
            fs::set_permissions(path.join("file"), Permissions::from_mode(0o644)).unwrap();
        }
        symlink(&outside, root.join("folder-elsewhere")).unwrap();
        symlink(outside.join("file"), root.join("file-elsewhere")).unwrap();
        assert_eq!(count_open(&root), 4);
        assert_eq!(close(&root), Closed { closed: 4, failed: 0 });
        assert_eq!((count_open(&root), close(&root)), (0, Closed::default()));
        for (path, expected) in [
            (root.clone(), 0o700),
            (root.join("file"), 0o600),
            (root.join("blobs"), 0o700),
            (root.join("blobs/file"), 0o600),
            (outside.clone(), 0o755),
            (outside.join("file"), 0o644),
        ] {
            assert_eq!(mode(&path), expected, "{}", path.display());
        }
    }

    #[test]
    fn what_is_made_here_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path().join("a/b");
        create_dir_all(&made).unwrap();
        create_dir_all(&made).unwrap();
        let file = made.join("file");
        options().write(true).create_new(true).open(&file).unwrap();
        let modes = [made.parent().unwrap(), &made, &file].map(mode);
        assert_eq!(modes, [0o700, 0o700, 0o600]);
    }
}
