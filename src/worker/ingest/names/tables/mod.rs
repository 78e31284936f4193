//! Tables that label the images: separated text, JSON, lists of paths; found, read and matched with the images of the archive.
//!
//! [`grid`] reads a file into lines and columns, [`columns`] finds out what they are, [`find`] which image a line means; here they come
//! together. Nothing is guessed silently: a line whose file does not exist, an image that no line lists, a column that was taken for the labels
//! because of its content, and a table that could not be understood are all reported.

mod columns;
mod find;
mod grid;
mod json;
mod labels;
mod manifest;
mod placeholder;
#[cfg(test)]
mod tests;

use self::grid::TooManyRows;
pub use self::{
    find::{Found, Images},
    grid::Grid,
    manifest::{Ambiguous, Label, Manifest, Missing, Surroundings},
};
use super::{
    doubt::{doubt, named},
    entry::{ListedEntry, parts_of},
    path,
};
use crate::{
    domain::datasets::{
        dataset::DatasetWarning,
        reading::{ReadOptions, separator_byte},
    },
    limits::IngestLimits,
    worker::ingest::text::{CodePage, text_of},
};

/// A table of the archive.
#[derive(Debug)]
pub struct Candidate {
    /// Index of its entry.
    pub entry: usize,
    /// Its folders and its own name.
    pub parts: Vec<String>,
    pub grid: Grid,
}

impl Candidate {
    /// Whether any of its texts names an image: what names none has nothing to say, however it is read.
    pub fn names_any(&self, images: &Images<'_>) -> bool {
        let folder = self.parts.split_last().map_or(&[][..], |(_, folder)| folder);
        let mut cells = self.grid.rows.iter().flat_map(|row| &row.cells);
        cells.any(|cell| images.find(folder, cell) != Found::None)
    }
}

/// Tables found so far, within limits.
pub struct Tables<'a> {
    read: Vec<(usize, Grid)>,
    /// Entries of tables that were not read because there are too many lines already.
    left_out: Vec<usize>,
    /// How many more lines and bytes are accepted.
    rows_left: usize,
    bytes_left: usize,
    options: &'a ReadOptions,
    /// Tables whose text does not say how it is encoded.
    guessed_encodings: Vec<(String, &'static str)>,
}

impl<'a> Tables<'a> {
    pub const EXTENSIONS: &'static [&'static str] = &["csv", "json", "jsonl", "ndjson", "tsv", "txt"];
    /// Bytes of all tables together.
    const MAX_BYTES: usize = 256 << 20;
    /// JSON needs a multiple of its size.
    const MAX_JSON_BYTES: usize = 64 << 20;

    pub fn new(limits: &IngestLimits, options: &'a ReadOptions) -> Self {
        Self {
            read: Vec::new(),
            left_out: Vec::new(),
            rows_left: (limits.max_entries as usize).saturating_mul(2),
            bytes_left: Self::MAX_BYTES,
            options,
            guessed_encodings: Vec::new(),
        }
    }

    /// Takes in a file that may be a table; `name` is its path.
    pub fn add(&mut self, entry: usize, name: &str, bytes: &[u8]) {
        let is_json = matches!(path::extension(name).as_str(), "json" | "jsonl" | "ndjson");
        let most = if is_json {
            self.bytes_left.min(Self::MAX_JSON_BYTES)
        } else {
            self.bytes_left
        };
        if bytes.len() > most {
            self.left_out.push(entry);
            return;
        }
        match self.grid(name, bytes, is_json) {
            Ok(Some(grid)) => {
                self.bytes_left -= bytes.len();
                self.rows_left -= grid.rows.len();
                self.read.push((entry, grid));
            }
            Ok(None) => {}
            Err(TooManyRows) => self.left_out.push(entry),
        }
    }

    fn grid(&mut self, name: &str, bytes: &[u8], is_json: bool) -> Result<Option<Grid>, TooManyRows> {
        // What the caller says of one table is not true of the others.
        let is_meant = self
            .options
            .table
            .as_deref()
            .is_none_or(|table| is_called(name, table));
        let options = Some(self.options).filter(|_| is_meant);
        let encoding = options.and_then(|options| options.encoding.as_deref());
        let text = match encoding.and_then(CodePage::of) {
            Some(page) => page.decode_all(bytes).into_owned(),
            None => {
                let (text, encoding, is_guess) = text_of(bytes);
                if is_guess {
                    self.guessed_encodings.push((name.to_owned(), encoding));
                }
                text
            }
        };
        if is_json {
            return Grid::of_json(&text, self.rows_left);
        }
        let separator = options
            .and_then(|options| options.separator.as_deref())
            .and_then(separator_byte);
        Grid::of_text(&text, separator, self.rows_left)
    }

    /// The tables, and what is doubtful about reading them.
    pub fn candidates(self, entries: &[ListedEntry]) -> (Vec<Candidate>, Vec<DatasetWarning>) {
        let with_parts = |(entry, grid): (usize, Grid)| Candidate {
            parts: parts_of(&entries[entry].path),
            entry,
            grid,
        };
        let doubts = [self.about_those_left_out(entries), self.about_encodings()];
        (
            self.read.into_iter().map(with_parts).collect(),
            doubts.into_iter().flatten().collect(),
        )
    }

    fn about_those_left_out(&self, entries: &[ListedEntry]) -> Option<DatasetWarning> {
        let names = || self.left_out.iter().map(|entry| entries[*entry].path.as_str());
        let message = format!(
            "{} tables were not read, because all tables together are too large; leave out those that do not label images",
            self.left_out.len()
        );
        (!self.left_out.is_empty()).then(|| doubt("tables_left_out", message, names()))
    }

    fn about_encodings(&self) -> Option<DatasetWarning> {
        let (first, encoding) = self.guessed_encodings.first()?;
        let message = format!(
            "the text of {} does not say how it is encoded; it was read as {encoding}; if labels look wrong, save it as UTF-8, or read the \
             archive again with {{\"classes\": \"table\", \"table\": \"{first}\", \"encoding\": …}}",
            named(self.guessed_encodings.iter().map(|(name, _)| name))
        );
        Some(doubt(
            "table_encoding_guessed",
            message,
            self.guessed_encodings.iter().map(|(name, _)| name.clone()),
        ))
    }
}

/// Whether a table of this path is the one that a caller means: by its path or by its name.
pub fn is_called(path: &str, wanted: &str) -> bool {
    let (path, wanted) = (path.trim_start_matches("./"), wanted.trim_matches('/'));
    path == wanted || path.rsplit('/').next() == Some(wanted)
}
