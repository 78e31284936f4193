//! The query of an upload: the dataset's name, and how its archive is to be read.

use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;

use super::reading::{parse, wrong};
use crate::{
    domain::{datasets::reading::ReadOptions, name::Name},
    error::{FieldError, Result},
};

/// The options are texts, because a query has no types.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UploadQuery {
    /// Name of the dataset. A name that was chosen may be taken (409); one that is derived from a file name is made free with a number.
    #[param(value_type = Option<Name>)]
    pub name: Option<String>,
    /// File name that the name is derived from if there is no `name`; a form has one of its own.
    pub filename: Option<String>,
    /// SHA-256 that the archive must have, in hexadecimal.
    #[param(pattern = "^[0-9A-Fa-f]{64}$")]
    pub sha256: Option<String>,
    /// `true`: answers what would be understood, and keeps nothing.
    pub dry_run: bool,
    /// Where the classes come from: `folders`, `table`, `file_name` or `none`.
    #[param(pattern = "^(folders|table|file_name|none)$")]
    classes: Option<String>,
    /// Which folder of a path is the class, with `classes=folders`: 1 is the outermost.
    #[param(pattern = "^([1-9]|[1-5][0-9]|6[0-4])$")]
    level: Option<String>,
    /// Path of the table in the archive, with `classes=table`.
    table: Option<String>,
    /// The table's column with the image files: its name, or its number from 1.
    path_column: Option<String>,
    /// The table's column with the classes.
    label_column: Option<String>,
    /// Instead of `label_column`: columns that each answer a question of their own, separated by commas.
    task_columns: Option<String>,
    /// The table's column with the splits.
    split_column: Option<String>,
    /// What separates the table's columns: one character, `tab` or `space`.
    separator: Option<String>,
    /// Text encoding of the table.
    encoding: Option<String>,
    /// Where the class is in a file name, with `classes=file_name`: `{class}_{number}`.
    pattern: Option<String>,
    /// Path of a file in the archive that names the classes, where folders or labels are codes.
    class_names: Option<String>,
    /// What becomes of images to which a table gives several labels: `keep` (the default) or `leave_out`.
    #[param(pattern = "^(keep|leave_out)$")]
    several_labels: Option<String>,
    /// What folders stand for: `fold_1:val,old:ignore`.
    #[param(pattern = "^[^,]*:(train|val|test|ignore)(,[^,]*:(train|val|test|ignore))*$")]
    splits: Option<String>,
    /// `true`: images that look like masks of others are images of the dataset.
    #[param(pattern = "^(true|false)$")]
    masks: Option<String>,
    /// Encoding of the file names in the archive.
    name_encoding: Option<String>,
    /// How many bits of images with 16 bits in each channel are used, 8 to 16.
    #[param(pattern = "^([89]|1[0-6])$")]
    used_bits: Option<String>,
}

impl UploadQuery {
    /// # Errors
    /// 422 with each faulty option.
    pub fn options(&self) -> Result<ReadOptions> {
        let mut document = serde_json::Map::new();
        let texts = [
            ("classes", &self.classes),
            ("table", &self.table),
            ("path_column", &self.path_column),
            ("label_column", &self.label_column),
            ("split_column", &self.split_column),
            ("separator", &self.separator),
            ("encoding", &self.encoding),
            ("pattern", &self.pattern),
            ("class_names", &self.class_names),
            ("several_labels", &self.several_labels),
            ("name_encoding", &self.name_encoding),
        ];
        for (name, text) in texts {
            document.extend(
                text.iter()
                    .map(|text| (name.to_owned(), Value::from(text.as_str()))),
            );
        }
        let as_json = |text: &str| serde_json::from_str(text).unwrap_or(Value::from(text));
        for (name, text) in [
            ("level", &self.level),
            ("masks", &self.masks),
            ("used_bits", &self.used_bits),
        ] {
            document.extend(text.iter().map(|text| (name.to_owned(), as_json(text))));
        }
        if let Some(text) = &self.task_columns {
            let columns: Vec<&str> = text
                .split(',')
                .map(str::trim)
                .filter(|column| !column.is_empty())
                .collect();
            document.insert("task_columns".to_owned(), columns.into());
        }
        if let Some(text) = &self.splits {
            let mut splits = serde_json::Map::new();
            for pair in text.split(',').filter(|pair| !pair.is_empty()) {
                let Some((folder, role)) = pair.rsplit_once(':') else {
                    let message = format!("`{pair}` must be a folder and what it is, such as `fold_1:val`");
                    return Err(wrong(vec![FieldError::new("/splits", "type", message)]));
                };
                splits.insert(folder.to_owned(), Value::from(role));
            }
            document.insert("splits".to_owned(), splits.into());
        }
        parse(&document.into())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::{
        datasets::reading::{ClassSource, SeveralLabels, SplitRole},
        models::preprocessing::UsedBits,
    };

    #[test]
    fn a_query_says_what_a_document_says() {
        let query = UploadQuery {
            classes: Some("folders".to_owned()),
            level: Some("2".to_owned()),
            splits: Some("fold_1:val,a:b:ignore".to_owned()),
            masks: Some("true".to_owned()),
            ..UploadQuery::default()
        };
        let options = query.options().unwrap();
        assert_eq!((options.level, options.masks), (Some(2), Some(true)));
        let splits = BTreeMap::from([
            ("fold_1".to_owned(), SplitRole::Val),
            ("a:b".to_owned(), SplitRole::Ignore),
        ]);
        assert_eq!(options.splits, Some(splits));
    }

    #[test]
    fn every_option_can_be_in_a_query() {
        let text = || Some("tab".to_owned());
        let encoding = || Some("gbk".to_owned());
        let all = ReadOptions {
            classes: Some(ClassSource::Table),
            level: Some(1),
            table: text(),
            path_column: text(),
            label_column: text(),
            task_columns: Some(vec!["a".to_owned(), "b".to_owned()]),
            split_column: text(),
            separator: text(),
            encoding: encoding(),
            pattern: text(),
            class_names: text(),
            several_labels: Some(SeveralLabels::LeaveOut),
            splits: Some(BTreeMap::from([("a".to_owned(), SplitRole::Val)])),
            masks: Some(true),
            name_encoding: encoding(),
            used_bits: UsedBits::new(12),
        };
        let options = serde_json::to_value(all).unwrap();
        for (name, value) in options.as_object().unwrap() {
            let asked = match value {
                Value::String(text) => text.clone(),
                Value::Object(_) => "a:val".to_owned(),
                Value::Array(_) => "a, b".to_owned(),
                other => other.to_string(),
            };
            let query = serde_json::json!({name: asked});
            let query: UploadQuery =
                serde_json::from_value(query).unwrap_or_else(|fault| panic!("{name}: {fault}"));
            // What only goes with other options is refused as that, and all else is understood.
            match query.options() {
                Ok(found) => assert_eq!(serde_json::to_value(found).unwrap()[name], *value),
                Err(error) => assert!(
                    error.errors().iter().all(|fault| fault.code == "not_applicable"),
                    "{name}: {error:?}"
                ),
            }
        }
    }
}
