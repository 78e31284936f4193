//! Which folders are splits and which are classes, derived from the paths alone. Pure: paths in, a plan out.

mod roles;
mod tree;
mod words;

use std::collections::BTreeMap;

pub use self::{
    roles::Chosen,
    tree::Tree,
    words::{
        alike, class_name, is_of_masks as is_named_like_masks, says_nothing, split_of, split_of_cell,
        worded_split, words,
    },
};
use self::{
    roles::{Roles, chosen_role},
    words::is_of_masks,
};
use super::doubt::{doubt, named};
use crate::domain::datasets::{
    dataset::{self, DatasetWarning, SplitFolder, Structure},
    reading::SplitRole,
    split::Split,
};

/// How the folders of an archive are interpreted.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Folders around everything else.
    wrapping: Vec<String>,
    order: Order,
    /// Every folder that was read as a split, and how.
    split_folders: BTreeMap<String, SplitFolderPlan>,
    has_classes: bool,
    /// Where the caller says that the class folder is; 1 is the outermost.
    class_level: Option<usize>,
    chosen: Chosen,
    doubts: Vec<DatasetWarning>,
}

/// How a folder above the classes is interpreted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SplitFolderPlan {
    role: SplitRole,
    /// Folders around everything inside it.
    inner: Vec<String>,
}

/// Position of the splits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// `CLASS/…`
    NoSplits,
    /// `train/CLASS/…`
    SplitFirst,
    /// `CLASS/train/…`
    ClassFirst,
}

/// The class and split of an image.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Name of its class; none in an unlabelled dataset, and where `labels` says more.
    pub class: Option<String>,
    /// The names of its classes, where they are several or none.
    pub labels: Option<Vec<String>>,
    pub split: Split,
}

impl Place {
    /// An image of one class; of none in an unlabelled dataset.
    pub fn of_class(class: Option<String>, split: Split) -> Self {
        Self {
            class,
            labels: None,
            split,
        }
    }

    /// The names of its classes: one, unless it has several labels or none.
    pub fn label_set(&self) -> &[String] {
        self.labels.as_deref().unwrap_or(self.class.as_slice())
    }
}

/// Why an image has no class or split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unplaced {
    /// It is beside the class folders.
    NoClass,
    /// It is beside the folders for training, validation and test.
    OutsideSplits,
    /// The caller wants its folder to be left out.
    Ignored,
}

impl Plan {
    pub fn of(tree: &Tree, chosen: &Chosen) -> Self {
        let mut wrapping = Vec::new();
        let mut doubts = Vec::new();
        let mut here = tree;
        loop {
            let plan = |order, split_folders, has_classes, doubt: Option<DatasetWarning>| Plan {
                wrapping: wrapping.clone(),
                order,
                split_folders,
                has_classes,
                class_level: None,
                chosen: chosen.clone(),
                doubts: doubts.iter().cloned().chain(doubt).collect(),
            };
            let split_first = |roles: Roles| {
                let within = |(name, role): (String, SplitRole)| {
                    let (inner, labelled) = here
                        .folder(&name)
                        .map_or_else(Default::default, |folder| within(&name, folder));
                    (
                        name,
                        SplitFolderPlan { role, inner },
                        labelled && role != SplitRole::Ignore,
                    )
                };
                let folders: Vec<_> = roles.folders.into_iter().map(within).collect();
                let labelled = folders.iter().any(|(.., labelled)| *labelled);
                let folders = folders.into_iter().map(|(name, folder, _)| (name, folder));
                plan(Order::SplitFirst, folders.collect(), labelled, roles.doubt)
            };
            if !here.is_divided() && here.direct * 2 >= here.total {
                return plan(Order::NoSplits, BTreeMap::new(), false, None);
            }
            if let Some((first, doubt)) = roles::repeated_divisions(here, &wrapping, chosen)
                && let Some(folder) = here.folder(&first)
            {
                wrapping.push(first);
                doubts.push(doubt);
                here = folder;
                continue;
            }
            if let Some(roles) = roles::chosen(here, &wrapping, chosen) {
                return split_first(roles);
            }
            if has_splits(here) {
                return split_first(roles::plain(here));
            }
            if let Some(roles) = roles::worded(here) {
                return split_first(roles);
            }
            if classes_hold_splits(here, chosen) {
                let names = here.with_images().flat_map(|(_, class)| class.with_images());
                let folders = names.filter_map(|(name, _)| {
                    let role =
                        chosen_role(chosen, &[], name).or_else(|| split_of(name).map(SplitRole::from))?;
                    Some((
                        name.clone(),
                        SplitFolderPlan {
                            role,
                            inner: Vec::new(),
                        },
                    ))
                });
                return plan(Order::ClassFirst, folders.collect(), true, None);
            }
            if let Some(roles) = roles::pieces(here) {
                return split_first(roles);
            }
            if let Some(doubt) = images_and_masks(here) {
                return plan(Order::NoSplits, BTreeMap::new(), false, Some(doubt));
            }
            match here.only() {
                Some((name, folder)) if folder.is_divided() || says_nothing(name) => {
                    wrapping.push(name.clone());
                    here = folder;
                }
                _ => return plan(Order::NoSplits, BTreeMap::new(), true, None),
            }
        }
    }

