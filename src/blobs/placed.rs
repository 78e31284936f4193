//! A list of the blobs that were put in place lately, in a file. A crash may come between a blob and its row: what is on the list and named
//! by no row is such a leaving, however many there are. It is a hint, and never synced.

use std::{
    collections::HashSet,
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use crate::files::{digest, private};

const FILE: &str = "placed";

#[derive(Clone)]
pub(super) struct Placed(PathBuf);

impl Placed {
    pub fn of(data_dir: &Path) -> Self {
        Self(data_dir.join(FILE))
    }

    /// To be called before the blob is put in place.
    pub fn note(&self, sha256: &str) -> io::Result<()> {
        let mut file = private::options().create(true).append(true).open(&self.0)?;
        // It begins with the end of a line: what a full disk cut off then spoils itself only.
        file.write_all(format!("\n{sha256}\n").as_bytes())
    }

    pub fn read(&self) -> io::Result<HashSet<String>> {
        let text = match fs::read(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashSet::new()),
            text => text?,
        };
        let lines = text.split(|byte| *byte == b'\n').map(String::from_utf8_lossy);
        Ok(lines
            .filter(|line| digest::is_digest(line))
            .map(|line| line.into_owned())
            .collect())
    }

    /// Strikes out those that rows name by now.
    pub fn strike(&self, named: &HashSet<String>) -> io::Result<()> {
        let left: Vec<String> = self.read()?.difference(named).cloned().collect();
        if left.is_empty() {
            return self.clear();
        }
        let partial = self.0.with_extension("partial");
        let mut file = private::options()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&partial)?;
        file.write_all(format!("{}\n", left.join("\n")).as_bytes())?;
        fs::rename(partial, &self.0)
    }

    /// A sweep has looked at all of them.
    pub fn clear(&self) -> io::Result<()> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_off_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let placed = Placed::of(folder.path());
        assert!(placed.read().unwrap().is_empty());
        let [first, second] = ["first", "second"].map(|text| digest::of_bytes(text.as_bytes()));
        placed.note(&first).unwrap();
        let mut file = private::options()
            .append(true)
            .open(folder.path().join(FILE))
            .unwrap();
        file.write_all(b"\n0123").unwrap();
        placed.note(&second).unwrap();
        assert_eq!(
            placed.read().unwrap(),
            HashSet::from([first.clone(), second.clone()])
        );
        placed.strike(&HashSet::from([first])).unwrap();
        assert_eq!(placed.read().unwrap(), HashSet::from([second.clone()]));
        placed.strike(&HashSet::from([second])).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        placed.clear().unwrap();
        placed.clear().unwrap();
        assert!(placed.read().unwrap().is_empty());
    }
}
