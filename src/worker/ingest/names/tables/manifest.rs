//! What all tables together say about the images.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{
    Candidate,
    columns::{Columns, LabelColumns, NotUnderstood, is_yes},
    find::{Found, Images},
    is_called,
    labels::Cells,
    placeholder,
};
use crate::{
    domain::{
        datasets::{
            dataset::DatasetWarning,
            reading::{ClassSource, ReadOptions},
            split::Split,
        },
        models::tasks::class_of,
    },
    worker::ingest::{
        names::{
            doubt::{doubt, named},
            entry::Disposition,
            layout::{class_name, split_of_cell, worded_split},
            path,
        },
        rejection::Rejection,
    },
};

/// How much of a label is shown.
const SHOWN: usize = 60;

/// Most labels of one image that are kept, and their longest.
const MOST_LABELS: usize = 256;
const LONGEST_LABEL: usize = 255;

/// What a table says about an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The names of its classes: usually one.
    pub classes: Vec<String>,
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

/// A line that could mean several images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ambiguous {
    pub file: String,
    pub line: u64,
    pub table: usize,
    /// Entries of the images.
    pub images: Vec<usize>,
}

/// What is known about the images apart from the tables.
pub struct Surroundings<'a> {
    pub images: &'a Images<'a>,
    /// Folders and own name of an image, by its entry.
    pub parts: &'a dyn Fn(usize) -> &'a [String],
    /// The split that the folders give an image.
    pub split: &'a dyn Fn(usize) -> Option<Split>,
    /// Whether images with several labels are left out.
    pub leaves_out_several: bool,
}

/// The content of all tables together.
#[derive(Debug, Default)]
pub struct Manifest {
    /// Entries of the tables with labels.
    pub tables: Vec<usize>,
    /// Entries of the tables that only say which split images are in.
    pub lists: Vec<usize>,
    /// By the entry of the image; an error is why it is left out.
    pub labels: HashMap<usize, Result<Label, Disposition>>,
    /// Splits by the lists, by the entry of the image.
    pub splits: HashMap<usize, Split>,
    pub missing: Vec<Missing>,
    pub ambiguous: Vec<Ambiguous>,
    /// Whether any of the labels were found by the content of their column only.
    pub is_guess: bool,
    pub doubts: Vec<DatasetWarning>,
    /// Options that read tables as several tasks of which it is not clear which column has the labels.
    pub possible_tasks: Vec<ReadOptions>,
}

/// A table whose columns are known, with the image of each row.
struct Understood<'a> {
    candidate: &'a Candidate,
    columns: Columns,
    /// By the rows of the grid from `first_row` on.
    found: Vec<Found>,
    first_row: usize,
    cells: Cells,
    of_table: Option<Split>,
    /// Whether images with several labels are left out.
    leaves_out_several: bool,
    /// Whether they are not, and there are some.
    keeps_several: bool,
}

impl Manifest {
    /// Matches tables with images. With `options`, only the table that they name counts, as they say.
    ///
    /// # Errors
    /// A [`Rejection`] if a table that the options ask for is not there or not as they say.
    pub fn of(
        tables: &[&Candidate],
        options: Option<&ReadOptions>,
        around: &Surroundings<'_>,
    ) -> Result<Self, Rejection> {
        let mut manifest = Self::default();
        let wanted = options.and_then(|options| options.table.as_deref());
        let mut understood = Vec::new();
        for candidate in tables {
            let shown = candidate.parts.join("/");
            if wanted.is_some_and(|wanted| !is_called(&shown, wanted)) {
                continue;
            }
            match Understood::of(candidate, options, around) {
                Ok(table) => understood.push(table),
                Err(fault) if wanted.is_some() => return Err(refused(&shown, &candidate.grid.names, fault)),
                Err(fault) => {
                    manifest.possible_tasks.extend(as_tasks(&shown, &fault));
                    manifest.doubts.extend(not_understood(&shown, fault));
                }
            }
        }
        if let (Some(wanted), true) = (wanted, understood.is_empty()) {
            let names = tables.iter().map(|table| table.parts.join("/"));
            return Err(Rejection::new(
                "no_such_table",
                format!(
                    "the archive has no table `{wanted}`; its tables are {}",
                    named(names)
                ),
            ));
        }
        if wanted.is_none() {
            manifest
                .doubts
                .extend(without_placeholders(&mut understood, around));
        }
        let by_name = class_lists(&understood);
        for table in &understood {
            manifest.add(table, by_name);
        }
        manifest.doubts.extend(manifest.about_columns(&understood));
        if by_name {
            let names = understood.iter().map(|table| table.candidate.parts.join("/"));
            let message = "tables that only list images were read as one class each, called like the table; if that is wrong, read the archive \
                           again with other `classes`";
            manifest
                .doubts
                .push(doubt("classes_from_table_names", message, names));
            manifest.is_guess = true;
        }
        Ok(manifest)
    }

