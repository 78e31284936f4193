//! What the folders of one level stand for, if not for classes: splits, or pieces of a whole.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    tree::Tree,
    words::{class_name, names_a_piece, numbered_stem, says_nothing, split_of, worded_split},
};
use crate::{
    domain::datasets::{dataset::DatasetWarning, reading::SplitRole, split::Split},
    worker::ingest::names::doubt::{doubt, named},
};

/// What a caller said about folders, by name or path.
pub type Chosen = BTreeMap<String, SplitRole>;

/// The folders of one level that stand for splits, or are left out.
#[derive(Debug, Default)]
pub struct Roles {
    pub folders: BTreeMap<String, SplitRole>,
    /// Said if that is a guess.
    pub doubt: Option<DatasetWarning>,
}

/// The role that the caller gave the folder `name` in the folder `path`.
pub fn chosen_role(chosen: &Chosen, path: &[String], name: &str) -> Option<SplitRole> {
    if chosen.is_empty() {
        return None;
    }
    let name = class_name(name);
    let mut whole: Vec<String> = path.iter().map(|folder| class_name(folder)).collect();
    whole.push(name.clone());
    let whole = whole.join("/");
    chosen
        .iter()
        .find(|(key, _)| {
            let key = class_name(key.trim_matches('/'));
            key == name || key == whole
        })
        .map(|(_, role)| *role)
}

/// Roles by the caller's choice, where it names any folder here. The others keep their usual meaning; those that hold the same folders as a
/// chosen one, or images without folders as it does, are for training.
pub fn chosen(here: &Tree, path: &[String], chosen: &Chosen) -> Option<Roles> {
    let mut roles = Roles::default();
    for (name, _) in here.with_images() {
        if let Some(role) = chosen_role(chosen, path, name) {
            roles.folders.insert(name.clone(), role);
        }
    }
    if roles.folders.is_empty() {
        return None;
    }
    let divided = roles
        .folders
        .keys()
        .filter_map(|name| here.folder(name))
        .any(Tree::is_divided);
    let others: Vec<(String, SplitRole)> = here
        .with_images()
        .filter(|(name, _)| !roles.folders.contains_key(*name))
        .filter_map(|(name, folder)| {
            let worded = split_of(name).or_else(|| worded_split(name).map(|found| found.split));
            let similar = folder.is_divided() == divided;
            worded
                .or(similar.then_some(Split::Train))
                .map(|split| (name.clone(), split.into()))
        })
        .collect();
    roles.folders.extend(others);
    Some(roles)
}

/// Roles by words for splits in their plain spelling, with those beside them that only add numbers or words like `images`.
pub fn plain(here: &Tree) -> Roles {
    let role = |name: &String| {
        let worded = || worded_split(name).filter(|found| found.rest.is_empty());
        let split = split_of(name).or_else(|| worded().map(|found| found.split))?;
        Some((name.clone(), split.into()))
    };
    Roles {
        folders: here.with_images().filter_map(|(name, _)| role(name)).collect(),
        doubt: None,
    }
}

/// Roles by words for splits among other words (`seg_train`, `seg_test`). Certain if the other words are the same everywhere; a guess if they
/// differ and the same folders are in several of them.
pub fn worded(here: &Tree) -> Option<Roles> {
    let found: Vec<_> = here
        .with_images()
        .filter_map(|(name, folder)| worded_split(name).map(|found| (name, folder, found)))
        .collect();
    let trains = found.iter().any(|(.., found)| found.split == Split::Train);
    let several = found.iter().any(|(.., found)| found.split != Split::Train);
    let roles = |doubt| {
        let role = |(name, _, found): &(&String, &Tree, super::words::WordedSplit)| {
            ((*name).clone(), SplitRole::from(found.split))
        };
        Some(Roles {
            folders: found.iter().map(role).collect(),
            doubt,
        })
    };
    if !trains {
        return None;
    }
    let first = &found[0].2.rest;
    let same = found.iter().all(|(.., found)| found.rest == *first);
    if !several {
        // `seg_train` beside `seg_pred`: one split, and something that is named after the same thing.
        let related = |name: &String| {
            let words: BTreeSet<String> = super::words::words(name).into_iter().collect();
            !first.is_empty() && first.is_subset(&words)
        };
        let mut others = here
            .with_images()
            .filter(|(name, _)| worded_split(name).is_none());
        let alone = found.len() == 1 && found[0].1.is_divided();
        let beside = here.with_images().count() > 1;
        return (alone && beside && others.all(|(name, _)| related(name)))
            .then(|| roles(None))
            .flatten();
    }
    if same {
        return roles(None);
    }
    let folders: Vec<&Tree> = found.iter().map(|(_, folder, _)| *folder).collect();
    if !repeat(&folders) {
        return None;
    }
    let names = || found.iter().map(|(name, ..)| name.as_str());
    let message = format!(
        "the folders {} were read as splits because of the words in their names and because they hold the same folders; if they are \
         classes, read the archive again with `classes: folders` and their level, and if a split is wrong, with `splits`",
        named(names())
    );
    roles(Some(doubt("splits_guessed", message, names())))
}

