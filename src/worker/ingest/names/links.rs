//! Links inside an archive: a link to a file of the archive is one more name of that file, anything else is left out by its own name.
//!
//! Nothing is ever followed on a disk; a target is a path within the archive, in text.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{
    decoded::Encoding,
    entry::{Disposition, ListedEntry, Verdict, parts_of},
    path,
    seen::Seen,
};
use crate::{
    domain::datasets::dataset::DatasetWarning,
    worker::{ingest::archive::Kind, pixels::EXTENSIONS},
};

/// Links that lead to links; more of them lead nowhere, or in a circle.
const MAX_HOPS: usize = 16;
/// How much of a target is shown.
const MAX_SHOWN: usize = 200;
const EXAMPLES: usize = 5;

/// Gives every link to a file of the archive that file's bytes, and every other one its reason to be left out.
pub fn resolve(entries: &mut [ListedEntry], seen: &[Seen], encoding: &Encoding) {
    let is_link = |index: &usize| matches!(seen[*index].kind, Kind::HardLink | Kind::SymbolicLink);
    // A hidden link, or one whose name cannot be used, has its verdict.
    let undecided = |entry: &ListedEntry| matches!(&entry.verdict, Verdict::Disposition(settled) if settled.code == "not_a_file");
    let links: Vec<usize> = (0..entries.len())
        .filter(is_link)
        .filter(|index| undecided(&entries[*index]))
        .collect();
    if links.is_empty() {
        return;
    }
    let paths: Vec<Vec<String>> = entries.iter().map(|entry| parts_of(&entry.path)).collect();
    let by_path: HashMap<&[String], usize> = paths
        .iter()
        .enumerate()
        .map(|(index, parts)| (parts.as_slice(), index))
        .collect();
    let folders: HashSet<&[String]> = paths
        .iter()
        .flat_map(|parts| (1..parts.len()).map(|end| &parts[..end]))
        .collect();
    for link in links {
        let found = follow(link, seen, &paths, &by_path, encoding);
        let verdict = match &found {
            Ok(file) => match names_an_image(&entries[link], &entries[*file], &seen[*file]) {
                true => {
                    entries[link].same_as = Some(*file);
                    entries[*file].is_linked = true;
                    Verdict::Candidate
                }
                false => entries[*file].verdict.clone(),
            },
            Err(target) => left_out(target.as_deref(), &by_path, seen, &folders),
        };
        entries[link].verdict = verdict;
    }
}

/// A file may be hidden, as the stores of some programs are, and have no extension: its name is that of the link.
fn names_an_image(link: &ListedEntry, file: &ListedEntry, seen: &Seen) -> bool {
    let named = EXTENSIONS.contains(&path::extension(&link.path).as_str());
    seen.kind == Kind::File && (named || file.verdict == Verdict::Candidate)
}

/// The entry at the end of a chain of links, which is none itself; or where the chain ends outside of the files.
fn follow(
    link: usize,
    seen: &[Seen],
    paths: &[Vec<String>],
    by_path: &HashMap<&[String], usize>,
    encoding: &Encoding,
) -> Result<usize, Option<Vec<String>>> {
    let mut at = link;
    for _ in 0..MAX_HOPS {
        let target = target(&seen[at], &paths[at], encoding).ok_or(None)?;
        at = match by_path.get(target.as_slice()) {
            Some(next) if !matches!(seen[*next].kind, Kind::Folder) => *next,
            _ => return Err(Some(target)),
        };
        if !matches!(seen[at].kind, Kind::HardLink | Kind::SymbolicLink) {
            return Ok(at);
        }
    }
    Err(None)
}

/// The path that a link leads to; none if that is outside of the archive.
fn target(link: &Seen, path: &[String], encoding: &Encoding) -> Option<Vec<String>> {
    let text = encoding.decode(link.target.as_deref()?, link.is_utf_8);
    if link.kind == Kind::HardLink {
        // Its target is named as entries are.
        return path::parts(&text, usize::MAX).ok();
    }
    if path::is_rooted(&text) {
        return None;
    }
    let mut parts = path
        .split_last()
        .map_or(Vec::new(), |(_, folders)| folders.to_vec());
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part.to_owned()),
        }
    }
    (!parts.is_empty()).then_some(parts)
}

