//! Names of classes whose folders or labels are codes: WordNet's synsets (`n01440764 tench, Tinca tinca`), numbers with a list of labels.
//!
//! A file in the archive says them, as text, CSV or JSON. Whether it is meant is for the caller to say; it is offered, never assumed.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    contents::Names,
    doubt::{doubt, named},
    layout::{Place, class_name},
    tables::{Candidate, Found, Grid, Images, is_called},
};
use crate::{domain::datasets::dataset::DatasetWarning, worker::ingest::rejection::Rejection};

/// Titles of columns that have the names, where several could.
const TITLES: &[&str] = &[
    "name",
    "names",
    "class_name",
    "label_name",
    "label",
    "class",
    "words",
    "category",
    "description",
];

/// Names of classes, as a file has them.
pub struct ClassNames {
    /// Path of the file.
    pub file: String,
    /// Its entry.
    pub entry: usize,
    /// Class to name. Classes that it does not name are absent.
    names: BTreeMap<String, String>,
}

impl ClassNames {
    /// What the file that the caller chose says of these classes.
    ///
    /// # Errors
    /// If there is no such file, or it names none of the classes.
    pub fn chosen(names: &Names<'_>, wanted: &str, classes: &BTreeSet<&str>) -> Result<Self, Rejection> {
        let path = |table: &Candidate| table.parts.join("/");
        let Some(table) = names.tables.iter().find(|table| is_called(&path(table), wanted)) else {
            let message = format!(
                "`class_names` is `{wanted}`, but the archive has no such text, CSV or JSON file; it has {}",
                match names.tables.as_slice() {
                    [] => "none".to_owned(),
                    tables => named(tables.iter().map(|table| path(table))),
                }
            );
            return Err(Rejection::new("no_such_table", message));
        };
        let found = Self::of(table, classes);
        if found.names.is_empty() {
            let message = format!(
                "`{wanted}` has no names for the classes {}; it should have a line for each, such as `{},name`",
                named(classes),
                classes.first().copied().unwrap_or_default()
            );
            return Err(Rejection::new("class_names", message));
        }
        Ok(found)
    }

    /// A file that names all of these classes.
    pub fn offered(names: &Names<'_>, classes: &BTreeSet<&str>) -> Option<Self> {
        let mut tables = names.tables.iter();
        tables.find_map(|table| Self::of_all(table, names.index, classes))
    }

    /// The names that a file has for all of these classes. What it calls them must be no image: a list of images has classes, too.
    pub fn of_all(table: &Candidate, images: &Images<'_>, classes: &BTreeSet<&str>) -> Option<Self> {
        let found = Self::of(table, classes);
        let folder = table.parts.split_last().map_or(&[][..], |(_, folder)| folder);
        let names_all = classes.len() > 1 && found.names.len() == classes.len();
        let are_images = || {
            found
                .names
                .values()
                .any(|name| images.find(folder, name) != Found::None)
        };
        (names_all && !are_images()).then_some(found)
    }

    /// Gives classes their names.
    pub fn apply(&self, places: &mut [Result<Place, impl Sized>]) {
        for place in places.iter_mut().flatten() {
            for class in place.class.iter_mut().chain(place.labels.iter_mut().flatten()) {
                if let Some(name) = self.names.get(class) {
                    class.clone_from(name);
                }
            }
        }
    }

    /// The names, in the order of the classes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.values().map(String::as_str)
    }

    /// A warning if some of these classes have no name.
    pub fn missing(&self, classes: &BTreeSet<&str>) -> Option<DatasetWarning> {
        let without = || classes.iter().filter(|class| !self.names.contains_key(**class));
        let message = format!(
            "`{}` does not name the classes {}; they are called as before",
            self.file,
            named(without())
        );
        (without().count() > 0).then(|| doubt("class_names_missing", message, without().copied()))
    }

    fn of(table: &Candidate, classes: &BTreeSet<&str>) -> Self {
        let grid = &table.grid;
        // Between blanks, a name of two words looks like two columns.
        let found = match grid.is_blank_separated && grid.width() > 2 {
            true => by_first_word(grid, classes),
            false => by_columns(grid, classes).or_else(|| by_first_word(grid, classes)),
        };
        Self {
            file: table.parts.join("/"),
            entry: table.entry,
            names: told_apart(found.unwrap_or_default()),
        }
    }
}

