//! What the columns of a table are: the images' files, their labels, their splits. Names of columns decide where they are known; else the
//! content does, which is a guess that is said.

use std::collections::{BTreeSet, HashSet};

use super::grid::Grid;
use crate::{
    domain::datasets::reading::ReadOptions,
    worker::{
        ingest::names::{
            layout::{split_of_cell, words},
            path,
        },
        pixels::EXTENSIONS,
    },
};

/// Column names, without case and punctuation, the most specific ones first.
const FILE_COLUMNS: &[&str] = &[
    "file",
    "filename",
    "filepath",
    "path",
    "imagepath",
    "imagefile",
    "imagefilename",
    "imagefilepath",
    "imagename",
    "imgname",
    "imgpath",
    "imgfile",
    "image",
    "img",
    "imageid",
    "imgid",
    "filenames",
    "images",
    "picture",
    "photo",
    "uri",
    "imageuri",
    "gcsuri",
    "imagegcsuri",
    "url",
    "imageurl",
    "name",
    "id",
    "idcode",
    "uuid",
];
const LABEL_COLUMNS: &[&str] = &[
    "label",
    "labels",
    "class",
    "classes",
    "classname",
    "labelname",
    "category",
    "categoryname",
    "categories",
    "target",
    "targets",
    "tag",
    "tags",
    "species",
    "classid",
    "classlabel",
    "labelid",
    "categoryid",
    "breed",
    "diagnosis",
    "finding",
    "findinglabels",
    "disease",
    "level",
    "grade",
    "groundtruth",
    "annotation",
    "dx",
    "y",
];
const SPLIT_COLUMNS: &[&str] = &[
    "split",
    "subset",
    "set",
    "partition",
    "dataset",
    "usage",
    "mlusage",
    "fold",
    "phase",
];
/// Columns of measurements, which are never labels.
const MEASURES: &[&str] = &[
    "width",
    "height",
    "w",
    "h",
    "x",
    "x1",
    "x2",
    "y1",
    "y2",
    "xmin",
    "xmax",
    "ymin",
    "ymax",
    "size",
    "bytes",
    "depth",
    "channels",
    "age",
    "date",
    "time",
    "timestamp",
    "lat",
    "lon",
    "latitude",
    "longitude",
    "index",
    "score",
    "confidence",
];
/// Rows that are looked at to find the columns.
const SAMPLE: usize = 2000;
/// A guessed label column has at most this many classes.
const MOST_GUESSED: usize = 2000;

/// Which columns hold the labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelColumns {
    /// The table only lists images.
    None,
    One(usize),
    /// One label in each that is not empty.
    Several(Vec<usize>),
    /// A column for each class, with 1 for those that the image has.
    OneHot(Vec<usize>),
    /// The answer to a question of its own in each that is not empty.
    Tasks(Vec<usize>),
}

/// The meaning of the columns of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// Names of the columns, where it has them.
    pub names: Option<Vec<String>>,
    pub file: usize,
    pub labels: LabelColumns,
    pub split: Option<usize>,
    /// Whether the content decided, not the names.
    pub is_guess: bool,
    /// Columns that might be the labels as well, by name or number.
    pub alternatives: Vec<String>,
}

/// Why a table says nothing about the images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotUnderstood {
    /// No column names images of the archive; the text is the first name in the column that seems to be meant.
    NoImages { looked_for: Option<String> },
    /// A column that was asked for is not there.
    NoColumn(String),
    /// The columns of files is found, but several could be the labels.
    Ambiguous { file: String, candidates: Vec<String> },
}

