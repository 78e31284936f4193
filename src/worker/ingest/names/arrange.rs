//! From names to classes and splits: the archive is read as the options say, every image gets its class and its split, and what is doubtful
//! or could be read differently is noted.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{
    assign::{Assigned, assign},
    class_doubts::similar,
    contents::Names,
    doubt::doubt,
    entry::{Disposition, ListedEntry, Verdict, parts_of},
    layout::{Place, Plan, Tree},
    masks::masks,
    path, readings,
    tables::{Ambiguous, Candidate, Images, Missing},
};
use crate::{
    domain::datasets::{
        dataset::{DatasetWarning, Layout, Structure},
        reading::{ReadOptions, Reading},
    },
    limits::IngestLimits,
    worker::ingest::rejection::Rejection,
};

/// Assigns every candidate its class and split.
pub fn arrange(
    mut entries: Vec<ListedEntry>,
    tables: &[Candidate],
    options: &ReadOptions,
    limits: &IngestLimits,
) -> anyhow::Result<Listing> {
    let mut doubts = Vec::new();
    if options.masks != Some(true) {
        doubts.extend(leave_out_masks(&mut entries));
    }
    let images = candidates(&entries);
    let mut tree = Tree::default();
    images.iter().for_each(|(_, parts)| tree.add_image(parts));
    let folders: Vec<Vec<String>> = entries
        .iter()
        .filter(|entry| entry.verdict == Verdict::Folder)
        .map(|entry| parts_of(&entry.path))
        .filter(|parts| !path::is_hidden(parts))
        .collect();
    let annotations = annotations(&entries, &images);
    let tables = tables
        .iter()
        .filter(|table| annotations.binary_search(&table.entry).is_err());
    let names = Names {
        images: &images,
        tree: &tree,
        index: &Images::new(&images),
        tables: tables.collect(),
        folders: &folders,
    };
    let assigned = assign(&names, options)?;
    let (readings, offers) = readings::readings(&names, &assigned, options);
    doubts.extend(offers);
    let Assigned {
        places,
        plan,
        layout,
        structure,
        options: reading,
        manifest,
        tables_not_used,
        class_names,
        doubts: of_reading,
    } = assigned;
    doubts.extend(of_reading);
    let uses_tables = layout == Layout::Manifest || !structure.manifests.is_empty();
    for table in manifest
        .tables
        .iter()
        .chain(&manifest.lists)
        .filter(|_| uses_tables)
    {
        entries[*table].verdict = Verdict::settled(Disposition::ignored("manifest", "labels the images"));
    }
    if let Some(file) = class_names {
        entries[file].verdict = Verdict::settled(Disposition::ignored("class_names", "names the classes"));
    }
    if layout == Layout::Unlabelled {
        doubts.extend(labels_not_read(&entries, &annotations));
    }

    // Classes are numbered as they come, then renumbered in the order of their names.
    let mut numbers: HashMap<String, u32> = HashMap::new();
    for ((index, _), place) in images.iter().zip(places) {
        let entry = &mut entries[*index];
        match place {
            Err(settled) => entry.verdict = Verdict::settled(settled),
            Ok(Place { class, labels, split }) => {
                entry.split = Some(split);
                let mut number = |name: String| {
                    let next = numbers.len() as u32;
                    *numbers.entry(name).or_insert(next)
                };
                entry.class = class.map(&mut number);
                entry.labels = labels.map(|labels| labels.into_iter().map(&mut number).collect());
            }
        }
    }
    if numbers.len() > limits.max_classes {
        let message = format!(
            "the archive has {} classes, but at most {} are allowed; merge some, or upload several datasets",
            numbers.len(),
            limits.max_classes
        );
        return Err(Rejection::new("too_many_classes", message).into());
    }
    let classes = number_by_name(numbers, &mut entries);
    doubts.extend(similar(&classes));
    let empty_folders = match layout {
        Layout::Manifest | Layout::FileNames => Vec::new(),
        _ => empty_folders(&entries, &folders, &plan),
    };
    let missing = if uses_tables { manifest.missing } else { Vec::new() };
    let ambiguous = if uses_tables {
        manifest.ambiguous
    } else {
        Vec::new()
    };
    Ok(Listing {
        tables_not_used: tables_not_used
            .iter()
            .map(|table| entries[*table].path.clone())
            .collect(),
        entries,
        layout,
        structure,
        reading,
        readings,
        missing,
        ambiguous,
        classes,
        empty_folders,
        doubts,
    })
}

/// Entries that look like images, with their folders and own name.
fn candidates(entries: &[ListedEntry]) -> Vec<(usize, Vec<String>)> {
    let candidates = entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| entry.verdict == Verdict::Candidate);
    candidates
        .map(|(index, entry)| (index, parts_of(&entry.path)))
        .collect()
}

/// Images that annotate other images are none of the dataset.
fn leave_out_masks(entries: &mut [ListedEntry]) -> Option<DatasetWarning> {
    let mut found: Vec<usize> = masks(&candidates(entries)).into_iter().collect();
    found.sort_unstable();
    for mask in &found {
        let message = "a mask of another image by its name; to use it as an image, read the archive again with `masks: true`";
        entries[*mask].verdict = Verdict::settled(Disposition::ignored("mask", message));
    }
    let message = format!(
        "{} images look like masks of other images and were left out; if they are images of the dataset, read the archive again with \
         {{\"masks\": true}}",
        found.len()
    );
    let paths = found.iter().map(|mask| entries[*mask].path.as_str());
    (!found.is_empty()).then(|| doubt("masks", message, paths))
}

