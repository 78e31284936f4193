//! The two output files of a batch prediction, written row by row: JSON Lines, and the same as CSV (RFC 4180) for spreadsheets.
//!
//! Spreadsheets evaluate a cell that starts like a formula, and names of files and classes come from strangers. As OWASP recommends ("CSV
//! Injection"), such a text is prefixed with an apostrophe. The JSON Lines contain every text unchanged.

use std::io::{self, BufWriter, Write};

use csv::{Terminator, WriterBuilder};

use super::network::{Item, ItemState};
use crate::{
    domain::{
        datasets::split::Split,
        jobs::predictions::{PredictionRow, RowError},
        models::{model::ModelCard, prediction::ClassProbability},
        spec::Task,
    },
    worker::{
        predict,
        process::{disk::OutputFile, run_dir::RunDir},
    },
};

/// Names within the run directory.
const JSONL_FILE: &str = "predictions.jsonl";
const CSV_FILE: &str = "predictions.csv";

pub struct Rows<'a> {
    jsonl: BufWriter<OutputFile>,
    csv: csv::Writer<OutputFile>,
    /// Names of the dataset's classes.
    labels: &'a [String],
    task: Task,
    top_k: u32,
    images: u64,
    errors: u64,
}

impl<'a> Rows<'a> {
    /// `top_k` is at most the number of the model's classes.
    pub fn create(dir: &RunDir, labels: &'a [String], task: Task, top_k: u32) -> io::Result<Self> {
        let mut csv = writer(dir.create(CSV_FILE)?);
        csv.write_record(header(task, top_k))?;
        Ok(Self {
            jsonl: BufWriter::with_capacity(1 << 18, dir.create(JSONL_FILE)?),
            csv,
            labels,
            task,
            top_k,
            images: 0,
            errors: 0,
        })
    }

    pub fn images(&self) -> u64 {
        self.images
    }

    /// Rows without predictions.
    pub fn errors(&self) -> u64 {
        self.errors
    }

    pub fn write(&mut self, item: &Item, card: &ModelCard, split: Split) -> io::Result<()> {
        let image = &item.image;
        let name = |class: &u32| self.labels.get(*class as usize).cloned();
        let several = image.labels.as_ref();
        let outcome = outcome(&item.state, card, self.top_k);
        self.images += 1;
        self.errors += u64::from(outcome.is_err());
        let (predictions, error) = match outcome {
            Ok(predictions) => (Some(predictions), None),
            Err(error) => (None, Some(error)),
        };
        let row = PredictionRow {
            image: image.id,
            path: image.path.clone(),
            split,
            label: image.class.as_ref().and_then(name),
            labels: several.map(|labels| labels.iter().filter_map(name).collect()),
            predictions,
            error,
        };
        serde_json::to_writer(&mut self.jsonl, &row)?;
        self.jsonl.write_all(b"\n")?;
        Ok(self.csv.write_record(record(&row, self.task, self.top_k))?)
    }

    /// The names of the files, completed.
    pub fn finish(mut self) -> io::Result<(&'static str, &'static str)> {
        self.jsonl.flush()?;
        self.csv.flush()?;
        Ok((JSONL_FILE, CSV_FILE))
    }
}

fn outcome(state: &ItemState, card: &ModelCard, top_k: u32) -> Result<Vec<ClassProbability>, RowError> {
    let logits = match state {
        ItemState::Unreadable(error) => return Err(error.clone()),
        ItemState::Logits(logits) => logits.as_slice(),
        // It has not been computed.
        ItemState::Pixels(_) => &[],
    };
    predict::likeliest(logits, card, top_k).ok_or_else(|| RowError {
        code: "no_answer".to_owned(),
        message: "the network's output is not one finite number for each class".to_owned(),
    })
}

fn writer<W: Write>(out: W) -> csv::Writer<W> {
    WriterBuilder::new()
        .terminator(Terminator::CRLF)
        .buffer_capacity(1 << 18)
        .from_writer(out)
}

fn header(task: Task, top_k: u32) -> Vec<String> {
    let names = ["image", "path", "split", "label", "predicted", "probability"];
    let mut names: Vec<String> = names.map(str::to_owned).into();
    for place in 2..=top_k {
        names.extend([format!("label_{place}"), format!("probability_{place}")]);
    }
    if !task.is_single() {
        names.push("predicted_labels".to_owned());
    }
    names.push("error".to_owned());
    names
}