/// Folders that are pieces of one whole: numbered alike, and with the same folders in several of them (`fold_1/cat`, `fold_2/cat`), or named as
/// pieces (`images_part_1`, `images_part_2`). All are for training.
pub fn pieces(here: &Tree) -> Option<Roles> {
    let folders: Vec<(&String, &Tree)> = here.with_images().collect();
    let stems: Option<Vec<Vec<String>>> = folders.iter().map(|(name, _)| numbered_stem(name)).collect();
    let stems = stems.filter(|stems| stems.len() > 1 && stems.windows(2).all(|pair| pair[0] == pair[1]))?;
    let trees: Vec<&Tree> = folders.iter().map(|(_, folder)| *folder).collect();
    let named_so = names_a_piece(&stems[0]) && trees.iter().all(|folder| folder.is_divided());
    let flat_pieces = names_a_piece(&stems[0])
        && stems[0].iter().any(|word| says_nothing(word))
        && trees.iter().all(|folder| !folder.is_divided());
    if !repeat(&trees) && !named_so && !flat_pieces {
        return None;
    }
    let names = || folders.iter().map(|(name, _)| name.as_str());
    let message = format!(
        "the folders {} were read as pieces of one whole, all for training; to use one for validation, read the archive again with \
         `splits`, such as {{\"{}\": \"val\"}}; if they are classes, with `classes: folders` and their level",
        named(names()),
        folders.last().map_or("", |(name, _)| name.as_str())
    );
    Some(Roles {
        folders: folders
            .iter()
            .map(|(name, _)| ((*name).clone(), SplitRole::Train))
            .collect(),
        doubt: Some(doubt("folders_merged", message, names())),
    })
}

/// The first of several numbered folders that each hold the same splits (`fold_1/train`, `fold_1/val`, `fold_2/train` …): the same images are
/// usually in all of them, so only one can be read.
pub fn repeated_divisions(here: &Tree, path: &[String], chosen: &Chosen) -> Option<(String, DatasetWarning)> {
    let ignored = |name: &str| chosen_role(chosen, path, name) == Some(SplitRole::Ignore);
    let folders: Vec<(&String, &Tree)> = here.with_images().filter(|(name, _)| !ignored(name)).collect();
    let stems: Option<Vec<Vec<String>>> = folders.iter().map(|(name, _)| numbered_stem(name)).collect();
    let stems = stems.filter(|stems| !stems.is_empty() && stems.windows(2).all(|pair| pair[0] == pair[1]))?;
    if folders.len() < 2 && here.with_images().count() < 2 {
        return None;
    }
    let holds_classes = |folder: &Tree| folder.with_images().any(|(_, split)| split.is_divided());
    let divided = |folder: &Tree| {
        folder.holds_splits_only() && folder.with_images().count() > 1 && holds_classes(folder)
    };
    if !names_a_piece(&stems[0]) && !folders.iter().all(|(_, folder)| holds_classes(folder)) {
        return None;
    }
    if !folders.iter().all(|(_, folder)| divided(folder)) {
        return None;
    }
    let first = folders[0].0.clone();
    let others = folders[1..].iter().map(|(name, _)| name.as_str());
    let message = format!(
        "each of the folders {} has its own training and validation images, usually the same ones divided differently; only `{first}` was \
         read; to read another one, read the archive again with `splits`, such as {{\"{first}\": \"ignore\"}}",
        named(folders.iter().map(|(name, _)| name.as_str()))
    );
    Some((first, doubt("folds_with_splits", message, others)))
}

/// Whether most of the folders inside these are in more than one of them.
fn repeat(folders: &[&Tree]) -> bool {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for folder in folders {
        // `train/train/CLASS`
        let mut inner = *folder;
        while let Some((_, only)) = inner.only()
            && only.is_divided()
        {
            inner = only;
        }
        for (name, _) in inner.with_images() {
            *seen.entry(class_name(name)).or_default() += 1;
        }
    }
    let repeated = seen.values().filter(|count| **count > 1).count();
    !seen.is_empty() && repeated * 2 >= seen.len() && folders.iter().all(|folder| folder.is_divided())
}