    /// The same splits, and the folder at this level (1: the outermost) as the class.
    pub fn at_level(mut self, level: usize) -> Self {
        self.class_level = Some(level);
        self.has_classes = true;
        self.doubts.clear();
        self
    }

    /// The same splits, without classes.
    pub fn without_classes(mut self) -> Self {
        self.has_classes = false;
        self.class_level = None;
        self.doubts.clear();
        self
    }

    /// What was guessed.
    pub fn doubts(&self) -> &[DatasetWarning] {
        &self.doubts
    }

    pub fn layout(&self) -> dataset::Layout {
        let has_splits = self.order != Order::NoSplits;
        match (self.has_classes, self.wrapping.is_empty(), has_splits) {
            (false, _, _) => dataset::Layout::Unlabelled,
            (true, false, _) => dataset::Layout::Wrapped,
            (true, true, true) => dataset::Layout::Splits,
            (true, true, false) => dataset::Layout::Flat,
        }
    }

    pub fn has_classes(&self) -> bool {
        self.has_classes
    }

    /// The plan in words; `folders` are those that the archive lists without an image in them.
    pub fn structure<'a>(&self, folders: impl Iterator<Item = &'a [String]>) -> Structure {
        let mut names: Vec<&str> = self.split_folders.keys().map(String::as_str).collect();
        for folder in folders {
            if let Some([name]) = folder.strip_prefix(self.wrapping.as_slice())
                && self.order == Order::SplitFirst
                && split_of(name).is_some()
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        names.dedup();
        let split_folders = names.into_iter().filter_map(|name| {
            let split = match self.split_folders.get(name) {
                Some(folder) => folder.role.split(),
                None => split_of(name),
            };
            let name = name.to_owned();
            split.map(|split| SplitFolder { name, split })
        });
        let mut pattern = self.wrapping.clone();
        let class = self.has_classes.then_some("{class}");
        let split = (self.order != Order::NoSplits).then_some("{split}");
        let levels = match self.order {
            Order::ClassFirst => [class, split],
            _ => [split, class],
        };
        match self.class_level {
            None => pattern.extend(levels.into_iter().flatten().map(str::to_owned)),
            Some(level) => {
                if self.order == Order::SplitFirst {
                    pattern.push("{split}".to_owned());
                }
                pattern.resize(level - 1, "*".to_owned());
                pattern.push("{class}".to_owned());
            }
        }
        pattern.push("…".to_owned());
        Structure {
            pattern: pattern.join("/"),
            wrapping: self.wrapping.clone(),
            split_folders: split_folders.collect(),
            manifests: Vec::new(),
        }
    }

    /// The class and split of an image; `parts` are its folders and its own name.
    pub fn place(&self, parts: &[String]) -> Result<Place, Unplaced> {
        let (split, inside) = match (self.inside(parts), self.class_level) {
            // Images beside the usual folders count if the caller says where the class is.
            (Err(Unplaced::OutsideSplits | Unplaced::NoClass), Some(_)) => (Split::Train, &[][..]),
            (inside, _) => inside?,
        };
        let class = match self.class_level {
            _ if !self.has_classes => return Ok(Place::of_class(None, split)),
            Some(level) if level < parts.len() => &parts[level - 1],
            None if inside.len() > 1 => &inside[0],
            _ => return Err(Unplaced::NoClass),
        };
        Ok(Place::of_class(Some(class_name(class)), split))
    }

    /// The split of an image, whether it has a class or not; none if it has none.
    pub fn split(&self, parts: &[String]) -> Option<Split> {
        self.inside(parts).ok().map(|(split, _)| split)
    }

    /// Whether the caller wants the image to be left out.
    pub fn ignores(&self, parts: &[String]) -> bool {
        matches!(self.inside(parts), Err(Unplaced::Ignored))
    }

    /// The split of an image, and its folders from the class folder on, with its own name.
    fn inside<'a>(&self, parts: &'a [String]) -> Result<(Split, &'a [String]), Unplaced> {
        if self.is_left_out(parts) {
            return Err(Unplaced::Ignored);
        }
        let Some(inside) = parts.strip_prefix(self.wrapping.as_slice()) else {
            // Beside the wrapping folders: a logo, a preview. In an unlabelled dataset every image counts.
            return match (self.order, self.has_classes) {
                (Order::NoSplits, false) => Ok((Split::Train, parts)),
                (Order::NoSplits, true) => Err(Unplaced::NoClass),
                _ => Err(Unplaced::OutsideSplits),
            };
        };
        let role_of = |folder: &String| {
            let known = self.split_folders.get(folder).map(|folder| folder.role);
            match known.or_else(|| split_of(folder).map(SplitRole::from)) {
                None => Err(Unplaced::OutsideSplits),
                Some(role) => role.split().ok_or(Unplaced::Ignored),
            }
        };
        match (self.order, inside) {
            (Order::NoSplits, _) => Ok((Split::Train, inside)),
            (Order::SplitFirst, [folder, rest @ ..]) if !rest.is_empty() => {
                let split = role_of(folder)?;
                let inner = self
                    .split_folders
                    .get(folder)
                    .map_or(&[][..], |folder| &folder.inner);
                Ok((split, rest.strip_prefix(inner).unwrap_or(&[])))
            }
            (Order::ClassFirst, [_, folder, rest @ ..]) if !rest.is_empty() => Ok((role_of(folder)?, inside)),
            _ => Err(Unplaced::OutsideSplits),
        }
    }

    /// Whether the caller said so of any of its folders.
    fn is_left_out(&self, parts: &[String]) -> bool {
        !self.chosen.is_empty()
            && (1..parts.len()).any(|depth| {
                chosen_role(&self.chosen, &parts[..depth - 1], &parts[depth - 1]) == Some(SplitRole::Ignore)
            })
    }

    /// Depth of the class folder in a path.
    pub fn class_depth(&self, parts: &[String]) -> usize {
        if let Some(level) = self.class_level {
            return level;
        }
        let inside = self.wrapping.len();
        match self.order {
            Order::NoSplits | Order::ClassFirst => inside + 1,
            Order::SplitFirst => {
                let folder = parts.get(inside).and_then(|name| self.split_folders.get(name));
                inside + 1 + folder.map_or(0, |folder| folder.inner.len()) + 1
            }
        }
    }

    /// Whether a folder is a class folder: an empty one is worth reporting.
    pub fn is_class_folder(&self, parts: &[String]) -> bool {
        if !self.has_classes || parts.len() != self.class_depth(parts) {
            return false;
        }
        let mut image = parts.to_vec();
        if self.order == Order::ClassFirst {
            return parts.starts_with(&self.wrapping);
        }
        image.push(String::new());
        self.place(&image).is_ok_and(|place| place.class.is_some())
    }
}