impl Columns {
    /// `resolves` says whether a text names an image of the archive.
    pub fn of(
        grid: &Grid,
        options: Option<&ReadOptions>,
        resolves: impl Fn(&str) -> bool,
    ) -> Result<Self, NotUnderstood> {
        let width = grid.width();
        let first = grid
            .names
            .clone()
            .or_else(|| grid.rows.first().map(|row| row.cells.clone()));
        let first = first.unwrap_or_default();
        let plain: Vec<String> = first.iter().map(|name| plain(name)).collect();
        let chosen = |name: Option<&String>| match name {
            None => Ok(None),
            Some(name) => column_of(&first, width, name)
                .map(Some)
                .ok_or_else(|| NotUnderstood::NoColumn(name.clone())),
        };
        let chosen_file = chosen(options.and_then(|options| options.path_column.as_ref()))?;
        let chosen_label = chosen(options.and_then(|options| options.label_column.as_ref()))?;
        let wanted_tasks = options
            .and_then(|options| options.task_columns.as_deref())
            .unwrap_or_default();
        let tasks: Result<Vec<usize>, NotUnderstood> = wanted_tasks
            .iter()
            .filter_map(|name| chosen(Some(name)).transpose())
            .collect();
        let tasks = tasks?;
        let chosen_split = chosen(options.and_then(|options| options.split_column.as_ref()))?;
        let sample = Sample::of(grid, grid.names.is_none() && grid.rows.len() > 1);
        let file = match chosen_file {
            Some(file) => file,
            None => sample.file_column(&plain, width, &resolves).ok_or_else(|| {
                let named = known(&plain, FILE_COLUMNS).into_iter().next();
                let looked_for =
                    named.and_then(|column| sample.rows.first().map(|row| row.cell(column).to_owned()));
                NotUnderstood::NoImages { looked_for }
            })?,
        };
        let looks_like_file =
            |text: &str| resolves(text) || EXTENSIONS.contains(&path::extension(text).as_str());
        let has_names = grid.names.is_some()
            || (!looks_like_file(first.get(file).map_or("", String::as_str)) && grid.rows.len() > 1);
        // The first row counts, too, if it is none of names: tables may be short.
        let sample = Sample::of(grid, grid.names.is_none() && has_names);
        let names = has_names.then(|| first.clone());
        let plain = if has_names {
            plain
        } else {
            vec![String::new(); width]
        };
        let taken: Vec<usize> = [file]
            .into_iter()
            .chain(chosen_label)
            .chain(tasks.iter().copied())
            .collect();
        let split = chosen_split.or_else(|| sample.split_column(&plain, width, &taken));
        let mut columns = Self {
            names,
            file,
            labels: LabelColumns::None,
            split,
            is_guess: false,
            alternatives: Vec::new(),
        };
        if !tasks.is_empty() {
            columns.labels = LabelColumns::Tasks(tasks);
            return Ok(columns);
        }
        if let Some(label) = chosen_label {
            columns.labels = LabelColumns::One(label);
            return Ok(columns);
        }
        let others: Vec<usize> = (0..width)
            .filter(|column| *column != file && Some(*column) != split)
            .collect();
        sample.find_labels(&mut columns, &plain, &others, grid)?;
        Ok(columns)
    }

    /// The name of a column, or its number from 1.
    pub fn name(&self, column: usize) -> String {
        name_of(self.names.as_deref(), column)
    }
}

fn name_of(names: Option<&[String]>, column: usize) -> String {
    let named = names
        .and_then(|names| names.get(column))
        .filter(|name| !name.is_empty());
    named.cloned().unwrap_or_else(|| (column + 1).to_string())
}

/// The column of this name, without regard to capitals and punctuation, or of this number from 1.
fn column_of(names: &[String], width: usize, wanted: &str) -> Option<usize> {
    let exactly = names.iter().position(|name| name == wanted);
    let roughly = || {
        names
            .iter()
            .position(|name| plain(name) == plain(wanted) && !plain(wanted).is_empty())
    };
    let number = || {
        wanted
            .parse::<usize>()
            .ok()
            .filter(|number| (1..=width).contains(number))
    };
    exactly
        .or_else(roughly)
        .or_else(|| number().map(|number| number - 1))
}

/// Columns with known names, the most specific ones first.
fn known(plain: &[String], words: &[&str]) -> Vec<usize> {
    let of = |word: &&str| plain.iter().position(|name| name == word);
    words.iter().filter_map(of).collect()
}