fn left_out(
    target: Option<&[String]>,
    by_path: &HashMap<&[String], usize>,
    seen: &[Seen],
    folders: &HashSet<&[String]>,
) -> Verdict {
    let is_folder = |target: &[String]| {
        folders.contains(target)
            || by_path
                .get(target)
                .is_some_and(|index| seen[*index].kind == Kind::Folder)
    };
    let message = match target {
        None => {
            "a link that leads out of the archive, or in a circle; pack the file itself (`tar -h`)".to_owned()
        }
        Some(target) if is_folder(target) => format!(
            "a link to the folder `{}`, whose files are there under their own names; to have them here as well, pack with `tar -h`",
            path::shown(&target.join("/"), MAX_SHOWN)
        ),
        Some(target) => format!(
            "a link to `{}`, which the archive does not contain; pack the file itself (`tar -h`)",
            path::shown(&target.join("/"), MAX_SHOWN)
        ),
    };
    Verdict::settled(Disposition::skipped("not_a_file", message))
}

/// Leaves out a folder of which every file is, by links, also in one of several other folders that have nothing else: those sort its files,
/// and it only stores them. Which of the names an archive calls the file and which the link is a matter of chance.
pub fn settle_stores(entries: &mut [ListedEntry]) -> Option<DatasetWarning> {
    if !entries.iter().any(|entry| entry.same_as.is_some()) {
        return None;
    }
    // By folder and by file.
    let mut folders: BTreeMap<Vec<String>, Vec<usize>> = BTreeMap::new();
    let mut names: HashMap<usize, Vec<(usize, Vec<String>)>> = HashMap::new();
    for (index, entry) in entries.iter().enumerate() {
        if entry.verdict == Verdict::Candidate {
            let mut folder = parts_of(&entry.path);
            folder.pop();
            folders.entry(folder.clone()).or_default().push(index);
            names
                .entry(entry.same_as.unwrap_or(index))
                .or_default()
                .push((index, folder));
        }
    }
    let stores: Vec<&[usize]> = folders
        .iter()
        .filter(|(folder, files)| is_store(folder, files, entries, &names, &folders))
        .map(|(_, files)| files.as_slice())
        .collect();
    let stores: BTreeSet<usize> = stores.into_iter().flatten().copied().collect();
    let mut examples = Vec::new();
    for index in &stores {
        let file = entries[*index].same_as.unwrap_or(*index);
        let other = names[&file].iter().find(|(other, _)| !stores.contains(other));
        let other = other.map_or(String::new(), |(other, _)| entries[*other].path.clone());
        if examples.len() < EXAMPLES {
            examples.push(format!("{} = {other}", entries[*index].path));
        }
        entries[file].is_linked = true;
        entries[*index].verdict = Verdict::settled(Disposition::ignored(
            "linked",
            "the same file is, as a link, in a folder that sorts it, and is used there",
        ));
    }
    (!stores.is_empty()).then(|| DatasetWarning {
        code: "linked_files".to_owned(),
        message: format!(
            "{} files are in the archive under several names, by links; the folder that has all of them was left out, and the \
             folders that sort them are used",
            stores.len()
        ),
        count: stores.len() as u64,
        examples,
    })
}

fn is_store(
    folder: &[String],
    files: &[usize],
    entries: &[ListedEntry],
    names: &HashMap<usize, Vec<(usize, Vec<String>)>>,
    folders: &BTreeMap<Vec<String>, Vec<usize>>,
) -> bool {
    let mut shared: BTreeMap<&[String], usize> = BTreeMap::new();
    for index in files {
        let elsewhere: BTreeSet<usize> = names[&entries[*index].same_as.unwrap_or(*index)]
            .iter()
            .filter(|(_, other)| other != folder)
            .map(|(other, _)| *other)
            .collect();
        if elsewhere.is_empty() {
            return false;
        }
        for (other, its_folder) in &names[&entries[*index].same_as.unwrap_or(*index)] {
            if elsewhere.contains(other) {
                *shared.entry(its_folder).or_default() += 1;
            }
        }
    }
    shared.len() > 1
        && shared
            .iter()
            .all(|(other, count)| folders[*other].len() == *count)
}