    /// Whether any table labels any image.
    pub fn has_labels(&self) -> bool {
        !self.tables.is_empty()
    }

    fn add(&mut self, table: &Understood<'_>, by_name: bool) {
        let entry = table.candidate.entry;
        let is_list = table.columns.labels == LabelColumns::None && !by_name;
        if is_list && table.of_table.is_none() && table.columns.split.is_none() {
            return;
        }
        if is_list {
            self.lists.push(entry);
        } else {
            self.tables.push(entry);
            self.is_guess |= table.columns.is_guess;
        }
        for (row, found) in table.candidate.grid.rows[table.first_row..]
            .iter()
            .zip(&table.found)
        {
            let file = row.cell(table.columns.file);
            let image = match found {
                _ if file.is_empty() => continue,
                Found::One(image) => *image,
                Found::None => {
                    self.missing.push(Missing {
                        file: file.to_owned(),
                        line: row.line,
                        table: entry,
                    });
                    continue;
                }
                Found::Several(images) => {
                    self.ambiguous.push(Ambiguous {
                        file: file.to_owned(),
                        line: row.line,
                        table: entry,
                        images: images.clone(),
                    });
                    continue;
                }
            };
            let split = table.split(row);
            if is_list {
                if let Ok(Some(split)) = split {
                    self.splits.insert(image, split);
                }
            } else {
                self.tell(image, table.label(row, split, by_name));
            }
        }
    }

    fn tell(&mut self, image: usize, label: Result<Label, Disposition>) {
        self.labels
            .entry(image)
            .and_modify(|earlier| {
                if *earlier != label && earlier.is_ok() {
                    let message =
                        "the tables list it more than once with different labels; keep one line for it";
                    *earlier = Err(Disposition::skipped("listed_twice", message));
                }
            })
            .or_insert(label);
    }

