//! One way to read the names of an archive: every image gets its class and its split, or the reason why it has none.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    class_doubts::doubts,
    class_names::{ClassNames, numbers_classes},
    contents::Names,
    doubt::{doubt, named},
    entry::Disposition,
    file_names::Pattern,
    layout::{Chosen, Place, Plan, Unplaced, class_name},
    tables::{Candidate, Label, Manifest, Surroundings},
};
use crate::{
    domain::datasets::{
        dataset::{DatasetWarning, Layout, Structure},
        reading::{ClassSource, ReadOptions, SplitRole},
        split::Split,
    },
    domain::models::tasks::tasks_of,
    worker::ingest::rejection::Rejection,
};

/// A reading.
pub struct Assigned {
    /// Parallel to the images.
    pub places: Vec<Result<Place, Disposition>>,
    pub plan: Plan,
    pub layout: Layout,
    pub structure: Structure,
    /// The options that give the same result.
    pub options: ReadOptions,
    pub manifest: Manifest,
    /// Entries of tables that could label images but are not used, because the folders say more.
    pub tables_not_used: Vec<usize>,
    /// Entry of the file that names the classes.
    pub class_names: Option<usize>,
    pub doubts: Vec<DatasetWarning>,
}

/// Where the classes come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Folders,
    /// The folders, and the tables for images that are in no class folder.
    FoldersAndTables,
    Tables,
    FileNames,
}

/// Reads the names as the options say, and works out what they do not say.
///
/// # Errors
/// If the options ask for what is not there.
pub fn assign(names: &Names<'_>, options: &ReadOptions) -> Result<Assigned, Rejection> {
    let chosen: Chosen = options.splits.clone().unwrap_or_default();
    let mut plan = Plan::of(names.tree, &chosen);
    match (options.classes, options.level) {
        (Some(ClassSource::None | ClassSource::FileName), _) => plan = plan.without_classes(),
        (Some(ClassSource::Folders), Some(level)) => plan = plan.at_level(level as usize),
        _ => {}
    }
    // In the order of their entries.
    let parts = |entry: usize| {
        let place = names.images.binary_search_by_key(&entry, |(entry, _)| *entry);
        place.ok().map(|place| names.images[place].1.as_slice())
    };
    let around = Surroundings {
        images: names.index,
        parts: &|entry| parts(entry).unwrap_or_default(),
        split: &|entry| parts(entry).and_then(|parts| plan.split(parts)),
        leaves_out_several: options.leaves_out_several(),
    };
    let table_options = Some(options).filter(|options| options.classes == Some(ClassSource::Table));
    let mut manifest = Manifest::of(&tables_of_images(names, options, &plan), table_options, &around)?;
    if options.classes == Some(ClassSource::Table) && !manifest.has_labels() {
        return Err(no_table(names, &manifest));
    }
    let mut doubts_found = Vec::new();
    let (mode, tables_not_used) = mode(names, options, &plan, &manifest, &mut doubts_found);
    let pattern = options.pattern.as_deref().and_then(Pattern::parse);
    let mut places: Vec<_> = names
        .images
        .iter()
        .map(|(entry, parts)| {
            let place = match mode {
                Mode::Folders => by_folders(&plan, parts),
                Mode::FoldersAndTables => by_folders(&plan, parts)
                    .or_else(|unplaced| fill(&manifest, *entry, &plan, parts, unplaced)),
                Mode::Tables => by_tables(&manifest, *entry, &plan, parts),
                Mode::FileNames => by_file_name(pattern.as_ref(), &plan, parts),
            };
            let split = manifest.splits.get(entry).copied();
            place.map(|place| Place {
                split: split.filter(|_| mode != Mode::Tables).unwrap_or(place.split),
                ..place
            })
        })
        .collect();
    let class_names = match &options.class_names {
        None => None,
        Some(wanted) => Some(call(names, wanted, &mut places, &mut doubts_found)?),
    };
    doubts_found.extend(about_several(names, &places));
    doubts_found.append(&mut manifest.doubts);
    doubts_found.extend(plan.doubts().iter().cloned());
    if mode != Mode::Tables {
        doubts_found.extend(doubts(
            &plan,
            names.images.iter().map(|(_, parts)| parts.as_slice()),
        ));
    }
    let (layout, structure) = structure(names, options, mode, &plan, &manifest);
    if !manifest.lists.is_empty() && mode != Mode::Tables {
        let lists = names.paths(&manifest.lists);
        let message = format!(
            "the splits were taken from the lists {}, not from folders",
            named(&lists)
        );
        doubts_found.push(doubt("splits_from_lists", message, lists));
    }
    Ok(Assigned {
        options: resolved(options, mode, &structure, plan.layout()),
        places,
        plan,
        layout,
        structure,
        manifest,
        tables_not_used,
        class_names,
        doubts: doubts_found,
    })
}