/// Some rows, evenly drawn; without the first where that is, or may be, names.
struct Sample<'a> {
    rows: Vec<&'a super::grid::GridRow>,
}

impl<'a> Sample<'a> {
    fn of(grid: &'a Grid, skip_first: bool) -> Self {
        let skip = usize::from(skip_first);
        let step = (grid.rows.len() / SAMPLE).max(1);
        Self {
            rows: grid.rows.iter().skip(skip).step_by(step).collect(),
        }
    }

    fn values(&self, column: usize) -> impl Iterator<Item = &'a str> + Clone + '_ {
        self.rows.iter().map(move |row| row.cell(column))
    }

    fn distinct(&self, column: usize) -> HashSet<&'a str> {
        self.values(column).filter(|text| !text.is_empty()).collect()
    }

    /// A named column if it names any image; else the one that names images in at least half of its rows. Of several, the one with the most
    /// different names.
    fn file_column(&self, plain: &[String], width: usize, resolves: &impl Fn(&str) -> bool) -> Option<usize> {
        let named = known(plain, FILE_COLUMNS);
        let hits = |column: usize| {
            self.values(column)
                .filter(|text| !text.is_empty() && resolves(text))
                .count()
        };
        let by_hits: Vec<(usize, usize)> = (0..width).map(|column| (column, hits(column))).collect();
        let enough = |&&(column, hits): &&(usize, usize)| match named.contains(&column) {
            true => hits > 0,
            false => hits > 0 && hits * 2 >= self.rows.len(),
        };
        let best = by_hits.iter().filter(enough).max_by_key(|(column, hits)| {
            let rank = named.iter().position(|known| known == column);
            (
                *hits,
                self.distinct(*column).len(),
                rank.map(|rank| usize::MAX - rank),
                usize::MAX - column,
            )
        });
        best.map(|(column, _)| *column)
    }

    /// A named column, or one with nothing but words for splits in it.
    fn split_column(&self, plain: &[String], width: usize, taken: &[usize]) -> Option<usize> {
        let holds_splits = |column: usize| {
            let values = self.distinct(column);
            let known: BTreeSet<_> = values
                .iter()
                .filter_map(|text| split_of_cell(text))
                .flatten()
                .collect();
            let all = values.iter().all(|text| split_of_cell(text).is_some());
            !known.is_empty() && all
        };
        let free = |column: &usize| !taken.contains(column);
        // `fold` and `dataset` are splits only if their words are.
        let named = known(plain, SPLIT_COLUMNS)
            .into_iter()
            .filter(free)
            .find(|column| {
                matches!(plain[*column].as_str(), "split" | "subset" | "partition") || holds_splits(*column)
            });
        named.or_else(|| (0..width).filter(free).find(|column| holds_splits(*column)))
    }

    fn find_labels(
        &self,
        columns: &mut Columns,
        plain: &[String],
        others: &[usize],
        grid: &Grid,
    ) -> Result<(), NotUnderstood> {
        let named: Vec<usize> = known(plain, LABEL_COLUMNS)
            .into_iter()
            .filter(|column| others.contains(column))
            .collect();
        let numbered: Vec<usize> = others
            .iter()
            .copied()
            // A row may be longer than the header.
            .filter(|column| plain.get(*column).is_some_and(|name| is_numbered_label(name)))
            .collect();
        if numbered.len() > 1 {
            columns.labels = LabelColumns::Several(numbered);
            return Ok(());
        }
        if let Some(label) = self.best_named(&named) {
            columns.labels = LabelColumns::One(label);
            return Ok(());
        }
        // The whale's `Image,Id`: the second is known as a file's name, too.
        if let [only] = others {
            columns.labels = LabelColumns::One(*only);
            columns.is_guess = columns.names.is_some() && !known(plain, FILE_COLUMNS).contains(only);
            return Ok(());
        }
        if others.is_empty() {
            return Ok(());
        }
        let binary: Vec<usize> = others
            .iter()
            .copied()
            .filter(|column| self.is_binary(*column))
            .collect();
        if columns.names.is_some() && binary.len() > 1 && self.are_one_hot(&binary) {
            columns.labels = LabelColumns::OneHot(binary);
            return Ok(());
        }
        // `path,label,label`, with as many labels as an image has.
        if columns.names.is_none() && grid.is_ragged {
            columns.labels = LabelColumns::Several(others.to_vec());
            return Ok(());
        }
        let repeating: Vec<usize> = others
            .iter()
            .copied()
            .filter(|column| self.could_be_labels(*column, plain))
            .collect();
        let in_words: Vec<usize> = repeating
            .iter()
            .copied()
            .filter(|column| !self.is_numeric(*column))
            .collect();
        let guess = match (in_words.as_slice(), repeating.as_slice()) {
            ([only], _) | ([], [only]) => *only,
            ([], []) => return Ok(()),
            _ => {
                let name = |column: &usize| columns.name(*column);
                return Err(NotUnderstood::Ambiguous {
                    file: columns.name(columns.file),
                    candidates: repeating.iter().map(name).collect(),
                });
            }
        };
        columns.labels = LabelColumns::One(guess);
        columns.is_guess = true;
        columns.alternatives = repeating
            .iter()
            .filter(|column| **column != guess)
            .map(|column| columns.name(*column))
            .collect();
        Ok(())
    }

    /// Of columns named like labels, the first; one in words rather than the same in numbers (`class_id` beside `class_name`).
    fn best_named(&self, named: &[usize]) -> Option<usize> {
        let first = *named.first()?;
        if !self.is_numeric(first) {
            return Some(first);
        }
        let same = |column: &usize| {
            let pairs: HashSet<(&str, &str)> = self.values(first).zip(self.values(*column)).collect();
            let (a, b) = (self.distinct(first).len(), self.distinct(*column).len());
            !self.is_numeric(*column) && a == b && pairs.len() == a
        };
        named.iter().copied().find(same).or(Some(first))
    }

    fn is_numeric(&self, column: usize) -> bool {
        self.values(column)
            .filter(|text| !text.is_empty())
            .all(|text| text.parse::<f64>().is_ok())
    }

    fn is_binary(&self, column: usize) -> bool {
        let values = self.distinct(column);
        !values.is_empty() && values.iter().all(|text| is_yes(text).is_some())
    }

    /// Most rows have a 1 somewhere, and no column of the kind is always 1.
    fn are_one_hot(&self, columns: &[usize]) -> bool {
        let any = |row: &&&super::grid::GridRow| {
            columns
                .iter()
                .any(|column| is_yes(row.cell(*column)) == Some(true))
        };
        self.rows.iter().filter(any).count() * 2 > self.rows.len()
    }

    fn could_be_labels(&self, column: usize, plain: &[String]) -> bool {
        let values = self.distinct(column);
        let fraction =
            |text: &&str| text.contains('.') && text.parse::<f64>().is_ok_and(|number| number.fract() != 0.0);
        (2..=MOST_GUESSED).contains(&values.len())
            && values.len() * 2 <= self.rows.len()
            && plain
                .get(column)
                .is_none_or(|name| !MEASURES.contains(&name.as_str()))
            && !values.iter().any(fraction)
    }
}

/// `label_1`, `Label 2`, `tag3`.
fn is_numbered_label(plain: &str) -> bool {
    let stem = plain.trim_end_matches(|letter: char| letter.is_ascii_digit());
    stem.len() < plain.len() && LABEL_COLUMNS.contains(&stem)
}

/// The value of a cell of a one-hot column.
pub fn is_yes(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "1.0" | "true" | "yes" => Some(true),
        "0" | "0.0" | "false" | "no" => Some(false),
        _ => None,
    }
}

/// A column name without case, blanks and punctuation.
fn plain(name: &str) -> String {
    words(name).concat()
}