    fn about_columns(&self, understood: &[Understood<'_>]) -> Option<DatasetWarning> {
        let guessed: Vec<&Understood<'_>> =
            understood.iter().filter(|table| table.columns.is_guess).collect();
        let first = guessed.first()?;
        let LabelColumns::One(column) = first.columns.labels else {
            return None;
        };
        let other = match first.columns.alternatives.as_slice() {
            [] => String::new(),
            others => format!(" (it could also be {})", named(others)),
        };
        let message = format!(
            "the column `{}` of `{}` was taken for the labels because of its content{other}; to take another one, read the archive again with \
             `classes: table` and `label_column`",
            first.columns.name(column),
            first.candidate.parts.join("/")
        );
        Some(doubt(
            "label_column_guessed",
            message,
            guessed.iter().map(|table| table.candidate.parts.join("/")),
        ))
    }
}

impl<'a> Understood<'a> {
    fn of(
        candidate: &'a Candidate,
        options: Option<&ReadOptions>,
        around: &Surroundings<'_>,
    ) -> Result<Self, NotUnderstood> {
        let (name, folder) = candidate
            .parts
            .split_last()
            .map_or(("", &[][..]), |(name, folder)| (name.as_str(), folder));
        let grid = &candidate.grid;
        let columns = Columns::of(grid, options, |text| {
            around.images.find(folder, text) != Found::None
        })?;
        let first_row = usize::from(columns.names.is_some() && grid.names.is_none());
        let rows = &grid.rows[first_row..];
        let of_table =
            worded_split(name.rsplit_once('.').map_or(name, |(stem, _)| stem)).map(|found| found.split);
        let mut found: Vec<Found> = rows
            .iter()
            .map(|row| around.images.find(folder, row.cell(columns.file)))
            .collect();
        decide(&mut found, folder, of_table, around);
        let cells = match columns.labels {
            LabelColumns::One(column) => Cells::of(rows.iter().map(|row| row.cell(column))),
            _ => Cells::Single,
        };
        let mut table = Self {
            candidate,
            columns,
            found,
            first_row,
            cells,
            of_table,
            leaves_out_several: around.leaves_out_several,
            keeps_several: false,
        };
        table.keeps_several =
            !around.leaves_out_several && table.rows().any(|row| table.labels(row).len() > 1);
        Ok(table)
    }

    fn rows(&self) -> impl Iterator<Item = &super::grid::GridRow> {
        self.candidate.grid.rows[self.first_row..].iter()
    }

    /// The entries of the images that it names.
    fn images(&self) -> impl Iterator<Item = usize> + '_ {
        self.found.iter().filter_map(|found| match found {
            Found::One(image) => Some(*image),
            _ => None,
        })
    }

    fn labels(&self, row: &super::grid::GridRow) -> Vec<String> {
        match &self.columns.labels {
            LabelColumns::None => Vec::new(),
            LabelColumns::One(column) => self.cells.labels(row.cell(*column)),
            LabelColumns::Several(columns) => {
                let mut labels: Vec<String> = Vec::new();
                for text in columns
                    .iter()
                    .map(|column| row.cell(*column))
                    .filter(|text| !text.is_empty())
                {
                    if !labels.iter().any(|label| label == text) {
                        labels.push(text.to_owned());
                    }
                }
                labels
            }
            LabelColumns::Tasks(columns) => {
                let answers = columns.iter().map(|column| (column, row.cell(*column).trim()));
                let answers = answers.filter(|(_, answer)| !answer.is_empty());
                answers
                    .map(|(column, answer)| class_of(&self.columns.name(*column), answer))
                    .collect()
            }
            LabelColumns::OneHot(columns) => {
                let yes = columns
                    .iter()
                    .filter(|column| is_yes(row.cell(**column)) == Some(true));
                yes.map(|column| self.columns.name(*column)).collect()
            }
        }
    }

    /// Whether a row without labels says that its image has none, instead of nothing.
    fn says_none(&self, row: &super::grid::GridRow) -> bool {
        match &self.columns.labels {
            LabelColumns::OneHot(_) => self.keeps_several,
            // An empty list, but not an empty cell.
            LabelColumns::One(column) => !self.leaves_out_several && !row.cell(*column).is_empty(),
            LabelColumns::None | LabelColumns::Several(_) | LabelColumns::Tasks(_) => false,
        }
    }

    fn split(&self, row: &super::grid::GridRow) -> Result<Option<Split>, Disposition> {
        let Some(column) = self.columns.split else {
            return Ok(self.of_table);
        };
        let word = row.cell(column);
        let split = split_of_cell(word).or_else(|| worded_split(word).map(|found| Some(found.split)));
        match split {
            Some(split) => Ok(split.or(self.of_table)),
            None => {
                let message = format!(
                    "its line in the table has the split `{}`, which is none of train, val and test",
                    path::shown(word, SHOWN)
                );
                Err(Disposition::skipped("unknown_split", message))
            }
        }
    }