/// Whether a table lists the classes, each once, with a number: `0 cat`. Its numbers are no images.
pub fn numbers_classes(table: &Candidate, classes: &BTreeSet<&str>) -> bool {
    let grid = &table.grid;
    let is_number = |text: &str| text.parse::<u32>().is_ok();
    let is_list = |key: usize, number: usize| {
        let numbered = grid.rows.iter().filter(|row| is_number(row.cell(number)));
        let listed: Vec<String> = numbered.map(|row| class_name(row.cell(key))).collect();
        let distinct: BTreeSet<&str> = listed.iter().map(String::as_str).collect();
        listed.len() == classes.len() && distinct == *classes
    };
    grid.width() == 2 && classes.len() > 1 && (is_list(0, 1) || is_list(1, 0))
}

/// One column has the classes, another their names.
fn by_columns(grid: &Grid, classes: &BTreeSet<&str>) -> Option<BTreeMap<String, String>> {
    let known = |column: usize| {
        let cells = grid.rows.iter().map(|row| class_name(row.cell(column)));
        cells.filter(|cell| classes.contains(cell.as_str())).count()
    };
    let key = (0..grid.width()).rev().max_by_key(|column| known(*column))?;
    let titles: Vec<String> = match (&grid.names, grid.rows.first()) {
        (Some(names), _) => names.clone(),
        (None, Some(first)) => first.cells.clone(),
        (None, None) => return None,
    };
    let is_title = |column: &usize| {
        let title = titles.get(*column).map(|title| title.to_lowercase());
        title.is_some_and(|title| TITLES.contains(&title.as_str()))
    };
    let others = || (0..grid.width()).filter(|column| *column != key);
    let mut columns: Vec<usize> = others().filter(is_title).collect();
    columns.extend(others().filter(|column| *column > key));
    columns.extend(others().filter(|column| *column < key));
    columns.into_iter().find_map(|column| {
        let rows = grid.rows.iter().map(|row| (row.cell(key), row.cell(column)));
        pairs(rows, classes)
    })
}

/// The first word of a line is the class, the rest its names.
fn by_first_word(grid: &Grid, classes: &BTreeSet<&str>) -> Option<BTreeMap<String, String>> {
    let lines: Vec<String> = grid.rows.iter().map(|row| row.cells.join(grid.joint())).collect();
    pairs(
        lines
            .iter()
            .filter_map(|line| line.split_once(char::is_whitespace)),
        classes,
    )
}

/// The name of each class; none if the texts are no names: numbers, or different ones for one class.
fn pairs<'a>(
    rows: impl Iterator<Item = (&'a str, &'a str)>,
    classes: &BTreeSet<&str>,
) -> Option<BTreeMap<String, String>> {
    let mut names = BTreeMap::new();
    for (class, name) in rows {
        let class = class_name(class);
        // Of several words for one thing the first is the usual one.
        let name = class_name(name.split([',', ';']).next().unwrap_or_default());
        if !classes.contains(class.as_str()) || name.is_empty() {
            continue;
        }
        if name.parse::<f64>().is_ok() {
            return None;
        }
        if names
            .insert(class, name.clone())
            .is_some_and(|before| before != name)
        {
            return None;
        }
    }
    let says_more = names.iter().any(|(class, name)| class != name);
    (says_more).then_some(names)
}

/// Two classes stay two, even if their names are the same: WordNet has two kinds of `crane`.
fn told_apart(names: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut count: BTreeMap<String, u64> = BTreeMap::new();
    for name in names.values() {
        *count.entry(name.clone()).or_default() += 1;
    }
    let apart = |(class, name): (String, String)| {
        let name = match count.get(&name) {
            Some(1) => name,
            _ => format!("{name} ({class})"),
        };
        (class, name)
    };
    names.into_iter().map(apart).collect()
}
