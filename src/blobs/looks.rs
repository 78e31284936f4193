//! Which blobs were held to their digests lately, so that this need not be done each time.

use std::{
    collections::HashMap,
    fs::Metadata,
    io,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::files::digest;

/// For how long a look at a whole file counts, where the file is the same to all appearances: a disk that loses a bit changes none of them.
/// A page of a list is forgotten in less time than that.
pub(super) const COUNTS_FOR: Duration = Duration::from_secs(60);

/// Most files that a look is remembered of.
const MOST: usize = 10_000;

/// Looks that no longer count are forgotten when there are twice as many as counted the last time, and not below this number.
const FEW: usize = 64;

/// What was seen of blobs, by their digests.
#[derive(Default)]
pub(super) struct Looks(Mutex<Table>);

#[derive(Default)]
struct Table {
    looks: HashMap<String, Look>,
    /// How many there were after the last ones were forgotten.
    left: usize,
}

#[derive(Clone, Copy)]
pub(super) struct Look {
    pub(super) file: Appearance,
    pub(super) at: Instant,
    pub(super) sound: bool,
}

/// What changes with everything that is written to a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Appearance {
    device: u64,
    inode: u64,
    bytes: u64,
    /// When it or what is known of it changed last: seconds and nanoseconds.
    changed: (i64, i64),
}

impl From<Metadata> for Appearance {
    fn from(file: Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            bytes: file.len(),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

impl Looks {
    pub(super) fn of(&self, sha256: &str) -> Option<Look> {
        self.table().looks.get(sha256).copied()
    }

    pub(super) fn remember(&self, sha256: &str, file: Appearance, sound: bool) {
        let at = Instant::now();
        self.table().remember(sha256, Look { file, at, sound });
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    pub(super) fn remember(&mut self, sha256: &str, look: Look) {
        if self.looks.len() >= (2 * self.left).max(FEW) {
            let now = look.at;
            // What was found damaged stays known.
            self.looks
                .retain(|_, look| !look.sound || now.duration_since(look.at) < COUNTS_FOR);
            self.looks.shrink_to(2 * self.looks.len());
            self.left = self.looks.len();
        }
        if self.looks.len() < MOST {
            self.looks.insert(sha256.to_owned(), look);
        }
    }
}

/// Whether a blob is there and sound. A damaged one gives way to whoever brings the same bytes again, and so is mended.
pub(super) fn is_there(target: &Path, sha256: &str) -> io::Result<bool> {
    Ok(target.exists() && digest::holds(target, sha256)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_that_no_longer_count_are_forgotten_and_damage_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = Appearance::from(folder.path().metadata().unwrap());
        let begun = Instant::now();
        let mut table = Table::default();
        for number in 0..100 * FEW as u64 {
            let at = begun + Duration::from_secs(number);
            let sound = number != 7;
            table.remember(&number.to_string(), Look { file, at, sound });
            assert!(table.looks.len() <= 3 * FEW, "{number}");
        }
        assert!(!table.looks["7"].sound);
        assert!(!table.looks.contains_key("8"));
    }
}
