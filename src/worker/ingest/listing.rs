//! Pass one: every entry of the archive by name and kind, and what follows from the names alone.
//!
//! The layout can be told only once all paths are known, and a tar.gz cannot be gone back in; so names come first, pixels second
//! (`pipeline`). Files whose name does not say "image" are asked by their first bytes.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap, HashSet},
    path::Path,
};

use super::{
    archive::{self, Entry, Gauge, Kind},
    layout::{Place, Plan, Stray, Tree},
    path::{self, PathFault},
    pulse::Pulse,
    rejection::Rejection,
};
use crate::{
    domain::{dataset::Outcome, split::Split},
    limits::IngestLimits,
    worker::pixels::{self, Content},
};

/// Why an entry is no image of the dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// [`Outcome::Skipped`] or [`Outcome::Ignored`].
    pub outcome: Outcome,
    pub code: &'static str,
    pub message: Cow<'static, str>,
}

impl Settled {
    pub fn skipped(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            outcome: Outcome::Skipped,
            code,
            message: message.into(),
        }
    }

    pub fn ignored(code: &'static str, message: &'static str) -> Self {
        Self {
            outcome: Outcome::Ignored,
            code,
            message: message.into(),
        }
    }
}

/// What is known of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not a file, not reported; it counts as an entry.
    Folder,
    /// Looks like an image: pass two decides.
    Candidate,
    Settled(Settled),
    Used,
}

/// One entry, in the order of the archive.
#[derive(Clone, Debug)]
pub struct Listed {
    /// As it may be shown.
    pub path: String,
    /// Index into [`Listing::classes`], and its split, where it has a place.
    pub class: Option<u32>,
    pub split: Option<Split>,
    pub verdict: Verdict,
}

/// The whole archive, by name.
pub struct Listing {
    pub entries: Vec<Listed>,
    pub plan: Plan,
    /// Names of all class folders that hold or should hold images, sorted. Those of which no image can be used drop out later.
    pub classes: Vec<String>,
    /// Class folders that hold nothing that looks like an image, as they may be shown.
    pub empty_folders: Vec<String>,
}

/// Reads the names. Errors: a [`Rejection`], or a failing disk.
pub fn list(archive: &Path, limits: &IngestLimits, pulse: &Pulse<'_>) -> anyhow::Result<Listing> {
    let mut entries = Vec::new();
    let gauge = Gauge::new(limits, pulse);
    archive::visit(archive, &gauge, &mut |entry| {
        entries.push(Listed {
            path: path::shown(entry.name, limits.max_path_bytes),
            class: None,
            split: None,
            verdict: verdict(entry, limits)?,
        });
        Ok(())
    })?;
    settle_replaced(&mut entries);
    arrange(entries, limits)
}

fn verdict(entry: &mut Entry<'_>, limits: &IngestLimits) -> anyhow::Result<Verdict> {
    let skipped = |code, message: &'static str| Ok(Verdict::Settled(Settled::skipped(code, message)));
    let parts = match path::parts(entry.name, limits.max_path_bytes) {
        Ok(parts) => parts,
        Err(PathFault::Escape) => {
            return Err(Rejection::path_escape(&path::shown(entry.name, limits.max_path_bytes)).into());
        }
        Err(PathFault::Unusable { .. }) if entry.kind == Kind::Folder => return Ok(Verdict::Folder),
        Err(PathFault::Unusable { code, message }) => return skipped(code, message),
    };
    match entry.kind {
        Kind::Folder => return Ok(Verdict::Folder),
        _ if path::is_hidden(&parts) => {
            let message = "a hidden file, or one that a system left behind";
            return Ok(Verdict::Settled(Settled::ignored("hidden", message)));
        }
        Kind::NotAFile => return skipped("not_a_file", "a link or a special file; pack the file itself"),
        Kind::Encrypted => return skipped("encrypted", "encrypted; pack it without a password"),
        Kind::UnsupportedCompression => {
            return skipped(
                "unsupported_compression",
                "packed in a way that is not taken; pack it with deflate",
            );
        }
        Kind::Damaged => return skipped("damaged", DAMAGED),
        Kind::File => {}
    }
    let named_as_image = parts
        .last()
        .is_some_and(|name| pixels::EXTENSIONS.contains(&path::extension(name).as_str()));
    if named_as_image || pixels::content(&entry.head()?) != Content::NotAnImage {
        return Ok(Verdict::Candidate);
    }
    Ok(Verdict::Settled(Settled::ignored("not_an_image", "not an image")))
}

