//! A file of lines that is only appended to, and that others may take away: who rotates it renames it, and the next line begins a new one.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::files::private;

pub struct LineFile {
    path: PathBuf,
    /// None after it could not be opened again.
    file: Option<File>,
    /// The last line was cut: the next one does not go on with it.
    is_torn: bool,
}

impl LineFile {
    /// Opens it, or makes it, for its owner alone.
    ///
    /// # Errors
    /// It is no regular file, or belongs to somebody else.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: Some(open(path)?),
            is_torn: false,
        })
    }

    /// Opens the file that is there under the name now, if it is another one than before.
    ///
    /// # Errors
    /// As [`LineFile::open`]; it is tried again with the next line.
    pub fn follow(&mut self) -> io::Result<()> {
        let there = fs::metadata(&self.path).map(|metadata| (metadata.dev(), metadata.ino()));
        let held = self.file.as_ref().and_then(|file| file.metadata().ok());
        let held = held.map(|metadata| (metadata.dev(), metadata.ino()));
        if held.is_some() && there.ok() == held {
            return Ok(());
        }
        self.reopen()
    }

    /// Opens the file anew.
    ///
    /// # Errors
    /// As [`LineFile::open`].
    pub fn reopen(&mut self) -> io::Result<()> {
        self.file = None;
        self.file = Some(open(&self.path)?);
        self.is_torn = false;
        Ok(())
    }

    /// Appends a line.
    ///
    /// # Errors
    /// It is not there, or not all of it.
    pub fn append(&mut self, line: &str) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        };
        let begin = if self.is_torn { "\n" } else { "" };
        let text = format!("{begin}{line}\n");
        let written = file.write_all(text.as_bytes());
        // A part may be there.
        self.is_torn = written.is_err();
        written
    }
}

fn open(path: &Path) -> io::Result<File> {
    // Before it is opened: a pipe would wait for its reader.
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file",
        ));
    }
    let file = private::options().append(true).create(true).open(path)?;
    private::close_one(path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn lines_are_appended_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        fs::write(&path, "before\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let mut file = LineFile::open(&path).unwrap();
        file.append("one").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "before\none\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(LineFile::open(folder.path()).is_err());
    }

    #[test]
    fn a_renamed_file_stays_as_it_is_and_another_one_begins() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("audit.jsonl"), folder.path().join("old"));
        let mut file = LineFile::open(&path).unwrap();
        file.append("one").unwrap();
        file.follow().unwrap();
        fs::rename(&path, &old).unwrap();
        file.append("two").unwrap();
        file.follow().unwrap();
        file.append("three").unwrap();
        assert_eq!(fs::read_to_string(&old).unwrap(), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        // A folder that is gone is no end.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(file.follow().is_err() && file.append("lost").is_err());
        fs::remove_dir(&path).unwrap();
        file.follow().unwrap();
        file.append("four").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "four\n");
    }

    #[test]
    fn a_line_after_one_that_was_cut_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let mut file = LineFile::open(&path).unwrap();
        file.append("one").unwrap();
        // As a disk without space would leave it.
        file.file.as_mut().unwrap().write_all(b"{\"cut").unwrap();
        file.is_torn = true;
        file.append("two").unwrap();
        file.append("three").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\n{\"cut\ntwo\nthree\n");
    }
}