/// Calls the classes as the file says that the caller chose. Gives its entry.
fn call(
    names: &Names<'_>,
    wanted: &str,
    places: &mut [Result<Place, Disposition>],
    doubts: &mut Vec<DatasetWarning>,
) -> Result<usize, Rejection> {
    let classes = classes_of(places);
    let found = ClassNames::chosen(names, wanted, &classes)?;
    doubts.extend(found.missing(&classes));
    found.apply(places);
    Ok(found.entry)
}

/// Said where images have several labels.
fn about_several(names: &Names<'_>, places: &[Result<Place, Disposition>]) -> Option<DatasetWarning> {
    let several = |place: &Result<Place, Disposition>| {
        let labels = place.as_ref().ok().and_then(|place| place.labels.as_ref());
        labels.is_some_and(|labels| labels.len() > 1)
    };
    let images = names.images.iter().zip(places);
    let found: Vec<String> = images
        .filter(|(_, place)| several(place))
        .map(|((_, parts), _)| parts.join("/"))
        .collect();
    let task = match tasks_of(&Vec::from_iter(classes_of(places))) {
        Ok(_) => "`\"task\": \"multi_task\"`",
        Err(_) => "`\"task\": \"multi_label\"`",
    };
    let message = format!(
        "{} images have several labels; train on them with {task}, or read the archive again with {{\"several_labels\": \"leave_out\"}} for \
         images of one class only",
        found.len()
    );
    (!found.is_empty()).then(|| doubt("several_labels", message, found))
}

fn structure(
    names: &Names<'_>,
    options: &ReadOptions,
    mode: Mode,
    plan: &Plan,
    manifest: &Manifest,
) -> (Layout, Structure) {
    let mut layout = plan.layout();
    let mut structure = plan.structure(names.folders.iter().map(Vec::as_slice));
    if matches!(mode, Mode::Tables | Mode::FoldersAndTables) {
        structure.manifests = names.paths(&manifest.tables);
    }
    match mode {
        Mode::Tables => {
            layout = Layout::Manifest;
            structure.pattern = structure.manifests.join(", ");
        }
        Mode::FileNames => {
            layout = Layout::FileNames;
            structure.pattern = options.pattern.clone().unwrap_or_default();
        }
        Mode::Folders | Mode::FoldersAndTables => {}
    }
    if mode != Mode::Tables {
        structure.manifests.extend(names.paths(&manifest.lists));
    }
    (layout, structure)
}

/// The classes that images have.
pub fn classes_of<E>(places: &[Result<Place, E>]) -> BTreeSet<&str> {
    places
        .iter()
        .flatten()
        .flat_map(Place::label_set)
        .map(String::as_str)
        .collect()
}

/// The tables, without those that say what class folders are called or number them: their `0 cat` is no label of `0.jpg`.
fn tables_of_images<'a>(names: &Names<'a>, options: &ReadOptions, plan: &Plan) -> Vec<&'a Candidate> {
    if options.classes == Some(ClassSource::Table) {
        return names.tables.clone();
    }
    let classes: BTreeSet<String> = names
        .images
        .iter()
        .filter_map(|(_, parts)| plan.place(parts).ok()?.class)
        .collect();
    let classes: BTreeSet<&str> = classes.iter().map(String::as_str).collect();
    let names_classes = |table: &Candidate| {
        numbers_classes(table, &classes) || ClassNames::of_all(table, names.index, &classes).is_some()
    };
    names
        .tables
        .iter()
        .copied()
        .filter(|table| !names_classes(table))
        .collect()
}

