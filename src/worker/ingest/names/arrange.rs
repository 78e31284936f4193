//! From names to classes and splits: the layout is detected, or a table labels the images, and every image gets its class and its split.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{
    entry::{Disposition, ListedEntry, Verdict, parts_of},
    layout::{Place, Plan, Stray, Tree},
    manifest::{Candidate, Manifest, Missing},
    path,
};
use crate::{
    domain::datasets::{
        dataset::{DatasetWarning, Layout, Structure},
        split::Split,
    },
    limits::IngestLimits,
    worker::ingest::rejection::Rejection,
};

/// Detects the layout and assigns every candidate its class and split.
pub fn arrange(
    mut entries: Vec<ListedEntry>,
    tables: &[Candidate],
    limits: &IngestLimits,
) -> anyhow::Result<Listing> {
    let images: Vec<(usize, Vec<String>)> = entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| entry.verdict == Verdict::Candidate)
        .map(|(index, entry)| (index, parts_of(&entry.path)))
        .collect();
    let mut tree = Tree::default();
    images.iter().for_each(|(_, parts)| tree.add_image(parts));
    let plan = Plan::of(&tree);
    let found = Manifest::of(tables, &images);
    let names = |tables: &[usize]| tables.iter().map(|table| entries[*table].path.clone()).collect();
    let mut tables_not_used = Vec::new();
    let manifest = match found {
        // A table about only a few of many images in class folders is about something else.
        Some(found) if plan.has_classes() && found.labels.len() * 2 < images.len() => {
            tables_not_used = names(&found.tables);
            None
        }
        found => found,
    };

    let folders: Vec<Vec<String>> = entries
        .iter()
        .filter(|entry| entry.verdict == Verdict::Folder)
        .map(|entry| parts_of(&entry.path))
        .filter(|parts| !path::is_hidden(parts))
        .collect();
    let mut structure = plan.structure(folders.iter().map(Vec::as_slice));
    let mut layout = plan.layout();
    if let Some(manifest) = &manifest {
        layout = Layout::Manifest;
        structure.manifests = names(&manifest.tables);
        structure.pattern = structure.manifests.join(", ");
        for table in &manifest.tables {
            let message = "labels the images";
            entries[*table].verdict = Verdict::Disposition(Disposition::ignored("manifest", message));
        }
    }

    // Classes are numbered as they come, then renumbered in the order of their names.
    let mut numbers: HashMap<String, u32> = HashMap::new();
    for (index, parts) in &images {
        let entry = &mut entries[*index];
        let placed = match &manifest {
            None => plan.place(parts).map_err(stray_entry),
            Some(manifest) => by_manifest(manifest, *index, &plan, parts),
        };
        match placed {
            Err(settled) => entry.verdict = Verdict::Disposition(settled),
            Ok(Place { class, split }) => {
                entry.split = Some(split);
                let next = numbers.len() as u32;
                entry.class = class.map(|name| *numbers.entry(name).or_insert(next));
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
    let empty_folders = match manifest {
        None => empty_folders(&entries, &folders, &plan),
        Some(_) => Vec::new(),
    };
    Ok(Listing {
        entries,
        layout,
        structure,
        missing: manifest.map(|manifest| manifest.missing).unwrap_or_default(),
        tables_not_used,
        classes,
        empty_folders,
        notes: Vec::new(),
    })
}

/// What the tables say about an image; if they have no splits, the folders may.
fn by_manifest(
    manifest: &Manifest,
    image: usize,
    plan: &Plan,
    parts: &[String],
) -> Result<Place, Disposition> {
    let Some(label) = manifest.labels.get(&image) else {
        let message = "the table does not list it; add a line for it, or leave the file out";
        return Err(Disposition::skipped("not_listed", message));
    };
    let label = label.clone()?;
    let of_folder = || plan.place(parts).map_or(Split::Train, |place| place.split);
    Ok(Place {
        split: label.split.unwrap_or_else(of_folder),
        class: Some(label.class),
    })
}

fn stray_entry(stray: Stray) -> Disposition {
    match stray {
        Stray::NoClass => Disposition::skipped("no_class", "is in no class folder; move it into one"),
        Stray::OutsideSplits => Disposition::skipped(
            "outside_splits",
            "is beside the folders for training, validation and test; move it into one",
        ),
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
    /// Lines of manifests whose file does not exist.
    pub missing: Vec<Missing>,
    /// Tables that could be manifests but are not used, because the folders say more, in displayable form.
    pub tables_not_used: Vec<String>,
    /// Names of all class folders that contain or should contain images, sorted. Those without usable images are removed later.
    pub classes: Vec<String>,
    /// Class folders that contain nothing that looks like an image, in displayable form.
    pub empty_folders: Vec<String>,
    /// What is to be told about the names: their encoding, unusual paths, links.
    pub notes: Vec<DatasetWarning>,
}