/// Files that may have the labels of an unlabelled dataset but are of a kind that is not read.
fn labels_not_read(entries: &[ListedEntry], annotations: &[usize]) -> Option<DatasetWarning> {
    const KINDS: &[(&str, &str)] = &[
        ("xlsx", "a spreadsheet; save it as CSV"),
        ("xls", "a spreadsheet; save it as CSV"),
        ("ods", "a spreadsheet; save it as CSV"),
        ("parquet", "a Parquet file; save it as CSV"),
        ("mat", "a MATLAB file; save its labels as CSV"),
        ("npy", "a NumPy file; save it as CSV"),
        ("npz", "a NumPy file; save it as CSV"),
        (
            "pkl",
            "a Python pickle, which is not read for safety; save it as CSV",
        ),
        ("h5", "an HDF5 file; save its labels as CSV"),
    ];
    let extension = |entry: &&ListedEntry| path::extension(&entry.path);
    let labels: Vec<(&str, &str)> = entries
        .iter()
        .filter_map(|entry| {
            let kind = KINDS.iter().find(|(known, _)| *known == extension(&entry))?;
            Some((entry.path.as_str(), kind.1))
        })
        .collect();
    if let Some((first, kind)) = labels.first() {
        let message = format!("`{first}` may have the labels, but is {kind}, then upload the archive again");
        return Some(doubt(
            "labels_not_read",
            message,
            labels.iter().map(|(path, _)| *path),
        ));
    }
    if annotations.is_empty() {
        return None;
    }
    let message = format!(
        "{} files annotate single images, as for object detection, and are not read; for classification, put the images into class folders or \
         list them in a table with a label each",
        annotations.len()
    );
    let paths = annotations.iter().map(|entry| entries[*entry].path.as_str());
    Some(doubt("annotations_not_read", message, paths))
}

/// The entries of text files called like an image each, as for object detection, if most images have one. They are no tables of labels.
fn annotations(entries: &[ListedEntry], images: &[(usize, Vec<String>)]) -> Vec<usize> {
    let stem = |entry: &ListedEntry| {
        let name = entry.path.rsplit('/').next()?;
        name.rsplit_once('.').map(|(stem, _)| stem.to_owned())
    };
    let stems: HashSet<String> = images
        .iter()
        .filter_map(|(image, _)| stem(&entries[*image]))
        .collect();
    let annotates = |entry: &ListedEntry| {
        matches!(path::extension(&entry.path).as_str(), "xml" | "txt" | "json")
            && stem(entry).is_some_and(|stem| stems.contains(&stem))
    };
    let found: Vec<usize> = (0..entries.len())
        .filter(|entry| annotates(&entries[*entry]))
        .collect();
    // A single one may be a table that happens to be called so.
    match found.len() > 1 && found.len() * 2 >= images.len() {
        true => found,
        false => Vec::new(),
    }
}

fn number_by_name(numbers: HashMap<String, u32>, entries: &mut [ListedEntry]) -> Vec<String> {
    let mut named: Vec<(String, u32)> = numbers.into_iter().collect();
    named.sort_unstable();
    let mut renumbered = vec![0; named.len()];
    for (index, (_, number)) in (0..).zip(&named) {
        renumbered[*number as usize] = index;
    }
    for entry in entries {
        entry.class = entry.class.map(|number| renumbered[number as usize]);
        if let Some(labels) = &mut entry.labels {
            labels
                .iter_mut()
                .for_each(|number| *number = renumbered[*number as usize]);
            labels.sort_unstable();
        }
    }
    named.into_iter().map(|(name, _)| name).collect()
}

/// Class folders in the archive without candidates, in each split.
fn empty_folders(entries: &[ListedEntry], folders: &[Vec<String>], plan: &Plan) -> Vec<String> {
    let filled: HashSet<Vec<String>> = entries
        .iter()
        .filter(|entry| entry.class.is_some())
        .map(|entry| {
            let mut parts = parts_of(&entry.path);
            parts.truncate(plan.class_depth(&parts));
            parts
        })
        .collect();
    let empty = folders
        .iter()
        .filter(|parts| plan.is_class_folder(parts) && !filled.contains(*parts));
    let empty: BTreeSet<String> = empty.map(|parts| parts.join("/")).collect();
    empty.into_iter().collect()
}

/// The whole archive, by name.
pub struct Listing {
    pub entries: Vec<ListedEntry>,
    pub layout: Layout,
    pub structure: Structure,
    /// The options that give the same result.
    pub reading: ReadOptions,
    /// Other ways to read the archive.
    pub readings: Vec<Reading>,
    /// Lines of tables whose file does not exist.
    pub missing: Vec<Missing>,
    /// Lines of tables that could mean several images.
    pub ambiguous: Vec<Ambiguous>,
    /// Tables that could be manifests but are not used, because the folders say more, in displayable form.
    pub tables_not_used: Vec<String>,
    /// Names of all class folders that contain or should contain images, sorted. Those without usable images are removed later.
    pub classes: Vec<String>,
    /// Class folders that contain nothing that looks like an image, in displayable form.
    pub empty_folders: Vec<String>,
    /// What was guessed.
    pub doubts: Vec<DatasetWarning>,
}
