//! What is doubtful about class folders, after each image has its place.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    doubt::{doubt, named},
    layout::{Plan, alike, is_named_like_masks, says_nothing, worded_split},
};
use crate::domain::datasets::dataset::DatasetWarning;

/// Images directly in a class folder, and those in each folder inside it.
#[derive(Default)]
struct Inside {
    direct: u64,
    folders: BTreeMap<String, u64>,
}

/// Warnings about the class folders that `plan` finds for these images, given as folders and own name.
pub fn doubts<'a>(plan: &Plan, images: impl Iterator<Item = &'a [String]>) -> Vec<DatasetWarning> {
    if !plan.has_classes() {
        return Vec::new();
    }
    let mut classes: BTreeMap<String, Inside> = BTreeMap::new();
    let mut spellings: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for parts in images {
        let Ok(place) = plan.place(parts) else { continue };
        let Some(class) = place.class else { continue };
        let depth = plan.class_depth(parts);
        if let Some(folder) = depth.checked_sub(1).and_then(|at| parts.get(at))
            && folder.trim() != *folder
        {
            spellings.entry(class.clone()).or_default().insert(folder.clone());
        }
        let inside = classes.entry(class).or_default();
        match parts.get(depth) {
            Some(folder) if depth + 1 < parts.len() => {
                *inside.folders.entry(folder.clone()).or_default() += 1
            }
            _ => inside.direct += 1,
        }
    }
    let names: Vec<&str> = classes.keys().map(String::as_str).collect();
    [
        trimmed(&spellings),
        words_of_splits(&names),
        nested(plan, &classes),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn trimmed(spellings: &BTreeMap<String, BTreeSet<String>>) -> Option<DatasetWarning> {
    if spellings.is_empty() {
        return None;
    }
    let message = format!(
        "blanks at the beginning or end of class folders were dropped: {}; a folder whose name then equals another one's is the same class",
        named(spellings.values().flatten())
    );
    Some(doubt("class_names_trimmed", message, spellings.keys().cloned()))
}

/// Classes whose names differ only in capitals, punctuation or blanks.
pub fn similar(names: &[String]) -> Option<DatasetWarning> {
    let mut by_letters: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for name in names {
        by_letters.entry(alike(name)).or_default().push(name);
    }
    let groups: Vec<String> = by_letters
        .into_values()
        .filter(|group| group.len() > 1)
        .map(|group| {
            group
                .iter()
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>()
                .join(" and ")
        })
        .collect();
    if groups.is_empty() {
        return None;
    }
    let message = format!(
        "classes differ only in capitals, punctuation or blanks: {}; if they are one class, give them one name (folders or labels), or move \
         the images with PATCH /v1/datasets/{{dataset}}/images",
        groups.iter().take(5).cloned().collect::<Vec<_>>().join(", ")
    );
    Some(doubt("similar_class_names", message, groups))
}

fn words_of_splits(names: &[&str]) -> Option<DatasetWarning> {
    let worded: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| worded_split(name).is_some())
        .collect();
    // One such name is a class that is called so: a locomotive, a driving test.
    if worded.len() < 2 {
        return None;
    }
    let message = format!(
        "the classes {} are named like splits; if they are splits, read the archive again with `splits`, such as {{\"{}\": \"train\"}}",
        named(&worded),
        worded[0]
    );
    Some(doubt("class_names_like_splits", message, worded))
}

/// Class folders that hold several folders: perhaps those are the classes.
fn nested(plan: &Plan, classes: &BTreeMap<String, Inside>) -> Option<DatasetWarning> {
    let meant = |name: &String| !says_nothing(name) && !is_named_like_masks(name);
    let nested: Vec<(&String, Vec<&String>)> = classes
        .iter()
        .map(|(class, inside)| {
            (
                class,
                inside
                    .folders
                    .keys()
                    .filter(|name| meant(name))
                    .collect::<Vec<_>>(),
            )
        })
        .filter(|(class, folders)| {
            folders.len() > 1 && classes[*class].direct * 10 <= classes[*class].folders.values().sum::<u64>()
        })
        .collect();
    let (first, folders) = nested.first()?;
    let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
    nested
        .iter()
        .flat_map(|(_, folders)| folders)
        .for_each(|name| *counts.entry(name).or_default() += 1);
    let repeated: Vec<&String> = counts
        .iter()
        .filter(|(_, count)| **count > 1)
        .map(|(name, _)| *name)
        .collect();
    let level = plan.class_depth(&[]).max(1) + 1;
    if nested.len() > 1 && repeated.len() * 2 >= counts.len() {
        let message = format!(
            "the same folders ({}) are in several of the class folders {}, whose names were taken for the classes; if the inner folders are \
             the classes, read the archive again with {{\"classes\": \"folders\", \"level\": {level}}}",
            named(&repeated),
            named(nested.iter().map(|(class, _)| class))
        );
        return Some(doubt(
            "repeated_folders",
            message,
            nested.iter().map(|(class, _)| (*class).clone()),
        ));
    }
    let message = format!(
        "{} class folders hold several folders, such as `{first}` with {}; all images in them were given the outer folder's name as their class; \
         if the inner folders are the classes, read the archive again with {{\"classes\": \"folders\", \"level\": {level}}}",
        nested.len(),
        named(folders)
    );
    Some(doubt(
        "nested_class_folders",
        message,
        nested.iter().map(|(class, _)| (*class).clone()),
    ))
}
