//! Files that can be made again, in a folder for each thing that they belong to: kept as long as there is room, the least recently used go
//! first. Blocking calls.

use std::{
    fs::{self, File},
    io,
    path::Path,
    time::SystemTime,
};

use super::paths;

/// Notes that a file was used now.
pub fn touch(file: &File) -> io::Result<()> {
    match file.set_modified(SystemTime::now()) {
        // A copy of the data directory that belongs to somebody else can still be served.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        noted => noted,
    }
}

/// Deletes the least recently used files of all folders in `folder` as long as all together are over the budget.
pub fn keep_within(folder: &Path, budget: u64) -> io::Result<()> {
    let mut files = Vec::new();
    for owner in paths::names(folder) {
        for name in paths::names(&folder.join(&owner)) {
            let path = folder.join(&owner).join(name);
            // Another request may have removed it by now.
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

/// None where there is no such file.
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
