//! Tables that label the images: `file,label[,split]` as CSV, also with other separators, with or without a header.
//!
//! `table` reads one; here its lines are matched with the images of the archive. Nothing is guessed silently: a line whose file does not
//! exist, and an image that no line lists, are both reported by name.

mod find;
mod table;

use std::collections::HashMap;

use self::find::Images;
pub use self::table::Table;
use super::{
    entry::Disposition,
    layout::{class_name, split_of},
    path,
};
use crate::{domain::datasets::split::Split, worker::pixels::EXTENSIONS};

/// A table of the archive.
#[derive(Debug)]
pub struct Candidate {
    /// Index of its entry.
    pub entry: usize,
    /// Its folders and its own name.
    pub parts: Vec<String>,
    pub table: Table,
}

/// What a table says about an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    pub class: String,
    /// None if it has no split.
    pub split: Option<Split>,
}

/// A line whose file does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The file as named in the line.
    pub file: String,
    /// Line of the table, from 1 on, and the table's entry.
    pub line: u64,
    pub table: usize,
}

/// The content of all tables together.
#[derive(Debug, Default)]
pub struct Manifest {
    /// Entries of the tables that were used.
    pub tables: Vec<usize>,
    /// By the entry of the image; an error is why it is left out.
    pub labels: HashMap<usize, Result<Label, Disposition>>,
    pub missing: Vec<Missing>,
}

impl Manifest {
    /// Matches tables with images, given as entry and parts. A table with a header that names the columns is used if it lists any image,
    /// one without if its first line and at least half of its lines do. None if no table is used.
    pub fn of(tables: &[Candidate], images: &[(usize, Vec<String>)]) -> Option<Self> {
        if tables.is_empty() {
            return None;
        }
        let images = Images::new(images);
        let mut manifest = Self::default();
        for candidate in tables {
            manifest.add(candidate, &images);
        }
        (!manifest.tables.is_empty()).then_some(manifest)
    }

    fn add(&mut self, candidate: &Candidate, images: &Images<'_>) {
        let (name, folder) = candidate
            .parts
            .split_last()
            .map_or(("", &[][..]), |(n, f)| (n.as_str(), f));
        let rows = &candidate.table.rows;
        let found: Vec<Option<usize>> = rows.iter().map(|row| images.find(folder, &row.file)).collect();
        let matched = found.iter().flatten().count();
        // If the first line names no file, it is a header with other column names.
        let begins = || found[0].is_some() || EXTENSIONS.contains(&path::extension(&rows[0].file).as_str());
        if matched == 0 || (!candidate.table.has_header && (matched * 2 < rows.len() || !begins())) {
            return;
        }
        self.tables.push(candidate.entry);
        // `train.csv` and `test.csv`, where no column says it.
        let of_table = split_of(name.rsplit_once('.').map_or(name, |(stem, _)| stem));
        for (row, found) in rows.iter().zip(found) {
            match found {
                None => self.missing.push(Missing {
                    file: row.file.clone(),
                    line: row.line,
                    table: candidate.entry,
                }),
                Some(image) => self.tell(image, label(row, of_table)),
            }
        }
    }

    fn tell(&mut self, image: usize, label: Result<Label, Disposition>) {
        self.labels
            .entry(image)
            .and_modify(|earlier| {
                if *earlier != label && earlier.is_ok() {
                    let message =
                        "the table lists it more than once with different labels; keep one line for it";
                    *earlier = Err(Disposition::skipped("listed_twice", message));
                }
            })
            .or_insert(label);
    }
}

fn label(row: &table::Row, of_table: Option<Split>) -> Result<Label, Disposition> {
    if row.label.is_empty() {
        return Err(Disposition::skipped(
            "no_label",
            "the table has no label for it; add one to its line",
        ));
    }
    let split = match row.split.as_str() {
        "" => of_table,
        word => match split_of(word) {
            Some(split) => Some(split),
            None => {
                let message = "its line in the table has a split other than train, val and test";
                return Err(Disposition::skipped("unknown_split", message));
            }
        },
    };
    Ok(Label {
        class: class_name(&row.label),
        split,
    })
}

#[cfg(test)]
mod tests;
