//! One table of files and labels, as written by text editors and spreadsheets.

use std::borrow::Cow;

use csv::{ReaderBuilder, StringRecord, Trim};

/// Possible separators; the one that occurs most often in the first line is used.
const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Column names, without case and punctuation, the most specific ones first.
const FILE_COLUMNS: &[&str] = &[
    "file",
    "filename",
    "filepath",
    "path",
    "imagepath",
    "imagefile",
    "imagefilename",
    "imagename",
    "image",
    "img",
    "imgpath",
    "imageid",
    "filenames",
    "images",
    "name",
    "id",
    "idcode",
];
const LABEL_COLUMNS: &[&str] = &[
    "label",
    "labels",
    "class",
    "classname",
    "labelname",
    "category",
    "categoryname",
    "target",
    "species",
    "classid",
    "labelid",
    "categoryid",
    "breed",
    "diagnosis",
    "y",
];
const SPLIT_COLUMNS: &[&str] = &["split", "subset", "set", "partition", "dataset", "usage"];

/// A table that may name images.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// Whether its first line names the columns.
    pub has_header: bool,
    pub rows: Vec<Row>,
}

/// A line; texts are trimmed, and empty if missing.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// From 1 on.
    pub line: u64,
    pub file: String,
    pub label: String,
    pub split: String,
}

/// The role of each column.
struct Columns {
    file: usize,
    label: usize,
    split: Option<usize>,
}

impl Table {
    /// None if the text is no such table: fewer than two columns, a header with other names, more than `most_rows` lines.
    pub fn read(bytes: &[u8], most_rows: usize) -> Option<Self> {
        let text = lines(&text(bytes));
        let text = text.trim_start_matches('\u{feff}');
        let separator = separator(text)?;
        let mut reader = ReaderBuilder::new()
            .delimiter(separator)
            .has_headers(false)
            .flexible(true)
            .trim(Trim::All)
            .from_reader(text.as_bytes());
        let mut record = StringRecord::new();
        if !reader.read_record(&mut record).ok()? {
            return None;
        }
        let header = Columns::named(&record);
        let has_header = header.is_some();
        let columns = header.unwrap_or(Columns {
            file: 0,
            label: 1,
            split: (record.len() > 2).then_some(2),
        });
        if !has_header && record.len() > 3 {
            return None;
        }
        let mut rows = Vec::new();
        let mut there = !has_header || reader.read_record(&mut record).ok()?;
        while there {
            if rows.len() == most_rows {
                return None;
            }
            // The reader is after the record and the end of its line.
            rows.extend(columns.row(&record, reader.position().line().saturating_sub(1)));
            there = reader.read_record(&mut record).ok()?;
        }
        Some(Self { has_header, rows })
    }
}

impl Columns {
    fn named(header: &StringRecord) -> Option<Self> {
        let names: Vec<String> = header.iter().map(plain).collect();
        let find = |words: &[&str]| {
            words
                .iter()
                .find_map(|word| names.iter().position(|name| name == word))
        };
        Some(Self {
            file: find(FILE_COLUMNS)?,
            label: find(LABEL_COLUMNS)?,
            split: find(SPLIT_COLUMNS),
        })
    }

    /// None if it names no file.
    fn row(&self, record: &StringRecord, line: u64) -> Option<Row> {
        let text = |column: usize| record.get(column).unwrap_or_default().to_owned();
        let row = Row {
            line,
            file: text(self.file),
            label: text(self.label),
            split: self.split.map(text).unwrap_or_default(),
        };
        (!row.file.is_empty()).then_some(row)
    }
}

/// A column name without case, blanks and punctuation.
fn plain(name: &str) -> String {
    let letters = name.chars().filter(|character| character.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}

fn separator(text: &str) -> Option<u8> {
    let columns = |separator: u8| {
        let mut reader = ReaderBuilder::new()
            .delimiter(separator)
            .has_headers(false)
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

/// UTF-8, or UTF-16 with a byte order mark (spreadsheets' "Unicode text"); anything else is taken for Latin-1.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    let wide = |little: bool, bytes: &[u8]| {
        let units = bytes.chunks_exact(2).map(|pair| match little {
            true => u16::from_le_bytes([pair[0], pair[1]]),
            false => u16::from_be_bytes([pair[0], pair[1]]),
        });
        Cow::Owned(
            char::decode_utf16(units)
                .map(|unit| unit.unwrap_or('\u{fffd}'))
                .collect(),
        )
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => wide(true, rest),
        [0xfe, 0xff, rest @ ..] => wide(false, rest),
        _ => match str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => Cow::Owned(bytes.iter().map(|byte| char::from(*byte)).collect()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: impl AsRef<[u8]>) -> Vec<String> {
        let table = Table::read(text.as_ref(), 100).unwrap();
        let shown = |row: Row| format!("{}:{}|{}|{}", row.line, row.file, row.label, row.split);
        table.rows.into_iter().map(shown).collect()
    }

    #[test]
    fn tables_are_read_as_people_write_them() {
        let expected = ["2:a.png|cat|train", "3:b.png|dog|val"];
        assert_eq!(
            rows("file,label,split\na.png,cat,train\nb.png,dog,val\n"),
            expected
        );
        assert_eq!(
            rows("\u{feff}File;Label;Split\r\na.png;cat;train\r\nb.png;dog;val"),
            expected
        );
        assert_eq!(
            rows("image path\tclass\tset\na.png\tcat\ttrain\nb.png\tdog\tval\n"),
            expected
        );
        assert_eq!(
            rows("x,Split,Class-Name,y2,Image_Name\n1,train,cat,0,a.png\n2,val, dog ,0,\"b.png\""),
            expected
        );
        assert_eq!(
            rows("a.png,cat\n\"b, \"\"2\"\".png\",\"big dog\"\n"),
            ["1:a.png|cat|", "2:b, \"2\".png|big dog|"]
        );
        assert_eq!(rows(b"file,label\na.png,caf\xe9\n"), ["2:a.png|café|"]);
        let wide: Vec<u8> = "\u{feff}file\tlabel\na.png\tcafé"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        assert_eq!(rows(wide), ["2:a.png|café|"]);
        assert_eq!(rows("file,label\n\n,\na.png\n"), ["4:a.png||"]);
    }

    #[test]
    fn other_texts_are_no_tables() {
        for text in [
            "",
            "hello",
            "a\nb\n",
            "1,2,3,4\n5,6,7,8\n",
            "width,height,depth,label\n1,2,3,4\n",
        ] {
            assert_eq!(Table::read(text.as_bytes(), 100), None, "{text}");
        }
        assert_eq!(Table::read(b"a,b\nc,d\n", 1), None);
    }
}
