//! Which database belongs to which data directory: only the rules, without any file or row.
//!
//! The database holds an [`Identity`], the file beside it a [`Beside`]. The database is written first. So the file is of the same
//! generation or, after a crash between the two writes, one behind; a database restored from a backup is itself behind, and is detected.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The identity stored in the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// Of the data directory, drawn at random once.
    pub id: String,
    /// From 1.
    pub generation: u64,
    /// Drawn at random for each generation.
    pub mark: String,
    /// Of the previous generation.
    pub mark_before: Option<String>,
}

/// The identity stored in the file beside the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    pub id: String,
    pub generation: u64,
    pub mark: String,
}

/// The state of the file beside the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundFile {
    Absent,
    /// It exists but cannot be read.
    Damaged,
    Whole(Beside),
}

/// The state of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundDatabase {
    Missing,
    /// An empty file.
    Empty,
    /// Something other than a database of this program.
    Foreign,
    Ours {
        /// The newest migration that was applied.
        migration: i64,
        /// None before it has an identity: it is new, or from a version that did not know identities.
        identity: Option<Identity>,
    },
}

/// How a database and a directory relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is there yet.
    New,
    /// Neither side has an identity: only the rows' references can show whether they belong together.
    Unmarked,
    Fits,
}

/// Why a database does not belong to the files beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    Missing,
    Empty,
    Foreign,
    /// The database has no identity although the directory has one.
    Unmarked,
    OtherDirectory,
    Older {
        database: u64,
        directory: u64,
    },
    Newer {
        database: u64,
        directory: u64,
    },
    /// A copy that has diverged.
    Diverged,
    /// The directory does not confirm that it is the one that the database means.
    NoFile,
    DamagedFile,
    /// This many of the blobs are referenced by no row, and nothing released them.
    Strays {
        strays: usize,
        blobs: usize,
    },
}

impl Identity {
    /// For a directory that has none.
    pub fn first() -> Self {
        Self {
            id: draw(),
            generation: 1,
            mark: draw(),
            mark_before: None,
        }
    }

    /// Of the next generation.
    pub fn next(&self) -> Self {
        Self {
            id: self.id.clone(),
            generation: self.generation + 1,
            mark: draw(),
            mark_before: Some(self.mark.clone()),
        }
    }

    pub fn beside(&self) -> Beside {
        Beside {
            id: self.id.clone(),
            generation: self.generation,
            mark: self.mark.clone(),
        }
    }
}

fn draw() -> String {
    Uuid::now_v7().simple().to_string()
}

/// Compares the two. `is_used` says that there are files that rows would reference.
pub fn judge(database: &FoundDatabase, file: &FoundFile, is_used: bool) -> Result<Standing, Mismatch> {
    let identity = match database {
        FoundDatabase::Missing | FoundDatabase::Empty if *file == FoundFile::Absent && !is_used => {
            return Ok(Standing::New);
        }
        FoundDatabase::Missing => return Err(Mismatch::Missing),
        FoundDatabase::Empty => return Err(Mismatch::Empty),
        FoundDatabase::Foreign => return Err(Mismatch::Foreign),
        FoundDatabase::Ours { identity, .. } => identity,
    };
    match (identity, file) {
        (_, FoundFile::Damaged) => Err(Mismatch::DamagedFile),
        (None, FoundFile::Absent) => Ok(Standing::Unmarked),
        // The first identity is written into the database before there is a file.
        (Some(identity), FoundFile::Absent) if identity.generation == 1 => Ok(Standing::Unmarked),
        (Some(_), FoundFile::Absent) => Err(Mismatch::NoFile),
        (None, FoundFile::Whole(_)) => Err(Mismatch::Unmarked),
        (Some(identity), FoundFile::Whole(beside)) => compare(identity, beside),
    }
}

fn compare(identity: &Identity, beside: &Beside) -> Result<Standing, Mismatch> {
    if identity.id != beside.id {
        return Err(Mismatch::OtherDirectory);
    }
    if identity.mark == beside.mark || identity.mark_before.as_ref() == Some(&beside.mark) {
        return Ok(Standing::Fits);
    }
    let (database, directory) = (identity.generation, beside.generation);
    Err(match database.cmp(&directory) {
        std::cmp::Ordering::Less => Mismatch::Older { database, directory },
        std::cmp::Ordering::Greater => Mismatch::Newer { database, directory },
        std::cmp::Ordering::Equal => Mismatch::Diverged,
    })
}

