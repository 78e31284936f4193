//! The file beside the database that says which database belongs here.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use crate::{
    domain::data_directory::{Beside, FoundFile},
    files::private,
};

pub const NAME: &str = "IDENTITY.json";

/// # Errors
/// The disk's. What is there and makes no sense is [`FoundFile::Damaged`].
pub fn read(data_dir: &Path) -> io::Result<FoundFile> {
    match fs::read(data_dir.join(NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(FoundFile::Absent),
        Err(error) => Err(error),
        Ok(text) => Ok(match serde_json::from_slice(&text) {
            Ok(beside) => FoundFile::Whole(beside),
            Err(_) => FoundFile::Damaged,
        }),
    }
}

/// Writes it anew: the old one or the new one is there whatever happens, and when this returns it is the new one.
pub fn write(data_dir: &Path, beside: &Beside) -> io::Result<()> {
    let partial = data_dir.join(format!("{NAME}.partial"));
    let mut file = private::options()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&partial)?;
    let mut text = serde_json::to_vec_pretty(beside)?;
    text.push(b'\n');
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(partial, data_dir.join(NAME))?;
    File::open(data_dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::data_directory::Identity;

    #[test]
    fn what_was_written_is_read_and_what_makes_no_sense_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), FoundFile::Absent);
        let identity = Identity::first();
        for identity in [identity.next(), identity] {
            write(folder.path(), &identity.beside()).unwrap();
            assert_eq!(read(folder.path()).unwrap(), FoundFile::Whole(identity.beside()));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::write(folder.path().join(NAME), "{\"id\": 1}").unwrap();
        assert_eq!(read(folder.path()).unwrap(), FoundFile::Damaged);
    }
}
