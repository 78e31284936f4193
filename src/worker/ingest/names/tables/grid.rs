//! A file of lines and columns, as written by text editors, spreadsheets and programs, before anything is known about its meaning.

use std::collections::HashMap;

use csv::{ReaderBuilder, StringRecord, Trim};
use serde_json::Value;

use super::json;

/// Possible separators; the one that occurs most often in the first line is used.
const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Bytes that are read at once for the first line.
const FIRST_LINE: usize = 1 << 10;

/// Lines and columns.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Grid {
    /// Names of the columns, where the format itself has them (JSON). In other formats the first row may be names.
    pub names: Option<Vec<String>>,
    pub rows: Vec<GridRow>,
    /// Whether the rows have different lengths.
    pub is_ragged: bool,
    /// Whether the columns are between blanks.
    pub is_blank_separated: bool,
}

/// A row; texts are trimmed.
#[derive(Debug, PartialEq, Eq)]
pub struct GridRow {
    /// From 1 on.
    pub line: u64,
    pub cells: Vec<String>,
}

/// More rows than there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyRows;

impl Grid {
    /// Reads separated columns. With no separator given, finds it. None if there are no rows.
    pub fn of_text(text: &str, separator: Option<u8>, most_rows: usize) -> Result<Option<Self>, TooManyRows> {
        let text = lines(text.trim_start_matches('\u{feff}'));
        let separator = separator.or_else(|| most_likely_separator(&text));
        let grid = match separator {
            Some(b' ') => by_blanks(&text, most_rows)?,
            Some(separator) => separated(&text, separator, most_rows)?,
            // One column, or blanks between columns.
            None => by_blanks(&text, most_rows)?,
        };
        Ok(Some(grid).filter(|grid| !grid.rows.is_empty()))
    }

    /// Reads JSON: an array or lines of objects, an object of files or classes, image-level annotations in the form of COCO. None if it is
    /// nothing of this kind.
    pub fn of_json(text: &str, most_rows: usize) -> Result<Option<Self>, TooManyRows> {
        let text = text.trim_start_matches('\u{feff}');
        let objects = match serde_json::from_str::<Value>(text) {
            Ok(value) => json::objects(value),
            // Lines of objects.
            Err(_) => {
                let lines = (1..)
                    .zip(text.lines())
                    .filter(|(_, line)| !line.trim().is_empty());
                lines
                    .map(|(line, text)| Some((line, serde_json::from_str(text).ok()?)))
                    .collect()
            }
        };
        let Some(objects) = objects else { return Ok(None) };
        if objects.len() > most_rows {
            return Err(TooManyRows);
        }
        Ok(Some(of_objects(objects)).filter(|grid| !grid.rows.is_empty()))
    }

    /// What joins the cells of a row into a line again.
    pub fn joint(&self) -> &'static str {
        if self.is_blank_separated { " " } else { ", " }
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.rows.iter().map(|row| row.cells.len()).max().unwrap_or(0)
    }
}

impl GridRow {
    /// The text of a column; empty if the row has none.
    pub fn cell(&self, column: usize) -> &str {
        self.cells.get(column).map_or("", String::as_str)
    }
}

fn of_objects(objects: Vec<(u64, serde_json::Map<String, Value>)>) -> Grid {
    let mut columns: HashMap<String, usize> = HashMap::new();
    let mut names = Vec::new();
    let mut rows = Vec::new();
    for (line, object) in objects {
        let mut cells = vec![String::new(); names.len()];
        for (name, value) in object {
            let column = *columns.entry(name).or_insert_with_key(|name| {
                names.push(name.clone());
                cells.push(String::new());
                names.len() - 1
            });
            cells[column] = json::cell(&value);
        }
        rows.push(GridRow { line, cells });
    }
    Grid {
        names: Some(names),
        rows,
        is_ragged: false,
        is_blank_separated: false,
    }
}

fn separated(text: &str, separator: u8, most_rows: usize) -> Result<Grid, TooManyRows> {
    let mut reader = ReaderBuilder::new()
        .delimiter(separator)
        .has_headers(false)
        .flexible(true)
        .trim(Trim::All)
        .buffer_capacity(text.len().min(1 << 16))
        .from_reader(text.as_bytes());
    let mut grid = Grid::default();
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).unwrap_or(false) {
        let cells: Vec<String> = record.iter().map(str::to_owned).collect();
        // The reader is after the record and the end of its line.
        grid.add(reader.position().line().saturating_sub(1), cells, most_rows)?;
    }
    Ok(grid)
}

/// Columns between blanks. Where lines have different numbers of words, paths may contain blanks: then everything before the last word is one
/// column.
fn by_blanks(text: &str, most_rows: usize) -> Result<Grid, TooManyRows> {
    let words = |line: &str| line.split_whitespace().count();
    let counts: Vec<usize> = text.lines().map(words).filter(|count| *count > 0).collect();
    let same = counts.windows(2).all(|pair| pair[0] == pair[1]);
    let mut grid = Grid {
        is_blank_separated: true,
        ..Grid::default()
    };
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        let cells: Vec<String> = match text.rsplit_once(char::is_whitespace) {
            _ if same => text.split_whitespace().map(str::to_owned).collect(),
            Some((path, label)) => vec![path.trim().to_owned(), label.to_owned()],
            None => vec![text.to_owned()],
        };
        grid.add(line, cells, most_rows)?;
    }
    Ok(grid)
}

