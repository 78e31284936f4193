//! Warnings about how names and tables were understood.

use crate::domain::datasets::dataset::DatasetWarning;

/// A few are enough to find the rest.
const EXAMPLES: usize = 5;

/// A warning about these folders, files or classes.
pub fn doubt(
    code: &str,
    message: impl Into<String>,
    about: impl IntoIterator<Item = impl Into<String>>,
) -> DatasetWarning {
    let mut count = 0;
    let mut examples = Vec::new();
    for one in about {
        count += 1;
        if examples.len() < EXAMPLES {
            examples.push(one.into());
        }
    }
    DatasetWarning {
        code: code.to_owned(),
        message: message.into(),
        count,
        examples,
    }
}

/// Names in a sentence, in backticks, at most five.
pub fn named(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let names: Vec<String> = names
        .into_iter()
        .map(|name| format!("`{}`", name.as_ref()))
        .collect();
    match names.len().saturating_sub(EXAMPLES) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names[..EXAMPLES].join(", ")),
    }
}