    fn label(
        &self,
        row: &super::grid::GridRow,
        split: Result<Option<Split>, Disposition>,
        by_name: bool,
    ) -> Result<Label, Disposition> {
        let labels = match by_name {
            true => vec![self.stem().to_owned()],
            false => self.labels(row),
        };
        match labels.as_slice() {
            [] if !self.says_none(row) => Err(Disposition::skipped(
                "no_label",
                "the table has no label for it; add one to its line",
            )),
            labels if labels.len() <= 1 || self.keeps_several => {
                let mut classes: Vec<String> = labels.iter().map(|class| class_name(class)).collect();
                classes.sort_unstable();
                classes.dedup();
                Ok(Label {
                    classes,
                    split: split?,
                })
            }
            several => {
                let message = format!(
                    "has several labels in the table ({}), and images with several are left out (`several_labels`)",
                    path::shown(&named(several), 4 * SHOWN)
                );
                let shown = several
                    .iter()
                    .take(MOST_LABELS)
                    .map(|label| path::shown(label, LONGEST_LABEL));
                Err(Disposition {
                    labels: shown.collect(),
                    ..Disposition::skipped("several_labels", message)
                })
            }
        }
    }

    /// Its name without the extension.
    fn stem(&self) -> &str {
        let name = self.candidate.parts.last().map_or("", String::as_str);
        name.rsplit_once('.').map_or(name, |(stem, _)| stem)
    }
}

/// Decides which image is meant where several could be: the one in the split that the table is named after, the one below the table's own
/// folder, or the ones in the only folder for which the table has a line for each image.
fn decide(found: &mut [Found], folder: &[String], of_table: Option<Split>, around: &Surroundings<'_>) {
    let only = |images: &[usize], fits: &dyn Fn(usize) -> bool| {
        let mut fitting = images.iter().copied().filter(|image| fits(*image));
        fitting.next().filter(|_| fitting.next().is_none())
    };
    let mut by_folder: BTreeMap<&[String], usize> = BTreeMap::new();
    for one in found.iter_mut() {
        let Found::Several(images) = one else { continue };
        let in_split = |image| of_table.is_some() && (around.split)(image) == of_table;
        let near = |image: usize| !folder.is_empty() && (around.parts)(image).starts_with(folder);
        if let Some(image) = only(images, &in_split).or_else(|| only(images, &near)) {
            *one = Found::One(image);
            continue;
        }
        for image in images {
            let parts = (around.parts)(*image);
            *by_folder
                .entry(&parts[..parts.len().saturating_sub(1)])
                .or_default() += 1;
        }
    }
    let undecided = found
        .iter()
        .filter(|found| matches!(found, Found::Several(_)))
        .count();
    let mut whole = by_folder
        .iter()
        .filter(|(_, count)| **count == undecided)
        .map(|(folder, _)| *folder);
    let (Some(meant), None) = (whole.next(), whole.next()) else {
        return;
    };
    for one in found.iter_mut() {
        if let Found::Several(images) = one
            && let Some(image) = only(images, &|image| {
                let parts = (around.parts)(image);
                parts[..parts.len().saturating_sub(1)] == *meant
            })
        {
            *one = Found::One(image);
        }
    }
}

