//! The tables of an archive while it is listed, within limits.

use super::{
    entry::{ListedEntry, parts_of},
    manifest::{Candidate, Table},
};
use crate::limits::IngestLimits;

/// Tables found so far, within limits.
pub struct Tables {
    read: Vec<(usize, Table)>,
    /// How many more lines are accepted.
    rows_left: usize,
}

impl Tables {
    const MAX_TABLES: usize = 16;
    pub const EXTENSIONS: &[&str] = &["csv", "tsv"];

    pub fn new(limits: &IngestLimits) -> Self {
        Self {
            read: Vec::new(),
            rows_left: limits.max_entries as usize,
        }
    }

    pub fn add(&mut self, entry: usize, bytes: &[u8]) {
        if self.read.len() < Self::MAX_TABLES
            && let Some(table) = Table::read(bytes, self.rows_left)
        {
            self.rows_left -= table.rows.len();
            self.read.push((entry, table));
        }
    }

    pub fn candidates(self, entries: &[ListedEntry]) -> Vec<Candidate> {
        let with_parts = |(entry, table): (usize, Table)| Candidate {
            parts: parts_of(&entries[entry].path),
            entry,
            table,
        };
        self.read.into_iter().map(with_parts).collect()
    }
}
