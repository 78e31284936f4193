//! How much of the disk each part of a data directory takes.

use std::{fs, path::Path};

use super::{BALLAST, DATABASE, OURS};

/// A part of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// `database`, or the name of a folder.
    pub part: &'static str,
    pub bytes: u64,
}

/// The size of each part, of those that there are. It walks the folders: whoever asks often keeps the answer for a while. What goes away meanwhile
/// counts nothing.
pub fn sizes(data_dir: &Path) -> Vec<Size> {
    let files = fs::read_dir(data_dir).into_iter().flatten().flatten();
    let of_database = files.filter(|entry| entry.file_name().to_string_lossy().starts_with(DATABASE));
    let database = Size {
        part: "database",
        bytes: of_database.map(|entry| bytes_of(&entry.path())).sum(),
    };
    let folders = OURS
        .iter()
        .filter(|name| **name == BALLAST || data_dir.join(name).is_dir());
    let folders = folders.map(|part| Size {
        part,
        bytes: bytes_of(&data_dir.join(part)),
    });
    [database].into_iter().chain(folders).collect()
}

/// Of a file, or of all files in a folder; symbolic links are not followed.
fn bytes_of(path: &Path) -> u64 {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| bytes_of(&entry.path())).sum()
        }
        Ok(metadata) if metadata.is_file() => metadata.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_summed_and_what_is_not_ours_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for (path, bytes) in [
            ("finetuned.db", 10),
            ("finetuned.db-wal", 5),
            ("blobs/ab/abc", 7),
            ("blobs/cd/cde", 8),
            ("logs/predict.log", 3),
            ("photos/mine.jpg", 99),
        ] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![0; bytes]).unwrap();
        }
        std::os::unix::fs::symlink(root.join("photos"), root.join("blobs/link")).unwrap();
        let sizes = sizes(root);
        let of = |part: &str| sizes.iter().find(|size| size.part == part).map(|size| size.bytes);
        assert_eq!(
            (of("database"), of("blobs"), of("logs")),
            (Some(15), Some(15), Some(3))
        );
        assert_eq!((of("ballast"), of("photos"), of("trash")), (Some(0), None, None));
    }
}
