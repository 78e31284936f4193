//! Other ways to read an archive than the chosen one, each with what it would give.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use super::{
    assign::{Assigned, Names, assign},
    doubt::doubt,
    file_names,
    layout::{Place, split_of},
};
use crate::domain::datasets::{
    dataset::DatasetWarning,
    reading::{ClassSource, ReadOptions, Reading, ReadingExample},
    split::SplitCounts,
};

/// Deepest level of folders that is tried.
const DEEPEST: usize = 6;
const MOST: usize = 8;
const CLASS_NAMES: usize = 20;
const EXAMPLES: usize = 3;

/// The readings other than `chosen` that give at least two classes, and a warning if classes are in file names and nowhere else.
pub fn readings(
    names: &Names<'_>,
    chosen: &Assigned,
    options: &ReadOptions,
) -> (Vec<Reading>, Option<DatasetWarning>) {
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
    if names.tables.len() > 1 {
        candidates.push(with(&|other| other.classes = Some(ClassSource::Table)));
    }
    let file_names = names
        .images
        .iter()
        .filter_map(|(_, parts)| parts.last())
        .map(String::as_str);
    let pattern = file_names::pattern_of(file_names);
    if let Some(pattern) = &pattern {
        candidates.push(with(&|other| {
            other.classes = Some(ClassSource::FileName);
            other.pattern = Some(pattern.clone());
        }));
    }
    let mut known = vec![outcome(chosen)];
    let mut readings = Vec::new();
    for options in candidates {
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
    let is_unlabelled = chosen.places.iter().flatten().all(|place| place.class.is_none());
    let warning = pattern.filter(|_| is_unlabelled && options.classes.is_none()).map(|pattern| {
        let message = format!(
            "the file names look as if they contained the classes; if so, read the archive again with {{\"classes\": \"file_name\", \
             \"pattern\": \"{pattern}\"}}"
        );
        let found = readings.iter().find(|reading| reading.options.classes == Some(ClassSource::FileName));
        doubt("classes_in_file_names", message, found.map(|reading| reading.class_names.clone()).unwrap_or_default())
    });
    (readings, warning)
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
        let class = place.class.as_deref();
        let is_new = class.is_some_and(|class| classes.insert(class));
        if is_new && examples.len() < EXAMPLES {
            examples.push(ReadingExample {
                path: parts.join("/"),
                class: place.class.clone(),
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