fn record(row: &PredictionRow, task: Task, top_k: u32) -> Vec<String> {
    // Lists are JSON: a name may contain any separator.
    let list = |names: &[&str]| serde_json::json!(names).to_string();
    let label = match (&row.label, &row.labels) {
        (Some(label), _) => harmless(label),
        (None, Some(labels)) => list(&labels.iter().map(String::as_str).collect::<Vec<_>>()),
        (None, None) => String::new(),
    };
    let mut cells = vec![
        row.image.to_string(),
        harmless(&row.path),
        match row.split {
            Split::Train => "train".to_owned(),
            Split::Val => "val".to_owned(),
            Split::Test => "test".to_owned(),
        },
        label,
    ];
    let predictions = row.predictions.as_deref().unwrap_or_default();
    for place in 0..top_k as usize {
        match predictions.get(place) {
            Some(class) => {
                cells.push(harmless(&class.label));
                // As in JSON: the shortest text that reads back as the same number.
                cells.push(serde_json::json!(class.probability).to_string());
            }
            None => cells.extend([String::new(), String::new()]),
        }
    }
    if !task.is_single() {
        let shown = predictions.iter().filter(|class| class.predicted == Some(true));
        let shown: Vec<&str> = shown.map(|class| class.label.as_str()).collect();
        cells.push(match row.predictions {
            Some(_) => list(&shown),
            None => String::new(),
        });
    }
    let error = row.error.as_ref();
    cells.push(
        error
            .map(|error| format!("{}: {}", error.code, error.message))
            .unwrap_or_default(),
    );
    cells
}

/// A text that no spreadsheet takes for a formula.
fn harmless(text: &str) -> String {
    // The last four are full-width forms, which some programs treat like the first four.
    const FORMULA_STARTS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];
    if text.starts_with(FORMULA_STARTS) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(path: &str, labels: &[(&str, f64)]) -> PredictionRow {
        let class = |(index, (label, probability)): (usize, &(&str, f64))| ClassProbability {
            label: (*label).to_owned(),
            index: index as u32,
            probability: *probability,
            predicted: None,
        };
        PredictionRow {
            image: 7,
            path: path.to_owned(),
            split: Split::Val,
            label: None,
            labels: None,
            predictions: Some(labels.iter().enumerate().map(class).collect()),
            error: None,
        }
    }

    fn csv_of(rows: &[PredictionRow], top_k: u32) -> String {
        let mut out = writer(Vec::new());
        out.write_record(header(Task::Single, top_k)).unwrap();
        for row in rows {
            out.write_record(record(row, Task::Single, top_k)).unwrap();
        }
        String::from_utf8(out.into_inner().unwrap()).unwrap()
    }

    #[test]
    fn cells_are_quoted_where_the_rfc_asks_for_it() {
        let mut first = row("a, \"b\"\nc.png", &[("ants", 0.75), ("bees", 0.25)]);
        first.label = Some("wasps".to_owned());
        let plain = row("bees/ä b.png", &[("bees", 1.0), ("ants", 1e-20)]);
        let expected = "image,path,split,label,predicted,probability,label_2,probability_2,error\r\n\
            7,\"a, \"\"b\"\"\nc.png\",val,wasps,ants,0.75,bees,0.25,\r\n\
            7,bees/ä b.png,val,,bees,1.0,ants,1e-20,\r\n";
        assert_eq!(csv_of(&[first, plain], 2), expected);
    }

    #[test]
    fn several_labels_are_lists() {
        let mut several = row("a.png", &[("red, dark", 0.9), ("round", 0.3), ("blue", 0.1)]);
        several.labels = Some(vec!["red, dark".to_owned(), "round".to_owned()]);
        for (class, predicted) in several.predictions.iter_mut().flatten().zip([true, true, false]) {
            class.predicted = Some(predicted);
        }
        assert_eq!(
            header(Task::MultiLabel, 1)[5..],
            ["probability", "predicted_labels", "error"]
        );
        let cells = record(&several, Task::MultiLabel, 1);
        let both = r#"["red, dark","round"]"#;
        assert_eq!(cells[3..], [both, "red, dark", "0.9", both, ""]);
    }

    #[test]
    fn an_image_without_a_prediction_has_all_cells_and_its_reason() {
        let mut bad = row("x.png", &[]);
        bad.predictions = None;
        bad.error = Some(RowError {
            code: "undecodable".to_owned(),
            message: "the image is damaged and cannot be read".to_owned(),
        });
        let text = csv_of(std::slice::from_ref(&bad), 3);
        let line = text.lines().nth(1).unwrap();
        assert_eq!(
            line,
            "7,x.png,val,,,,,,,,undecodable: the image is damaged and cannot be read"
        );
        let json = serde_json::to_value(&bad).unwrap();
        assert!(json.get("predictions").is_none() && json["label"].is_null());
        assert_eq!(json["error"]["code"], "undecodable");
    }

    #[test]
    fn no_name_is_a_formula() {
        for name in [
            "=cmd|' /C calc'!A0",
            "+1+2",
            "-2+3",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "\n=1",
            "＝1",
            "＋1",
            "－1",
            "＠a",
        ] {
            assert_eq!(harmless(name), format!("'{name}"), "{name:?}");
            let mut suspect = row(name, &[(name, 1.0)]);
            suspect.label = Some(name.to_owned());
            let text = csv_of(&[suspect], 1);
            let mut reader = csv::ReaderBuilder::new().from_reader(text.as_bytes());
            let cells = reader.records().next().unwrap().unwrap();
            for cell in [1, 3, 4] {
                assert_eq!(&cells[cell], format!("'{name}"), "{name:?}");
            }
        }
        for name in ["a=b", "bees/-1.png", "", "'=1", "1e5"] {
            assert_eq!(harmless(name), name);
        }
    }
}
