//! What a person should know about a dataset before training on it, in sentences.

use std::collections::BTreeMap;

use crate::domain::{
    dataset::{Class, DatasetWarning, Outcome, ReportEntry, SplitCounts},
    split::Split,
};

/// A few are enough to find the rest in the report.
const EXAMPLES: usize = 5;
/// Largest class : smallest class from which on it is said.
const IMBALANCE: u64 = 10;

/// Collects a count and a few examples.
#[derive(Default)]
struct Found {
    count: u64,
    examples: Vec<String>,
}

impl Found {
    fn add(&mut self, example: &str) {
        self.count += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(example.to_owned());
        }
    }

    fn of<'a>(examples: impl IntoIterator<Item = &'a str>) -> Self {
        let mut found = Self::default();
        examples.into_iter().for_each(|example| found.add(example));
        found
    }

    /// None where there is nothing to say. `{}` in the sentence becomes the count.
    fn warning(self, code: &str, one: &str, many: &str) -> Option<DatasetWarning> {
        let sentence = if self.count == 1 { one } else { many };
        (self.count > 0).then(|| DatasetWarning {
            code: code.to_owned(),
            message: sentence.replace("{}", &self.count.to_string()),
            count: self.count,
            examples: self.examples,
        })
    }
}

/// About single entries: those that were skipped, by code, then twins.
pub fn about_entries(report: &[ReportEntry]) -> Vec<DatasetWarning> {
    let mut by_code: BTreeMap<&str, Found> = BTreeMap::new();
    for entry in report.iter().filter(|entry| entry.outcome != Outcome::Ignored) {
        for code in &entry.codes {
            by_code.entry(code).or_default().add(&entry.path);
        }
    }
    by_code
        .into_iter()
        .filter_map(|(code, found)| {
            let (code, one, many) = sentences(code);
            found.warning(code, one, many)
        })
        .collect()
}

fn sentences(code: &str) -> (&str, &'static str, &'static str) {
    let (one, many) = match code {
        "undecodable" => (
            "1 image is damaged or cut short and was left out",
            "{} images are damaged or cut short and were left out",
        ),
        "damaged" => (
            "1 file is damaged inside the archive and was left out",
            "{} files are damaged inside the archive and were left out",
        ),
        "too_large" => (
            "1 image is too large and was left out",
            "{} images are too large and were left out",
        ),
        "unsupported_format" => (
            "1 image is of a format that is not taken and was left out; save it as JPEG or PNG",
            "{} images are of formats that are not taken and were left out; save them as JPEG or PNG",
        ),
        "not_an_image" => (
            "1 file is named like an image, is none, and was left out",
            "{} files are named like images, are none, and were left out",
        ),
        "encrypted" => (
            "1 file is encrypted and was left out; pack without a password",
            "{} files are encrypted and were left out; pack without a password",
        ),
        "no_class" => (
            "1 image lies in no class folder and was left out",
            "{} images lie in no class folder and were left out",
        ),
        "outside_splits" => (
            "1 image lies beside the folders for training, validation and test and was left out",
            "{} images lie beside the folders for training, validation and test and were left out",
        ),
        "duplicate" => {
            let many = "{} images have the same bytes as another one";
            return ("duplicates", many, many);
        }
        "leak" => {
            let many =
                "{} images are in two splits at once: results measured on them look better than they are";
            return ("leaks", many, many);
        }
        "contradictory_label" => {
            let many =
                "{} images have the same bytes as one of another class: some of their labels are wrong";
            return ("contradictory_label", many, many);
        }
        _ => (
            "1 entry could not be used and was left out; the report says why",
            "{} entries could not be used and were left out; the report says why",
        ),
    };
    (code, one, many)
}

/// About classes and how the images are spread over them. `counts[class][split]`; `empty` are class folders without a usable image.
pub fn about_classes(
    classes: &[Class],
    counts: &[SplitCounts],
    splits: &SplitCounts,
    empty: &[String],
) -> Vec<DatasetWarning> {
    let empty_class = Found::of(empty.iter().map(String::as_str)).warning(
        "empty_class",
        "1 class folder holds no usable image and is no class of the dataset",
        "{} class folders hold no usable image",
    );
    let lone = classes.iter().filter(|class| class.images == 1);
    let one_image_class = Found::of(lone.map(|class| class.name.as_str())).warning(
        "one_image_class",
        "1 class has a single image, which cannot both train and validate",
        "{} classes have a single image each, which cannot both train and validate",
    );
    [
        one_class(classes),
        empty_class,
        one_image_class,
        imbalance(classes),
    ]
    .into_iter()
    .flatten()
    .chain(missing(classes, counts, splits))
    .collect()
}

fn one_class(classes: &[Class]) -> Option<DatasetWarning> {
    let [only] = classes else {
        return None;
    };
    let message = format!(
        "all images are of one class, `{}`; training needs at least two class folders",
        only.name
    );
    Some(DatasetWarning {
        code: "one_class".to_owned(),
        message,
        count: only.images,
        examples: vec![only.name.clone()],
    })
}

fn imbalance(classes: &[Class]) -> Option<DatasetWarning> {
    let largest = classes.iter().max_by_key(|class| class.images)?;
    let smallest = classes.iter().min_by_key(|class| class.images)?;
    let small = |class: &&Class| class.images.saturating_mul(IMBALANCE) <= largest.images;
    let found = Found::of(classes.iter().filter(small).map(|class| class.name.as_str()));
    let mut warning = found.warning("imbalance", "", "")?;
    warning.message = format!(
        "the largest class, `{}`, has {} images and the smallest, `{}`, has {}; consider class weights or a balanced sampler",
        largest.name, largest.images, smallest.name, smallest.images
    );
    Some(warning)
}

/// A class that one of the splits does not have, for each split that has any.
fn missing(classes: &[Class], counts: &[SplitCounts], splits: &SplitCounts) -> Vec<DatasetWarning> {
    [Split::Train, Split::Val, Split::Test]
        .into_iter()
        .filter(|&split| of(splits, split) > 0)
        .filter_map(|split| {
            let without = classes
                .iter()
                .zip(counts)
                .filter(|(_, counts)| of(counts, split) == 0);
            let name = match split {
                Split::Train => "training",
                Split::Val => "validation",
                Split::Test => "test",
            };
            Found::of(without.map(|(class, _)| class.name.as_str())).warning(
                "missing_class_in_split",
                &format!("1 class has no {name} images"),
                &format!("{{}} classes have no {name} images"),
            )
        })
        .collect()
}

fn of(counts: &SplitCounts, split: Split) -> u64 {
    match split {
        Split::Train => counts.train,
        Split::Val => counts.val,
        Split::Test => counts.test,
    }
}