/// Whether folders or tables decide. A table decides if it labels at least half of the images that are in class folders; a guess never does.
/// Where the two disagree, that is said.
fn mode(
    names: &Names<'_>,
    options: &ReadOptions,
    plan: &Plan,
    manifest: &Manifest,
    doubts: &mut Vec<DatasetWarning>,
) -> (Mode, Vec<usize>) {
    match options.classes {
        Some(ClassSource::Table) => return (Mode::Tables, Vec::new()),
        Some(ClassSource::FileName) => return (Mode::FileNames, Vec::new()),
        Some(ClassSource::Folders | ClassSource::None) => return (Mode::Folders, Vec::new()),
        None => {}
    }
    if !manifest.has_labels() {
        return (Mode::Folders, Vec::new());
    }
    let mut in_folders: u64 = 0;
    let mut in_both: u64 = 0;
    let mut beside: u64 = 0;
    let mut pairs: BTreeMap<String, BTreeMap<&str, u64>> = BTreeMap::new();
    for (entry, parts) in names.images {
        let label = manifest.labels.get(entry);
        match plan.place(parts).ok().and_then(|place| place.class) {
            None => beside += u64::from(label.is_some()),
            Some(folder) => {
                in_folders += 1;
                in_both += u64::from(label.is_some());
                if let Some(Ok(Label { classes, .. })) = label
                    && let [class] = classes.as_slice()
                {
                    *pairs.entry(folder).or_default().entry(class).or_default() += 1;
                }
            }
        }
    }
    if in_folders == 0 {
        return (Mode::Tables, Vec::new());
    }
    if in_both * 2 >= in_folders && !manifest.is_guess {
        doubts.extend(contradiction(names, manifest, &pairs));
        return (Mode::Tables, Vec::new());
    }
    // A table about images that are in no class folder, in words that are classes: the annotations of a validation split.
    let classes: BTreeSet<String> = names
        .images
        .iter()
        .filter_map(|(_, parts)| plan.place(parts).ok()?.class)
        .collect();
    let labels: BTreeSet<&str> = manifest
        .labels
        .values()
        .filter_map(|label| label.as_ref().ok())
        .flat_map(|label| label.classes.iter().map(String::as_str))
        .collect();
    let known = labels.iter().filter(|label| classes.contains(**label)).count();
    if beside > 0 && known * 2 >= labels.len() && known > 0 {
        return (Mode::FoldersAndTables, Vec::new());
    }
    (Mode::Folders, manifest.tables.clone())
}

/// Said where folders that look like classes are not the labels of the tables.
fn contradiction(
    names: &Names<'_>,
    manifest: &Manifest,
    pairs: &BTreeMap<String, BTreeMap<&str, u64>>,
) -> Option<DatasetWarning> {
    let main = |labels: &BTreeMap<&str, u64>| labels.values().max().copied().unwrap_or(0);
    let all: u64 = pairs.values().flat_map(|labels| labels.values()).sum();
    let consistent: u64 = pairs.values().map(main).sum();
    if pairs.len() < 2 || consistent * 20 >= all * 19 {
        return None;
    }
    let tables = names
        .tables
        .iter()
        .filter(|table| manifest.tables.contains(&table.entry));
    let tables: Vec<String> = tables.map(|table| table.parts.join("/")).collect();
    let message = format!(
        "the labels of {} differ from the folders {}; the table was used; to use the folders, read the archive again with \
         {{\"classes\": \"folders\"}}",
        named(&tables),
        named(pairs.keys())
    );
    Some(doubt("table_over_folders", message, tables))
}

fn by_folders(plan: &Plan, parts: &[String]) -> Result<Place, Disposition> {
    plan.place(parts).map_err(unplaced)
}