pub const DAMAGED: &str = "damaged inside the archive; pack it again";

/// Of several entries with one path the last counts, as it does when an archive is unpacked.
fn settle_replaced(entries: &mut [Listed]) {
    let mut last: HashMap<String, usize> = HashMap::new();
    for index in 0..entries.len() {
        if entries[index].verdict != Verdict::Candidate {
            continue;
        }
        if let Some(earlier) = last.insert(parts_of(&entries[index].path).join("/"), index) {
            let message = "the archive holds a later file of the same path, which is used instead";
            entries[earlier].verdict = Verdict::Settled(Settled::ignored("replaced", message));
        }
    }
}

/// Candidates have paths that were found good, and showing them changes no separator.
fn parts_of(shown: &str) -> Vec<String> {
    path::parts(shown, usize::MAX).unwrap_or_default()
}

/// Finds the layout and gives every candidate its place.
fn arrange(mut entries: Vec<Listed>, limits: &IngestLimits) -> anyhow::Result<Listing> {
    let mut tree = Tree::default();
    for entry in entries.iter().filter(|entry| entry.verdict == Verdict::Candidate) {
        tree.add_image(&parts_of(&entry.path));
    }
    let plan = Plan::of(&tree);
    // Classes are numbered as they come, then once more in the order of their names.
    let mut numbers: HashMap<String, u32> = HashMap::new();
    for entry in &mut entries {
        if entry.verdict != Verdict::Candidate {
            continue;
        }
        match plan.place(&parts_of(&entry.path)) {
            Err(stray) => entry.verdict = Verdict::Settled(stray_entry(stray)),
            Ok(Place { class, split }) => {
                entry.split = Some(split);
                let next = numbers.len() as u32;
                entry.class = class.map(|name| *numbers.entry(name).or_insert(next));
            }
        }
    }
    if numbers.len() > limits.max_classes {
        let message = format!(
            "the archive has {} class folders and at most {} are taken; merge some, or upload several datasets",
            numbers.len(),
            limits.max_classes
        );
        return Err(Rejection::new("too_many_classes", message).into());
    }
    let classes = number_by_name(numbers, &mut entries);
    let empty_folders = empty_folders(&entries, &plan);
    Ok(Listing {
        entries,
        plan,
        classes,
        empty_folders,
    })
}

fn stray_entry(stray: Stray) -> Settled {
    match stray {
        Stray::NoClass => Settled::skipped("no_class", "lies in no class folder; move it into one"),
        Stray::OutsideSplits => Settled::skipped(
            "outside_splits",
            "lies beside the folders for training, validation and test; move it into one",
        ),
    }
}

fn number_by_name(numbers: HashMap<String, u32>, entries: &mut [Listed]) -> Vec<String> {
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

/// Class folders that the archive names and that hold no candidate, each split's own.
fn empty_folders(entries: &[Listed], plan: &Plan) -> Vec<String> {
    let filled: HashSet<Vec<String>> = entries
        .iter()
        .filter(|entry| entry.class.is_some())
        .map(|entry| {
            let mut parts = parts_of(&entry.path);
            parts.truncate(plan.class_depth());
            parts
        })
        .collect();
    let mut empty = BTreeSet::new();
    for entry in entries.iter().filter(|entry| entry.verdict == Verdict::Folder) {
        let parts = parts_of(&entry.path);
        if plan.is_class_folder(&parts) && !path::is_hidden(&parts) && !filled.contains(&parts) {
            empty.insert(parts.join("/"));
        }
    }
    empty.into_iter().collect()
}
