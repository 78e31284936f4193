//! What a person should know about a dataset before training on it, in sentences.

use std::collections::BTreeMap;

use super::{checks, found::Found, kinds, sentences::sentences, stored::Stored};
use crate::{
    domain::datasets::{
        dataset::{Class, DatasetWarning, Outcome, ReportEntry, Structure},
        split::{Split, SplitCounts},
    },
    worker::{
        ingest::names::entry::{ListedEntry, Verdict},
        pixels::Mode,
    },
};

/// Ratio of the largest to the smallest class from which on it is reported.
const IMBALANCE: u64 = 10;

/// About single entries: those that were skipped, by code, then duplicates.
pub fn about_entries(report: &[ReportEntry]) -> Vec<DatasetWarning> {
    let mut by_code: BTreeMap<&str, Found> = BTreeMap::new();
    let modes = [
        Mode::Colour,
        Mode::Grey,
        Mode::Transparent,
        Mode::Cmyk,
        Mode::Deep,
    ]
    .map(Mode::code);
    for entry in report.iter().filter(|entry| entry.outcome != Outcome::Ignored) {
        // Modes are reported together, and kinds that are not read by their names.
        let elsewhere = |code: &String| modes.contains(&code.as_str()) || code == kinds::UNSUPPORTED;
        for code in entry.codes.iter().filter(|code| !elsewhere(code)) {
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

/// Images that are stored in another colour mode than most.
pub fn about_modes(stored: &[Stored]) -> Option<DatasetWarning> {
    let usual = checks::usual_mode(stored)?;
    let others = stored.iter().filter(|stored| stored.mode != usual);
    let mut counts: BTreeMap<Mode, u64> = BTreeMap::new();
    others
        .clone()
        .for_each(|other| *counts.entry(other.mode).or_default() += 1);
    let mut warning =
        Found::of(others.map(|other| other.image.path.as_str())).warning("mixed_modes", "", "")?;
    let counted: Vec<_> = counts
        .iter()
        .map(|(mode, count)| format!("{count} {}", mode.in_words()))
        .collect();
    warning.message = format!(
        "most images are {}, but not all: {}; all become RGB, but a class stored differently from the rest may be recognised \
         by that alone",
        usual.in_words(),
        counted.join(", ")
    );
    Some(warning)
}

/// Tables that list images but lost to the class folders.
pub fn about_tables(tables: &[String]) -> Option<DatasetWarning> {
    Found::of(tables.iter().map(String::as_str)).warning(
        "manifest_not_used",
        "1 table lists only some of the images; their folders were read as classes instead",
        "{} tables list only some of the images; their folders were read as classes instead",
    )
}

/// Splits of the archive without any usable image.
pub fn about_splits(
    structure: &Structure,
    entries: &[ListedEntry],
    splits: &SplitCounts,
) -> Vec<DatasetWarning> {
    [Split::Train, Split::Val, Split::Test]
        .into_iter()
        .filter(|split| splits.of(*split) == 0)
        .filter_map(|split| {
            let folders = structure
                .split_folders
                .iter()
                .filter(|folder| folder.split == split);
            let names: Vec<&str> = folders.map(|folder| folder.name.as_str()).collect();
            let meant = |entry: &&ListedEntry| entry.split == Some(split) && entry.verdict != Verdict::Folder;
            let left_out = entries.iter().filter(meant).map(|entry| entry.path.as_str());
            let examples: Vec<&str> = names.iter().copied().chain(left_out).collect();
            let name = in_words(split);
            let then = match split {
                Split::Train => "nothing can be trained on this dataset",
                Split::Val | Split::Test => "jobs draw one from the training images if they need it",
            };
            let sentence = format!("the dataset's {name} split has no usable image; {then}");
            Found::of(examples).warning("empty_split", &sentence, &sentence)
        })
        .collect()
}

/// About classes and the distribution of images; `empty` are class folders without a usable image.
pub fn about_classes(classes: &[Class], splits: &SplitCounts, empty: &[String]) -> Vec<DatasetWarning> {
    let empty_class = Found::of(empty.iter().map(String::as_str)).warning(
        "empty_class",
        "1 class folder has no usable image and is not a class of the dataset",
        "{} class folders have no usable image",
    );
    let lone = classes.iter().filter(|class| class.images == 1);
    let one_image_class = Found::of(lone.map(|class| class.name.as_str())).warning(
        "one_image_class",
        "1 class has a single image, which cannot be used for both training and validation",
        "{} classes have a single image each, which cannot be used for both training and validation",
    );
    [
        one_class(classes),
        empty_class,
        one_image_class,
        imbalance(classes),
    ]
    .into_iter()
    .flatten()
    .chain(missing(classes, splits))
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

/// Classes missing from one of the splits, for each split that has any. A class without training images cannot be learned, so that has its
/// own code.
fn missing(classes: &[Class], splits: &SplitCounts) -> Vec<DatasetWarning> {
    [Split::Train, Split::Val, Split::Test]
        .into_iter()
        .filter(|&split| splits.of(split) > 0)
        .filter_map(|split| {
            let lacks = |class: &&Class| class.splits.is_some_and(|splits| splits.of(split) == 0);
            let found = Found::of(classes.iter().filter(lacks).map(|class| class.name.as_str()));
            let name = in_words(split);
            match split {
                Split::Train => found.warning(
                    "unknown_class_in_split",
                    "1 class of the validation or test images has no training images: it cannot be learned",
                    "{} classes of the validation or test images have no training images: they cannot be learned",
                ),
                Split::Val | Split::Test => found.warning(
                    "missing_class_in_split",
                    &format!("1 class has no {name} images"),
                    &format!("{{}} classes have no {name} images"),
                ),
            }
        })
        .collect()
}

fn in_words(split: Split) -> &'static str {
    match split {
        Split::Train => "training",
        Split::Val => "validation",
        Split::Test => "test",
    }
}
