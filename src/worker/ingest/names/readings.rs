//! Other ways to read an archive than the chosen one, each with what it would give.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use super::{
    assign::{Assigned, assign, classes_of},
    class_names::ClassNames,
    contents::Names,
    doubt::{doubt, named},
    file_names,
    layout::{Place, split_of},
};
use crate::domain::datasets::{
    dataset::DatasetWarning,
    reading::{ClassSource, ReadOptions, Reading, ReadingExample, SeveralLabels},
    split::SplitCounts,
};

/// Deepest level of folders that is tried.
const DEEPEST: usize = 6;
const MOST: usize = 8;
const CLASS_NAMES: usize = 20;
const EXAMPLES: usize = 3;

/// The readings other than `chosen` that give at least two classes; a warning if classes are in file names and nowhere else, and one if a
/// file has names for classes that are codes.
pub fn readings(
    names: &Names<'_>,
    chosen: &Assigned,
    options: &ReadOptions,
) -> (Vec<Reading>, Vec<DatasetWarning>) {
    let mut readings = Vec::new();
    let mut offers = Vec::new();
    if let Some((reading, offer)) = with_class_names(names, chosen, options) {
        readings.extend(reading);
        offers.push(offer);
    }
    // Archives may have a text file beside each image, and each reading looks at all tables.
    let names = &Names {
        tables: names
            .tables
            .iter()
            .copied()
            .filter(|table| table.names_any(names.index))
            .collect(),
        ..*names
    };
    let file_names = names.images.iter().filter_map(|(_, parts)| parts.last());
    let pattern = file_names::pattern_of(file_names.map(String::as_str));
    let mut known = vec![outcome(chosen)];
    for options in candidates(names, chosen, options, pattern.as_deref()) {
        let Ok(other) = assign(names, &options) else {
            continue;
        };
        let reading = reading(names, &other, options);
        let outcome = outcome(&other);
        let is_new = !known.contains(&outcome);
        if reading.classes > 1 && is_new && says_something(&reading) && readings.len() < MOST {
            readings.push(reading);
            known.push(outcome);
        }
    }
    let is_unlabelled = classes_of(&chosen.places).is_empty();
    let pattern = pattern.filter(|_| is_unlabelled && options.classes.is_none());
    offers.extend(pattern.map(|pattern| in_file_names(&pattern, &readings)));
    (readings, offers)
}

/// The chosen reading with the classes called as a file of the archive says, if nobody has chosen that yet.
fn with_class_names(
    names: &Names<'_>,
    chosen: &Assigned,
    options: &ReadOptions,
) -> Option<(Option<Reading>, DatasetWarning)> {
    if options.class_names.is_some() {
        return None;
    }
    let found = ClassNames::offered(names, &classes_of(&chosen.places))?;
    let renamed = ReadOptions {
        class_names: Some(found.file.clone()),
        ..chosen.options.clone()
    };
    let message = format!(
        "`{}` names the classes: {}; to call them so, read the archive again with {}",
        found.file,
        named(found.names()),
        serde_json::json!({"class_names": found.file})
    );
    let offer = doubt("classes_have_names", message, found.names());
    let other = assign(names, &renamed).ok();
    Some((other.map(|other| reading(names, &other, renamed)), offer))
}

/// All options that may give another reading.
fn candidates(
    names: &Names<'_>,
    chosen: &Assigned,
    options: &ReadOptions,
    pattern: Option<&str>,
) -> Vec<ReadOptions> {
    let with = |change: &dyn Fn(&mut ReadOptions)| {
        let mut other = ReadOptions {
            splits: options.splits.clone(),
            masks: options.masks,
            name_encoding: options.name_encoding.clone(),
            used_bits: options.used_bits,
            ..ReadOptions::default()
        };
        change(&mut other);
        other
    };
    let mut candidates = vec![with(&|other| other.classes = Some(ClassSource::Folders))];
    let depths = names
        .images
        .iter()
        .map(|(_, parts)| parts.len().saturating_sub(1));
    for level in 1..=depths.max().unwrap_or(0).min(DEEPEST) {
        candidates.push(with(&|other| {
            other.classes = Some(ClassSource::Folders);
            other.level = Some(level as u32);
        }));
    }
    for table in names.tables.iter().take(MOST) {
        candidates.push(with(&|other| {
            other.classes = Some(ClassSource::Table);
            other.table = Some(table.parts.join("/"));
        }));
    }
    let has_several = |place: &Place| place.labels.as_ref().is_some_and(|labels| labels.len() > 1);
    if chosen.places.iter().flatten().any(has_several) {
        candidates.push(ReadOptions {
            several_labels: Some(SeveralLabels::LeaveOut),
            ..chosen.options.clone()
        });
    }
    for tasks in &chosen.manifest.possible_tasks {
        candidates.push(with(&|other| {
            other.classes = tasks.classes;
            other.table.clone_from(&tasks.table);
            other.task_columns.clone_from(&tasks.task_columns);
        }));
    }
    if names.tables.len() > 1 {
        candidates.push(with(&|other| other.classes = Some(ClassSource::Table)));
    }
    candidates.extend(pattern.map(|pattern| {
        with(&|other| {
            other.classes = Some(ClassSource::FileName);
            other.pattern = Some(pattern.to_owned());
        })
    }));
    candidates
}

fn in_file_names(pattern: &str, readings: &[Reading]) -> DatasetWarning {
    let message = format!(
        "the file names look as if they contained the classes; if so, read the archive again with {{\"classes\": \"file_name\", \
         \"pattern\": \"{pattern}\"}}"
    );
    let found = readings
        .iter()
        .find(|reading| reading.options.classes == Some(ClassSource::FileName));
    let classes = found.map(|reading| reading.class_names.clone());
    doubt("classes_in_file_names", message, classes.unwrap_or_default())
}

/// What a reading gives: two with the same are one.
fn outcome(assigned: &Assigned) -> u64 {
    let mut hasher = DefaultHasher::new();
    for place in &assigned.places {
        let place: Option<&Place> = place.as_ref().ok();
        place.hash(&mut hasher);
    }
    hasher.finish()
}

/// The folders for splits are no classes, and neither is a class for each image.
fn says_something(reading: &Reading) -> bool {
    let splits = reading
        .class_names
        .iter()
        .filter(|name| split_of(name).is_some())
        .count();
    splits < reading.class_names.len() && reading.classes * 2 <= reading.images.max(4)
}

fn reading(names: &Names<'_>, assigned: &Assigned, options: ReadOptions) -> Reading {
    let mut splits = SplitCounts::default();
    let mut classes: BTreeSet<&str> = BTreeSet::new();
    let mut examples: Vec<ReadingExample> = Vec::new();
    for ((_, parts), place) in names.images.iter().zip(&assigned.places) {
        let Ok(place) = place else { continue };
        splits.add(place.split);
        let mut is_new = false;
        for class in place.label_set() {
            is_new |= classes.insert(class);
        }
        if is_new && examples.len() < EXAMPLES {
            examples.push(ReadingExample {
                path: parts.join("/"),
                class: place.class.clone(),
                labels: place.labels.clone().unwrap_or_default(),
                split: place.split,
            });
        }
    }
    Reading {
        options,
        classes: classes.len() as u64,
        class_names: classes
            .iter()
            .take(CLASS_NAMES)
            .map(|name| (*name).to_owned())
            .collect(),
        images: splits.total(),
        splits,
        examples,
    }
}
