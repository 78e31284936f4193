//! What there is to read: the names in an archive, and its tables.

use super::{
    layout::Tree,
    tables::{Candidate, Images},
};

/// What there is to read.
pub struct Names<'a> {
    /// Images, as entry and folders with own name.
    pub images: &'a [(usize, Vec<String>)],
    pub tree: &'a Tree,
    pub index: &'a Images<'a>,
    pub tables: Vec<&'a Candidate>,
    /// Folders that the archive lists.
    pub folders: &'a [Vec<String>],
}

impl Names<'_> {
    /// The paths of tables of these entries.
    pub fn paths(&self, entries: &[usize]) -> Vec<String> {
        let table = |entry: &usize| self.tables.iter().find(|table| table.entry == *entry);
        let tables = entries.iter().filter_map(table);
        tables.map(|table| table.parts.join("/")).collect()
    }
}
