//! What `finetuned fsck` found: JSON for scripts, lines for people.

use std::{fmt, fs, io, path::Path};

use serde::Serialize;

use crate::domain::{
    data_directory::{Beside, FoundDatabase, FoundFile, Identity},
    time::Timestamp,
};

/// What lies where in a data directory.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub data_dir: String,
    /// Nothing is wrong.
    pub ok: bool,
    /// What is wrong, in words.
    pub problems: Vec<String>,
    /// A server runs on it: what it is doing may show.
    pub is_served: bool,
    pub database: Database,
    pub identity: Identities,
    /// Why a server would refuse to start, if it would.
    pub mismatch: Option<String>,
    pub blobs: BlobReport,
    /// Blobs that are kept for a while.
    pub trash: Amount,
    /// Files of requests: the next start removes what is here.
    pub spool: Amount,
    /// Of unfinished uploads.
    pub uploads: Files,
    /// Folders of unfinished jobs and of datasets that are being read.
    pub runs: Files,
    /// Files and folders that others than the owner may look at; the next start closes them.
    pub open_to_others: u64,
    pub deep: Option<Deep>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Database {
    /// The newest that it went through.
    pub migration: Option<i64>,
    /// The newest that this program knows.
    pub supported: i64,
    /// The time of the newest job, dataset or model.
    pub newest: Option<Timestamp>,
    /// What SQLite says.
    pub faults: Vec<String>,
}

/// Both sides of the directory's identity.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Identities {
    pub database: Option<Identity>,
    pub file: Option<Beside>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct BlobReport {
    /// Named by rows.
    pub present: Amount,
    /// Named by no row: the next sweep moves them to the trash.
    pub unreferenced: Amount,
    /// Digests that rows name and that are not in their place.
    pub missing: Vec<String>,
    /// Of those, the ones in the trash: the next start puts them back.
    pub missing_in_trash: u64,
    /// Where the rows cannot be read.
    pub unknown: Amount,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    pub count: u64,
    pub bytes: u64,
}

/// Entries of a folder that rows know of, and the others.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Files {
    pub known: Amount,
    pub unknown: Amount,
}

/// What reading every blob found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Deep {
    pub read: u64,
    /// Digests of those that hold something else than their name says.
    pub damaged: Vec<String>,
}

impl Report {
    pub(super) fn of(data_dir: &Path, is_served: bool) -> Self {
        Self {
            data_dir: data_dir.display().to_string(),
            ok: false,
            problems: Vec::new(),
            is_served,
            database: Database::default(),
            identity: Identities::default(),
            mismatch: None,
            blobs: BlobReport::default(),
            trash: Amount::default(),
            spool: Amount::default(),
            uploads: Files::default(),
            runs: Files::default(),
            open_to_others: 0,
            deep: None,
        }
    }

    /// Draws up what is wrong.
    pub(super) fn conclude(&mut self) {
        let faults = self
            .database
            .faults
            .iter()
            .map(|fault| format!("database: {fault}"));
        self.problems.extend(faults);
        self.problems.extend(self.mismatch.clone());
        let lost = self.blobs.missing.len() as u64 - self.blobs.missing_in_trash;
        if lost > 0 {
            self.problems
                .push(format!("{lost} files that the database references are missing"));
        }
        if let Some(deep) = self.deep.as_ref().filter(|deep| !deep.damaged.is_empty()) {
            let damaged = deep.damaged.len();
            self.problems
                .push(format!("{damaged} files do not match their digests"));
        }
        self.ok = self.problems.is_empty();
    }
}

impl Identities {
    pub(super) fn of(database: &FoundDatabase, file: &FoundFile) -> Self {
        Self {
            database: match database {
                FoundDatabase::Ours { identity, .. } => identity.clone(),
                _ => None,
            },
            file: match file {
                FoundFile::Whole(beside) => Some(beside.clone()),
                _ => None,
            },
        }
    }
}