impl Grid {
    fn add(&mut self, line: u64, cells: Vec<String>, most_rows: usize) -> Result<(), TooManyRows> {
        if cells.iter().all(String::is_empty) {
            return Ok(());
        }
        if self.rows.len() == most_rows {
            return Err(TooManyRows);
        }
        let differs = |first: &GridRow| first.cells.len() != cells.len();
        self.is_ragged |= self.rows.first().is_some_and(differs);
        self.rows.push(GridRow { line, cells });
        Ok(())
    }
}

/// The separator that parts the first line into the most columns; none if it has one column.
fn most_likely_separator(text: &str) -> Option<u8> {
    let columns = |separator: u8| {
        let mut reader = ReaderBuilder::new()
            .delimiter(separator)
            .has_headers(false)
            .buffer_capacity(text.len().min(FIRST_LINE))
            .from_reader(text.as_bytes());
        let mut record = StringRecord::new();
        match reader.read_record(&mut record) {
            Ok(true) => record.len(),
            _ => 0,
        }
    };
    let counted = SEPARATORS.map(|separator| (columns(separator), separator));
    let most = counted.iter().map(|(columns, _)| *columns).max()?;
    // On ties the first, which is the comma.
    let found = counted.iter().find(|(columns, _)| *columns == most);
    found
        .filter(|(columns, _)| *columns > 1)
        .map(|(_, separator)| *separator)
}

/// Normalises line endings, by which lines are counted.
fn lines(text: &str) -> String {
    let mut lines = text.replace("\r\n", "\n").replace('\r', "\n");
    if !lines.ends_with('\n') {
        lines.push('\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(grid: Option<Grid>) -> Vec<String> {
        let grid = grid.unwrap();
        let names = grid.names.map(|names| format!("[{}]", names.join("|")));
        let rows = grid
            .rows
            .into_iter()
            .map(|row| format!("{}:{}", row.line, row.cells.join("|")));
        names.into_iter().chain(rows).collect()
    }

    fn text(text: &str) -> Vec<String> {
        shown(Grid::of_text(text, None, 100).unwrap())
    }

    fn json(text: &str) -> Vec<String> {
        shown(Grid::of_json(text, 100).unwrap())
    }

    #[test]
    fn tables_are_read_as_people_write_them() {
        let expected = ["1:file|label", "2:a.png|cat", "3:b.png|big dog"];
        assert_eq!(text("file,label\na.png,cat\nb.png, big dog \n"), expected);
        assert_eq!(
            text("\u{feff}file;label\r\na.png;cat\r\n\"b.png\";big dog"),
            expected
        );
        assert_eq!(text("file\tlabel\na.png\tcat\nb.png\tbig dog\n"), expected);
        assert_eq!(text("a.png 0\nb c.png 1\n"), ["1:a.png|0", "2:b c.png|1"]);
        assert_eq!(text("a.png 0 5\nb.png 1 6\n"), ["1:a.png|0|5", "2:b.png|1|6"]);
        assert_eq!(text("train/a\ntrain/b\n"), ["1:train/a", "2:train/b"]);
        assert_eq!(
            text("a.png,cat\n\n,\n\"b, \"\"2\"\".png\",dog\n"),
            ["1:a.png|cat", "4:b, \"2\".png|dog"]
        );
        assert_eq!(Grid::of_text("\n\n", None, 9), Ok(None));
        assert_eq!(Grid::of_text("a,b\nc,d\n", None, 1), Err(TooManyRows));
    }

    #[test]
    fn json_is_read_in_its_usual_forms() {
        let expected = ["[file|label]", "1:a.png|cat", "2:b.png|3"];
        assert_eq!(
            json("{\"file\":\"a.png\",\"label\":\"cat\"}\n{\"file\":\"b.png\",\"label\":3}\n"),
            expected
        );
        assert_eq!(
            json("[{\"file\":\"a.png\",\"label\":\"cat\"},{\"file\":\"b.png\",\"label\":3}]"),
            expected
        );
        assert_eq!(
            json("{\"a.png\":\"cat\",\"b.png\":3}"),
            ["[file|label]", "1:a.png|cat", "2:b.png|3"]
        );
        assert_eq!(
            json("{\"cat\":[\"a.png\",\"b.png\"],\"dog\":[\"c.png\"]}"),
            ["[file|label]", "1:a.png|cat", "2:b.png|cat", "3:c.png|dog"]
        );
        assert_eq!(
            json("{\"train\":[[\"a.png\",0,\"cat\"]],\"val\":[[\"b.png\",1,\"dog\"]]}"),
            ["[1|2|3|split]", "1:a.png|0|cat|train", "2:b.png|1|dog|val"]
        );
        assert_eq!(
            json("{\"data\":[{\"img\":\"a.png\",\"tags\":[\"x\",\"y\"]}]}"),
            ["[img|tags]", "1:a.png|[\"x\",\"y\"]"]
        );
        let coco = r#"{"images":[{"id":7,"file_name":"a.png"},{"id":8,"file_name":"b.png"}],"categories":[{"id":1,"name":"cat"},{"id":2,"name":"dog"}],
            "annotations":[{"image_id":7,"category_id":1},{"image_id":8,"category_id":2},{"image_id":8,"category_id":2}]}"#;
        assert_eq!(json(coco), ["[file|label]", "1:a.png|cat", "2:b.png|dog"]);
        for other in ["3", "\"x\"", "{\"a\":{\"b\":1}}", "[1,2]", "{", "{}", "[]"] {
            assert_eq!(Grid::of_json(other, 9), Ok(None), "{other}");
        }
    }
}