/// Whether the folders here are splits. A class may be named "train" too, so a split beside other folders of images counts only if it is
/// for training and itself divided into classes, or is not alone.
fn has_splits(here: &Tree) -> bool {
    let (splits, others): (Vec<_>, Vec<_>) =
        here.with_images().partition(|(name, _)| split_of(name).is_some());
    let trains = |(name, _): &(&String, &Tree)| split_of(name) == Some(Split::Train);
    match (splits.as_slice(), others.as_slice()) {
        ([], _) => false,
        // A wrapping folder that happens to be called "test".
        ([(_, only)], []) => !only.holds_splits_only(),
        (_, []) => true,
        ([only], _) => trains(only) && only.1.is_divided(),
        (several, _) => several.iter().any(trains),
    }
}

/// Whether the folders here are classes that are each divided into splits: all of them are, and training is among their splits.
fn classes_hold_splits(here: &Tree, chosen: &Chosen) -> bool {
    let classes: Vec<_> = here.with_images().map(|(_, folder)| folder).collect();
    let names = || classes.iter().flat_map(|class| class.with_images());
    let chose = |name: &str| chosen_role(chosen, &[], name);
    let has =
        |wanted: Split| names().any(|(name, _)| chose(name).is_some() || split_of(name) == Some(wanted));
    let holds_splits_only = |class: &&Tree| {
        class.is_divided()
            && class
                .with_images()
                .all(|(name, _)| chose(name).is_some() || split_of(name).is_some())
    };
    classes.len() > 1
        && here.is_divided()
        && classes.iter().all(holds_splits_only)
        && has(Split::Train)
        && (has(Split::Val) || has(Split::Test))
}