impl fmt::Display for Mismatch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(
                out,
                "finetuned.db is missing although the directory has been used"
            ),
            Self::Empty => write!(out, "finetuned.db is empty although the directory has been used"),
            Self::Foreign => write!(out, "finetuned.db is not a database of finetuned"),
            Self::Unmarked => write!(
                out,
                "finetuned.db knows nothing of this directory: it is new, or from a backup made before the directory had an identity"
            ),
            Self::OtherDirectory => write!(out, "finetuned.db belongs to another data directory"),
            Self::Older { database, directory } => write!(
                out,
                "finetuned.db is older than the files beside it, as one out of a backup is (it is of generation {database}, the \
                directory of {directory})"
            ),
            Self::Newer { database, directory } => write!(
                out,
                "finetuned.db is newer than the files beside it (it is of generation {database}, the directory of {directory})"
            ),
            Self::Diverged => write!(
                out,
                "finetuned.db belongs to a copy of this directory that has diverged since"
            ),
            Self::NoFile => write!(
                out,
                "IDENTITY.json, which says that finetuned.db belongs here, is missing"
            ),
            Self::DamagedFile => write!(
                out,
                "IDENTITY.json, which says that finetuned.db belongs here, cannot be read"
            ),
            Self::Strays { strays, blobs } => write!(
                out,
                "finetuned.db knows nothing of {strays} of the {blobs} files in blobs/"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(identity: Option<Identity>) -> FoundDatabase {
        FoundDatabase::Ours {
            migration: 10,
            identity,
        }
    }

    /// Both sides, and each of their writes in order: there may be a crash after each.
    #[test]
    fn no_crash_between_the_two_writes_makes_a_healthy_directory_refuse() {
        let (mut database, mut file) = (FoundDatabase::Missing, FoundFile::Absent);
        assert_eq!(judge(&database, &file, false), Ok(Standing::New));
        database = FoundDatabase::Empty;
        assert_eq!(judge(&database, &file, false), Ok(Standing::New));
        database = ours(None);
        assert_eq!(judge(&database, &file, true), Ok(Standing::Unmarked));
        let mut identity = Identity::first();
        database = ours(Some(identity.clone()));
        assert_eq!(judge(&database, &file, true), Ok(Standing::Unmarked));
        file = FoundFile::Whole(identity.beside());
        for _ in 0..5 {
            assert_eq!(judge(&database, &file, true), Ok(Standing::Fits));
            identity = identity.next();
            database = ours(Some(identity.clone()));
            assert_eq!(judge(&database, &file, true), Ok(Standing::Fits));
            file = FoundFile::Whole(identity.beside());
        }
        assert_eq!(identity.generation, 6);
    }

    #[test]
    fn any_older_database_is_noticed_and_so_is_any_that_is_too_new() {
        let mut generations = vec![Identity::first()];
        for _ in 0..4 {
            generations.push(generations.last().unwrap().next());
        }
        for (old, database) in generations.iter().enumerate() {
            for (new, beside) in generations.iter().enumerate() {
                let judged = judge(
                    &ours(Some(database.clone())),
                    &FoundFile::Whole(beside.beside()),
                    true,
                );
                let (in_database, in_directory) = (old as u64 + 1, new as u64 + 1);
                let expected = match old.checked_sub(new) {
                    Some(0 | 1) => Ok(Standing::Fits),
                    Some(_) => Err(Mismatch::Newer {
                        database: in_database,
                        directory: in_directory,
                    }),
                    None => Err(Mismatch::Older {
                        database: in_database,
                        directory: in_directory,
                    }),
                };
                assert_eq!(
                    judged, expected,
                    "database {in_database}, directory {in_directory}"
                );
            }
        }
    }

    #[test]
    fn databases_that_belong_elsewhere_are_refused_and_so_is_none_where_there_was_one() {
        let here = Identity::first();
        let file = FoundFile::Whole(here.beside());
        let other = ours(Some(Identity::first()));
        assert_eq!(judge(&other, &file, true), Err(Mismatch::OtherDirectory));
        assert_eq!(judge(&ours(None), &file, false), Err(Mismatch::Unmarked));
        // Two copies of the directory went on: they count alike.
        let copy = FoundFile::Whole(here.next().beside());
        assert_eq!(
            judge(&ours(Some(here.next())), &copy, true),
            Err(Mismatch::Diverged)
        );
        let later = ours(Some(here.next()));
        assert_eq!(judge(&later, &FoundFile::Absent, true), Err(Mismatch::NoFile));
        assert_eq!(
            judge(&later, &FoundFile::Damaged, true),
            Err(Mismatch::DamagedFile)
        );
        for (database, mismatch) in [
            (FoundDatabase::Missing, Mismatch::Missing),
            (FoundDatabase::Empty, Mismatch::Empty),
            (FoundDatabase::Foreign, Mismatch::Foreign),
        ] {
            assert_eq!(judge(&database, &file, false), Err(mismatch.clone()));
            assert_eq!(judge(&database, &FoundFile::Absent, true), Err(mismatch));
        }
    }
}
