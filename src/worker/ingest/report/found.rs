//! What is said in one warning: how many, and a few of them.

use crate::domain::datasets::dataset::DatasetWarning;

/// A few are enough to find the rest in the report.
const EXAMPLES: usize = 5;

/// Collects a count and a few examples.
#[derive(Default)]
pub(super) struct Found {
    count: u64,
    examples: Vec<String>,
}

impl Found {
    pub(super) fn add(&mut self, example: &str) {
        self.count += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(example.to_owned());
        }
    }

    pub(super) fn of<'a>(examples: impl IntoIterator<Item = &'a str>) -> Self {
        let mut found = Self::default();
        examples.into_iter().for_each(|example| found.add(example));
        found
    }

    /// None if the count is 0. `{}` in the sentence becomes the count.
    pub(super) fn warning(self, code: &str, one: &str, many: &str) -> Option<DatasetWarning> {
        let sentence = if self.count == 1 { one } else { many };
        (self.count > 0).then(|| DatasetWarning {
            code: code.to_owned(),
            message: sentence.replace("{}", &self.count.to_string()),
            count: self.count,
            examples: self.examples,
        })
    }
}
