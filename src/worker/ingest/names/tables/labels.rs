//! From the text of a cell to labels: one, or several.

use std::collections::{HashMap, HashSet};

/// What may stand between several labels in one cell.
const BETWEEN: [&str; 4] = ["|", ";", ",", " "];

/// How the cells of a label column are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cells {
    /// Each is one label.
    Single,
    /// Some hold several labels, separated by this.
    Separated(&'static str),
}

impl Cells {
    /// Finds out how a column is to be read. A separator counts as one only if its pieces are labels elsewhere too: `cat,dog` beside `cat`
    /// and `dog,bird`, but not `Paris, France`.
    pub fn of<'a>(cells: impl Iterator<Item = &'a str> + Clone) -> Self {
        let distinct: HashSet<&str> = cells.filter(|cell| !cell.is_empty()).collect();
        let separates = |between: &&'static str| {
            let pieces_of = |cell: &'a str| {
                cell.split(*between)
                    .map(str::trim)
                    .filter(|piece| !piece.is_empty())
            };
            let mut uses: HashMap<&str, usize> = HashMap::new();
            let mut several = 0;
            for cell in &distinct {
                let pieces: HashSet<&str> = pieces_of(cell).collect();
                several += usize::from(pieces.len() > 1);
                pieces
                    .into_iter()
                    .for_each(|piece| *uses.entry(piece).or_default() += 1);
            }
            let recurring = distinct
                .iter()
                .filter(|cell| pieces_of(cell).count() > 1)
                .filter(|cell| pieces_of(cell).all(|piece| uses[piece] > 1))
                .count();
            match *between {
                // Blanks are also inside of names.
                " " => several > 2 && uses.len() * 2 <= distinct.len() && recurring * 2 > several,
                "," => several > 0 && recurring * 2 >= several,
                _ => several > 0,
            }
        };
        match BETWEEN.iter().find(|between| separates(between)) {
            Some(between) => Cells::Separated(between),
            None => Cells::Single,
        }
    }

    /// The labels of a cell, without repetitions.
    pub fn labels(self, cell: &str) -> Vec<String> {
        if let Some(labels) = list(cell) {
            return labels;
        }
        let mut labels: Vec<String> = Vec::new();
        let pieces: Vec<&str> = match self {
            Cells::Single => vec![cell],
            Cells::Separated(between) => cell.split(between).collect(),
        };
        for piece in pieces
            .into_iter()
            .map(str::trim)
            .filter(|piece| !piece.is_empty())
        {
            if !labels.iter().any(|label| label == piece) {
                labels.push(piece.to_owned());
            }
        }
        labels
    }
}

/// A list as JSON or Python writes it: `["a", "b"]`, `['a', 'b']`.
fn list(cell: &str) -> Option<Vec<String>> {
    let inside = cell.strip_prefix('[')?.strip_suffix(']')?;
    let as_json = serde_json::from_str::<Vec<serde_json::Value>>(cell);
    let as_python =
        || serde_json::from_str::<Vec<serde_json::Value>>(&format!("[{}]", inside.replace('\'', "\"")));
    let values = as_json.or_else(|_| as_python()).ok()?;
    let mut labels: Vec<String> = Vec::new();
    for label in values
        .iter()
        .map(super::json::cell)
        .filter(|label| !label.is_empty())
    {
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_labels_in_a_cell_are_told_from_one_with_punctuation() {
        let of = |cells: &[&'static str]| Cells::of(cells.iter().copied());
        assert_eq!(
            of(&["cat", "dog", "cat,dog", "bird,dog", "bird"]),
            Cells::Separated(",")
        );
        assert_eq!(of(&["a|b", "a", "c"]), Cells::Separated("|"));
        assert_eq!(of(&["a;b", "b;c"]), Cells::Separated(";"));
        assert_eq!(
            of(&[
                "haze primary",
                "clear primary",
                "haze water",
                "clear water",
                "clear",
                "haze",
                "primary",
                "water"
            ]),
            Cells::Separated(" ")
        );
        assert_eq!(
            of(&["Paris, France", "Rome, Italy", "Oslo, Norway"]),
            Cells::Single
        );
        assert_eq!(
            of(&["golden retriever", "labrador retriever", "german shepherd"]),
            Cells::Single
        );
        assert_eq!(of(&["cat", "dog"]), Cells::Single);
    }

    #[test]
    fn lists_are_read_as_programs_write_them() {
        assert_eq!(Cells::Single.labels("[\"a\", \"b\", \"a\"]"), ["a", "b"]);
        assert_eq!(Cells::Single.labels("['a', 'b']"), ["a", "b"]);
        assert_eq!(Cells::Single.labels("[3]"), ["3"]);
        assert_eq!(Cells::Single.labels("[odd"), ["[odd"]);
        assert_eq!(Cells::Separated("|").labels("a | b|a|"), ["a", "b"]);
        assert!(Cells::Single.labels(" ").is_empty());
    }
}
