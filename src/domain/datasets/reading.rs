//! How an archive is read: what a caller chose, what was understood, and which other readings there are.

use std::{collections::BTreeMap, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::split::{Split, SplitCounts};
use crate::{domain::models::preprocessing::UsedBits, error::FieldError};

/// Where the classes of a dataset come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClassSource {
    /// The folder that an image is in.
    Folders,
    /// A table in the archive.
    Table,
    /// The image's own file name.
    FileName,
    /// Nowhere: the dataset is unlabelled.
    None,
}

/// The split that a folder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SplitRole {
    Train,
    Val,
    Test,
    /// Its images are left out.
    Ignore,
}

impl SplitRole {
    /// None if the images are left out.
    pub fn split(self) -> Option<Split> {
        match self {
            SplitRole::Train => Some(Split::Train),
            SplitRole::Val => Some(Split::Val),
            SplitRole::Test => Some(Split::Test),
            SplitRole::Ignore => None,
        }
    }
}

impl From<Split> for SplitRole {
    fn from(split: Split) -> Self {
        match split {
            Split::Train => SplitRole::Train,
            Split::Val => SplitRole::Val,
            Split::Test => SplitRole::Test,
        }
    }
}

/// What becomes of images to which a table gives several labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SeveralLabels {
    /// They are images of all these classes.
    Keep,
    /// They are left out: every image has one class.
    LeaveOut,
}

/// How to read an archive. Whatever is absent is worked out from the archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReadOptions {
    /// Where the classes come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<ClassSource>,
    /// Which folder of a path is the class, with `classes: folders`: 1 is the outermost.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 64)]
    pub level: Option<u32>,
    /// Path of the table in the archive, with `classes: table`. All tables that name images, if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// The table's column with the image files: its name, or its number from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_column: Option<String>,
    /// The table's column with the classes: its name, or its number from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_column: Option<String>,
    /// Instead of `label_column`: the table's columns that each answer a question of their own, at least two, by name or number from 1. The
    /// class of an image whose column `colour` has `red` is `colour=red`. Models of several tasks are trained on them (`"task": "multi_task"`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = json!(["colour", "shape"]), min_items = 2, max_items = 64)]
    pub task_columns: Option<Vec<String>>,
    /// The table's column with the splits: its name, or its number from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_column: Option<String>,
    /// What separates the table's columns: one character, `tab` or `space`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// Text encoding of the table, such as `utf-8`, `gbk` or `windows-1252` (WHATWG labels).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// Where the class is in a file name without its extension, with `classes: file_name`: literal text, one `{class}`, and `{number}` for
    /// digits or `*` for anything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "{class}_{number}")]
    pub pattern: Option<String>,
    /// Path of a file in the archive that names the classes, where folders or labels are codes: `n01440764 tench`, `0,cat`, or JSON. They
    /// are called as they are, if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "LOC_synset_mapping.txt")]
    pub class_names: Option<String>,
    /// What becomes of images to which a table gives several labels. They are kept, if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub several_labels: Option<SeveralLabels>,
    /// What folders stand for, by their name or their path in the archive. Other folders are read as usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = json!({"fold_1": "val"}))]
    pub splits: Option<BTreeMap<String, SplitRole>>,
    /// Whether images that look like masks of others are images of the dataset. They are left out by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masks: Option<bool>,
    /// Encoding of the file names in the archive, such as `shift_jis`, `gbk` or `cp437`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_encoding: Option<String>,
    /// How many bits of images with 16 bits in each channel are used; the upper 8 of them become the 8 bits of a pixel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_bits: Option<UsedBits>,
}

impl ReadOptions {
    const MAX_LEVEL: u32 = 64;
    const MAX_TASKS: usize = 64;

    /// Whether images with several labels are left out.
    pub fn leaves_out_several(&self) -> bool {
        self.several_labels == Some(SeveralLabels::LeaveOut)
    }