/// Images beside images that annotate them, such as `images` and `masks`: neither is a class.
fn images_and_masks(here: &Tree) -> Option<DatasetWarning> {
    let folders: Vec<(&String, &Tree)> = here.with_images().collect();
    let flat = folders.iter().all(|(_, folder)| !folder.is_divided());
    let known = folders
        .iter()
        .all(|(name, _)| says_nothing(name) || is_of_masks(name));
    let images = folders.iter().any(|(name, _)| says_nothing(name));
    if folders.len() < 2 || !flat || !known || !images {
        return None;
    }
    let names = || folders.iter().map(|(name, _)| name.as_str());
    let message = format!(
        "the folders {} are not classes by their names, so the dataset has none; if they are, read the archive again with \
         `classes: folders` and their level",
        named(names())
    );
    Some(doubt("folders_not_classes", message, names()))
}

/// The folders around everything in a split, such as `images` in `train/images/CLASS/…` or `train` in `train/train/…`, and whether they
/// contain class folders. A lone folder with a meaningless name is not a class.
fn within(split: &str, folder: &Tree) -> (Vec<String>, bool) {
    let mut inner = Vec::new();
    let mut here = folder;
    while let Some((name, folder)) = here.only()
        && here.is_divided()
        && (says_nothing(name) || repeats(split, name))
    {
        inner.push(name.clone());
        here = folder;
    }
    (inner, here.is_divided())
}

/// Whether a folder inside a split repeats its name or its word: `seg_train/seg_train`, `train/Training`.
fn repeats(split: &str, name: &str) -> bool {
    let of = |name| split_of(name).or_else(|| worded_split(name).map(|found| found.split));
    class_name(split) == class_name(name) || (split_of(name).is_some() && of(split) == of(name))
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