/// Removes the tables that only have placeholders for labels.
fn without_placeholders(
    understood: &mut Vec<Understood<'_>>,
    around: &Surroundings<'_>,
) -> Option<DatasetWarning> {
    let columns = |table: &Understood<'_>| table.columns.names.clone().unwrap_or_default();
    // Tables of one form are one table in pieces.
    let mut labels: HashMap<Vec<String>, HashSet<String>> = HashMap::new();
    for table in understood.iter() {
        let known = labels.entry(columns(table)).or_default();
        known.extend(table.rows().flat_map(|row| table.labels(row)).take(1 << 16));
    }
    let is_placeholder = |table: &Understood<'_>| {
        let constant = labels[&columns(table)].len() == 1 && table.rows().count() > 1;
        let of_test = table
            .images()
            .all(|image| (around.split)(image) == Some(Split::Test));
        let name = table.candidate.parts.last().map_or("", String::as_str);
        table.columns.labels != LabelColumns::None
            && (placeholder::is_named_so(name) || (constant && of_test))
    };
    let found: Vec<String> = understood
        .iter()
        .filter(|table| is_placeholder(table))
        .map(|table| table.candidate.parts.join("/"))
        .collect();
    understood.retain(|table| {
        !is_placeholder(table)
            && !placeholder::is_named_so(table.candidate.parts.last().map_or("", String::as_str))
    });
    let first = found.first()?;
    let message = format!(
        "{} looks like a form for a competition, with placeholders for labels, and was not used; if its labels are real, read the archive again \
         with {{\"classes\": \"table\", \"table\": \"{first}\"}}",
        named(&found)
    );
    Some(doubt("placeholder_labels", message, found))
}

/// Whether there are several tables that only list images, different ones each, and no other: then each is about one class.
fn class_lists(understood: &[Understood<'_>]) -> bool {
    let mut seen = HashSet::new();
    understood.len() > 1
        && understood.iter().all(|table| {
            table.columns.labels == LabelColumns::None
                && table.candidate.grid.width() == 1
                && table.of_table.is_none()
                && table.columns.split.is_none()
                && table.images().count() > 0
                && table.images().all(|image| seen.insert(image))
        })
        && understood
            .iter()
            .map(Understood::stem)
            .collect::<BTreeSet<_>>()
            .len()
            == understood.len()
}

/// The reading of such a table in which each of its columns is a task of its own.
fn as_tasks(table: &str, fault: &NotUnderstood) -> Option<ReadOptions> {
    let NotUnderstood::Ambiguous { candidates, .. } = fault else {
        return None;
    };
    Some(ReadOptions {
        classes: Some(ClassSource::Table),
        table: Some(table.to_owned()),
        task_columns: Some(candidates.clone()),
        ..ReadOptions::default()
    })
}

fn not_understood(table: &str, fault: NotUnderstood) -> Option<DatasetWarning> {
    match fault {
        NotUnderstood::NoImages { looked_for: None } | NotUnderstood::NoColumn(_) => None,
        NotUnderstood::NoImages {
            looked_for: Some(file),
        } => {
            let message = format!(
                "`{table}` has a column of files, but none of them is in the archive; the first is `{}`",
                path::shown(&file, SHOWN)
            );
            Some(doubt("table_names_no_image", message, [table]))
        }
        NotUnderstood::Ambiguous { file, candidates } => {
            let message = format!(
                "`{table}` names images in its column `{file}`, but which of its columns has the labels is not clear ({}), so it was not used; \
                 choose one with {{\"classes\": \"table\", \"table\": \"{table}\", \"label_column\": …}}, or, where each answers a question of its \
                 own, several with \"task_columns\"",
                named(candidates)
            );
            Some(doubt("table_not_understood", message, [table]))
        }
    }
}

fn refused(table: &str, names: &Option<Vec<String>>, fault: NotUnderstood) -> Rejection {
    let message = match fault {
        NotUnderstood::NoColumn(wanted) => match names {
            Some(names) => format!(
                "the table `{table}` has no column `{wanted}`; its columns are {}",
                named(names)
            ),
            None => format!(
                "the table `{table}` has no column `{wanted}`; give a name from its first line, or a number from 1"
            ),
        },
        NotUnderstood::NoImages { .. } => {
            format!(
                "no column of the table `{table}` names images of the archive; name it with `path_column` if there is one"
            )
        }
        NotUnderstood::Ambiguous { candidates, .. } => format!(
            "which column of the table `{table}` has the labels is not clear; choose one of {} with `label_column`, or several with `task_columns`",
            named(candidates)
        ),
    };
    Rejection::new("table_not_understood", message)
}