impl Amount {
    pub(super) fn sum(sizes: impl Iterator<Item = u64>) -> Self {
        sizes.fold(Self::default(), |sum, bytes| sum.and(bytes))
    }

    /// The entries of a folder; none where it is not there.
    pub(super) fn of(folder: &Path) -> io::Result<Self> {
        Ok(Files::of(folder, |_| true)?.known)
    }

    fn and(self, bytes: u64) -> Self {
        Self {
            count: self.count + 1,
            bytes: self.bytes + bytes,
        }
    }
}

impl Files {
    pub(super) fn of(folder: &Path, is_known: impl Fn(&str) -> bool) -> io::Result<Self> {
        let mut files = Self::default();
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let is_known = entry.file_name().to_str().is_some_and(&is_known);
            let side = if is_known {
                &mut files.known
            } else {
                &mut files.unknown
            };
            *side = side.and(bytes_of(&entry.path()));
        }
        Ok(files)
    }
}

/// Of a file, or of everything in a folder. What goes meanwhile has none.
fn bytes_of(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| bytes_of(&entry.path()))
            .sum(),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, text: String| writeln!(out, "{name:<16}{text}");
        let served = if self.is_served {
            " (a server is running)"
        } else {
            ""
        };
        line("data directory", format!("{}{served}", self.data_dir))?;
        line("database", self.database.to_string())?;
        line("identity", self.identity.to_string())?;
        line("blobs", self.blobs.to_string())?;
        line("trash", self.trash.to_string())?;
        line("spool", self.spool.to_string())?;
        line(
            "uploads",
            format!(
                "{} unfinished, {} without an upload",
                self.uploads.known, self.uploads.unknown
            ),
        )?;
        line(
            "runs",
            format!(
                "{} unfinished, {} of ended jobs",
                self.runs.known, self.runs.unknown
            ),
        )?;
        if self.open_to_others > 0 {
            let text = "files and directories that other users can read; the next start restricts them";
            line("permissions", format!("{} {text}", self.open_to_others))?;
        }
        if let Some(deep) = &self.deep {
            let whole = deep.read - deep.damaged.len() as u64;
            line(
                "deep",
                format!("{whole} of {} blobs match their digests", deep.read),
            )?;
            for sha256 in &deep.damaged {
                line("", format!("damaged: {sha256}"))?;
            }
        }
        for sha256 in &self.blobs.missing {
            line("", format!("missing: {sha256}"))?;
        }
        for problem in &self.problems {
            line("wrong", problem.clone())?;
        }
        write!(
            out,
            "{}",
            if self.ok {
                "no problems found"
            } else {
                "problems found, see above"
            }
        )
    }
}

impl fmt::Display for Database {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.migration, self.faults.len()) {
            (None, 0) => write!(out, "not a finetuned database"),
            (None, _) => write!(out, "damaged"),
            (Some(migration), 0) => write!(out, "sound, migration {migration}"),
            (Some(migration), faults) => write!(out, "{faults} faults, migration {migration}"),
        }
    }
}

impl fmt::Display for Identities {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.database {
            Some(side) => write!(out, "database {} at generation {}", side.id, side.generation)?,
            None => write!(out, "database none")?,
        }
        match &self.file {
            Some(side) => write!(out, ", directory {} at generation {}", side.id, side.generation),
            None => write!(out, ", directory none"),
        }
    }
}

impl fmt::Display for BlobReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.unknown.count > 0 {
            return write!(out, "{}, and nothing says which are needed", self.unknown);
        }
        write!(out, "{} in place", self.present)?;
        write!(out, ", {} missing", self.missing.len())?;
        if self.missing_in_trash > 0 {
            write!(out, " ({} of them in the trash)", self.missing_in_trash)?;
        }
        write!(out, ", {} unreferenced", self.unreferenced)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            0 => write!(out, "0"),
            count => write!(out, "{count} ({} bytes)", self.bytes),
        }
    }
}
