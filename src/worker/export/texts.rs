//! A model's description in a file's metadata: labels, preprocessing, architecture, for formats that have metadata.

use std::collections::BTreeMap;

use super::Model;
use crate::domain::spec::Task;

impl Model {
    /// Texts by name. Labels and preprocessing are JSON.
    pub fn texts(&self) -> BTreeMap<String, String> {
        let card = &self.card;
        let labels = serde_json::Value::from(card.classes.clone());
        let texts = [
            ("architecture", card.architecture.to_string()),
            ("labels", labels.to_string()),
            ("model", self.title.clone()),
            (
                "preprocessing",
                // Not by way of a `Value`: that uses 64-bit floats, and 0.485 would get more digits.
                serde_json::to_string(&card.preprocessing).unwrap_or_default(),
            ),
            ("program", card.program.clone()),
            ("temperature", card.temperature.to_string()),
        ];
        let mut texts: BTreeMap<String, String> = texts.map(|(name, text)| (name.to_owned(), text)).into();
        if card.task == Task::MultiLabel {
            texts.insert("task".to_owned(), card.task.as_str().to_owned());
            texts.insert(
                "thresholds".to_owned(),
                serde_json::json!(card.thresholds).to_string(),
            );
        }
        if card.task == Task::MultiTask {
            texts.insert("task".to_owned(), card.task.as_str().to_owned());
            texts.insert("tasks".to_owned(), serde_json::json!(card.tasks).to_string());
        }
        texts
    }

    /// The same for PyTorch's readers of safetensors, which expect `format`.
    pub fn texts_of_torch(&self) -> BTreeMap<String, String> {
        let mut texts = self.texts();
        texts.insert("format".to_owned(), "pt".to_owned());
        texts
    }
}