/// What the tables say about an image; if they have no splits, the folders may.
fn by_tables(manifest: &Manifest, image: usize, plan: &Plan, parts: &[String]) -> Result<Place, Disposition> {
    if plan.ignores(parts) {
        return Err(unplaced(Unplaced::Ignored));
    }
    let Some(label) = manifest.labels.get(&image) else {
        let message = "the table does not list it; add a line for it, or leave the file out";
        return Err(Disposition::skipped("not_listed", message));
    };
    let label = label.clone()?;
    Ok(labelled(label, manifest.splits.get(&image).copied(), plan, parts))
}

/// The label of an image that is in no class folder.
fn fill(
    manifest: &Manifest,
    image: usize,
    plan: &Plan,
    parts: &[String],
    unplaced: Disposition,
) -> Result<Place, Disposition> {
    match manifest.labels.get(&image) {
        Some(label) if !plan.ignores(parts) => Ok(labelled(label.clone()?, None, plan, parts)),
        _ => Err(unplaced),
    }
}

fn labelled(label: Label, of_list: Option<Split>, plan: &Plan, parts: &[String]) -> Place {
    let split = label.split.or(of_list).or_else(|| plan.split(parts));
    let (mut classes, split) = (label.classes, split.unwrap_or(Split::Train));
    match classes.len() {
        1 => Place::of_class(classes.pop(), split),
        _ => Place {
            class: None,
            labels: Some(classes),
            split,
        },
    }
}

fn by_file_name(pattern: Option<&Pattern>, plan: &Plan, parts: &[String]) -> Result<Place, Disposition> {
    let split = plan.place(parts).map_err(unplaced)?.split;
    let name = parts.last().map_or("", String::as_str);
    let class = pattern.and_then(|pattern| pattern.class(name)).ok_or_else(|| {
        Disposition::skipped(
            "no_class",
            "its name does not match the pattern; rename it, or choose another pattern",
        )
    })?;
    Ok(Place::of_class(Some(class_name(class)), split))
}

fn unplaced(why: Unplaced) -> Disposition {
    match why {
        Unplaced::NoClass => Disposition::skipped("no_class", "is in no class folder; move it into one"),
        Unplaced::OutsideSplits => Disposition::skipped(
            "outside_splits",
            "is beside the folders for training, validation and test; move it into one",
        ),
        Unplaced::Ignored => Disposition::ignored("ignored_folder", "in a folder that the options leave out"),
    }
}

fn no_table(names: &Names<'_>, manifest: &Manifest) -> Rejection {
    let why: Vec<&str> = manifest
        .doubts
        .iter()
        .map(|doubt| doubt.message.as_str())
        .collect();
    let message = match (names.tables.as_slice(), why.as_slice()) {
        ([], _) => "the archive has no table that labels images; use `classes: folders`".to_owned(),
        (tables, []) => format!(
            "none of the tables {} labels images of the archive",
            named(tables.iter().map(|table| table.parts.join("/")))
        ),
        (_, why) => why.join("; "),
    };
    Rejection::new("no_such_table", message)
}

/// The options in full, as they took effect.
fn resolved(options: &ReadOptions, mode: Mode, structure: &Structure, layout: Layout) -> ReadOptions {
    let mut resolved = options.clone();
    let classes = match mode {
        Mode::Tables => Some(ClassSource::Table),
        Mode::FileNames => Some(ClassSource::FileName),
        // Nothing but leaving it out has the same result.
        Mode::FoldersAndTables => None,
        Mode::Folders if layout == Layout::Unlabelled => Some(ClassSource::None),
        Mode::Folders => Some(ClassSource::Folders),
    };
    resolved.classes = classes;
    if mode == Mode::Tables && resolved.table.is_none() && structure.manifests.len() == 1 {
        resolved.table = structure.manifests.first().cloned();
    }
    if mode != Mode::Tables && !structure.split_folders.is_empty() {
        let mut splits = resolved.splits.unwrap_or_default();
        for folder in &structure.split_folders {
            splits
                .entry(folder.name.clone())
                .or_insert(SplitRole::from(folder.split));
        }
        resolved.splits = Some(splits);
    }
    resolved
}