    /// What is wrong with the options, field by field.
    pub fn faults(&self) -> Vec<FieldError> {
        let mut faults = Vec::new();
        let mut fault = |field: &str, code: &str, message: &str| {
            faults.push(FieldError::new(format!("/{field}"), code, message));
        };
        if self
            .level
            .is_some_and(|level| !(1..=Self::MAX_LEVEL).contains(&level))
        {
            fault("level", "range", "must be 1 to 64; 1 is the outermost folder");
        }
        if self.level.is_some() && self.classes != Some(ClassSource::Folders) {
            fault("level", "not_applicable", "only valid with `classes: folders`");
        }
        let of_table = [
            ("table", self.table.is_some()),
            ("path_column", self.path_column.is_some()),
            ("label_column", self.label_column.is_some()),
            ("task_columns", self.task_columns.is_some()),
            ("split_column", self.split_column.is_some()),
            ("separator", self.separator.is_some()),
            ("encoding", self.encoding.is_some()),
        ];
        for (field, present) in of_table {
            if present && self.classes != Some(ClassSource::Table) {
                fault(field, "not_applicable", "only valid with `classes: table`");
            }
        }
        if let Some(columns) = &self.task_columns {
            if !(2..=Self::MAX_TASKS).contains(&columns.len()) {
                fault(
                    "task_columns",
                    "range",
                    "must be 2 to 64 columns; for one use `label_column`",
                );
            }
            if self.label_column.is_some() {
                fault(
                    "task_columns",
                    "conflict",
                    "either `label_column` or `task_columns`",
                );
            }
            if self.leaves_out_several() {
                fault(
                    "several_labels",
                    "conflict",
                    "images have a label in each of `task_columns`; leave it out",
                );
            }
        }
        if self
            .separator
            .as_deref()
            .is_some_and(|text| separator_byte(text).is_none())
        {
            fault(
                "separator",
                "unknown",
                "must be one ASCII character, `tab` or `space`",
            );
        }
        if self.class_names.is_some() && self.classes == Some(ClassSource::None) {
            fault(
                "class_names",
                "not_applicable",
                "with `classes: none` there are no classes to name",
            );
        }
        match (&self.pattern, self.classes) {
            (None, Some(ClassSource::FileName)) => {
                fault(
                    "pattern",
                    "missing",
                    "`classes: file_name` needs a pattern, such as `{class}_{number}`",
                );
            }
            (Some(_), classes) if classes != Some(ClassSource::FileName) => {
                fault(
                    "pattern",
                    "not_applicable",
                    "only valid with `classes: file_name`",
                );
            }
            (Some(pattern), _) if pattern.matches("{class}").count() != 1 => {
                fault("pattern", "range", "must contain `{class}` exactly once");
            }
            _ => {}
        }
        faults
    }
}

impl FromStr for ReadOptions {
    type Err = String;

    /// Options as JSON.
    fn from_str(text: &str) -> Result<Self, String> {
        let options: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match options.faults().first() {
            None => Ok(options),
            Some(fault) => Err(format!("{} {}", fault.pointer, fault.message)),
        }
    }
}

/// The separator that the option names; none if it names none.
pub fn separator_byte(text: &str) -> Option<u8> {
    match text {
        "tab" | "\t" | "\\t" => Some(b'\t'),
        "space" | " " => Some(b' '),
        _ => match text.as_bytes() {
            [byte] if byte.is_ascii_punctuation() => Some(*byte),
            _ => None,
        },
    }
}

/// A way to read an archive, with what it would give.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reading {
    /// The options that choose it.
    pub options: ReadOptions,
    /// Number of classes.
    pub classes: u64,
    /// The first class names, at most 20.
    pub class_names: Vec<String>,
    /// Images that would be read. Whether each can be decoded is known only afterwards.
    pub images: u64,
    pub splits: SplitCounts,
    /// Some images, as they would be read.
    pub examples: Vec<ReadingExample>,
}

/// How an image would be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReadingExample {
    pub path: String,
    pub class: Option<String>,
    /// Its labels, where it has several, or none of the classes; absent otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    pub split: Split,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(json: &str) -> Vec<String> {
        let options: ReadOptions = serde_json::from_str(json).unwrap();
        options.faults().into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn options_that_do_not_belong_together_are_refused() {
        assert!(faults(r#"{"classes":"folders","level":2,"splits":{"a":"val"}}"#).is_empty());
        assert!(faults(r#"{"classes":"table","table":"a.csv","separator":"tab"}"#).is_empty());
        assert!(faults(r#"{"classes":"file_name","pattern":"{class}_{number}"}"#).is_empty());
        assert!(faults("{}").is_empty());
        assert_eq!(faults(r#"{"level":2}"#), ["/level"]);
        assert_eq!(faults(r#"{"classes":"folders","level":0}"#), ["/level"]);
        assert_eq!(
            faults(r#"{"classes":"none","label_column":"x"}"#),
            ["/label_column"]
        );
        assert_eq!(faults(r#"{"classes":"table","separator":"ab"}"#), ["/separator"]);
        assert!(faults(r#"{"classes":"table","task_columns":["a","b"]}"#).is_empty());
        assert_eq!(faults(r#"{"task_columns":["a","b"]}"#), ["/task_columns"]);
        assert_eq!(
            faults(r#"{"classes":"table","task_columns":["a"]}"#),
            ["/task_columns"]
        );
        assert_eq!(
            faults(r#"{"classes":"table","task_columns":["a","b"],"label_column":"a"}"#),
            ["/task_columns"]
        );
        assert_eq!(
            faults(r#"{"classes":"table","task_columns":["a","b"],"several_labels":"leave_out"}"#),
            ["/several_labels"]
        );
        assert_eq!(faults(r#"{"classes":"file_name"}"#), ["/pattern"]);
        assert_eq!(faults(r#"{"classes":"file_name","pattern":"x"}"#), ["/pattern"]);
        assert!(serde_json::from_str::<ReadOptions>(r#"{"klasses":"none"}"#).is_err());
    }

    #[test]
    fn options_that_are_absent_are_not_written() {
        assert_eq!(serde_json::to_string(&ReadOptions::default()).unwrap(), "{}");
    }
}
