//! Which folders are splits and which are classes, derived from the paths alone. Pure: paths in, a plan out.

mod tree;
mod words;

use std::collections::BTreeMap;

use self::words::says_nothing;
pub use self::{
    tree::Tree,
    words::{class_name, split_of},
};
use crate::domain::datasets::{
    dataset::{self, SplitFolder, Structure},
    split::Split,
};

/// How the folders of an archive are interpreted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Folders around everything else.
    wrapping: Vec<String>,
    order: Order,
    /// Every folder that was read as a split, and the folders around everything inside it.
    split_folders: BTreeMap<String, Vec<String>>,
    has_classes: bool,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name of its class; none in an unlabelled dataset.
    pub class: Option<String>,
    pub split: Split,
}

/// Why an image has no class or split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stray {
    /// It is beside the class folders.
    NoClass,
    /// It is beside the folders for training, validation and test.
    OutsideSplits,
}

impl Plan {
    pub fn of(tree: &Tree) -> Self {
        let mut wrapping = Vec::new();
        let mut here = tree;
        loop {
            let plan = |order, split_folders, has_classes| Plan {
                wrapping: wrapping.clone(),
                order,
                split_folders,
                has_classes,
            };
            if !here.is_divided() && here.direct * 2 >= here.total {
                return plan(Order::NoSplits, BTreeMap::new(), false);
            }
            if has_splits(here) {
                let splits = here.with_images().filter(|(name, _)| split_of(name).is_some());
                let inner: Vec<_> = splits
                    .map(|(name, folder)| (name.clone(), within(name, folder)))
                    .collect();
                let labelled = inner.iter().any(|(_, (_, holds_classes))| *holds_classes);
                let folders = inner.into_iter().map(|(name, (inner, _))| (name, inner));
                return plan(Order::SplitFirst, folders.collect(), labelled);
            }
            if classes_hold_splits(here) {
                let names = here.with_images().flat_map(|(_, class)| class.with_images());
                let folders = names.map(|(name, _)| (name.clone(), Vec::new()));
                return plan(Order::ClassFirst, folders.collect(), true);
            }
            match here.only() {
                Some((name, folder)) if folder.is_divided() || says_nothing(name) => {
                    wrapping.push(name.clone());
                    here = folder;
                }
                _ => return plan(Order::NoSplits, BTreeMap::new(), true),
            }
        }
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
            let name = name.to_owned();
            split_of(&name).map(|split| SplitFolder { name, split })
        });
        let mut pattern = self.wrapping.clone();
        let class = self.has_classes.then_some("{class}");
        let split = (self.order != Order::NoSplits).then_some("{split}");
        let levels = match self.order {
            Order::ClassFirst => [class, split],
            _ => [split, class],
        };
        pattern.extend(levels.into_iter().flatten().map(str::to_owned));
        pattern.push("…".to_owned());
        Structure {
            pattern: pattern.join("/"),
            wrapping: self.wrapping.clone(),
            split_folders: split_folders.collect(),
            manifests: Vec::new(),
        }
    }

    /// The class and split of an image; `parts` are its folders and its own name.
    pub fn place(&self, parts: &[String]) -> Result<Place, Stray> {
        let unlabelled = |split| Ok(Place { class: None, split });
        let Some(inside) = parts.strip_prefix(self.wrapping.as_slice()) else {
            // Beside the wrapping folders: a logo, a preview. In an unlabelled dataset every image counts.
            return match (self.order, self.has_classes) {
                (Order::NoSplits, false) => unlabelled(Split::Train),
                (Order::NoSplits, true) => Err(Stray::NoClass),
                _ => Err(Stray::OutsideSplits),
            };
        };
        let (split, class) = match (self.order, inside) {
            (Order::NoSplits, _) => (Split::Train, inside),
            (Order::SplitFirst, [folder, rest @ ..]) if !rest.is_empty() => {
                let split = split_of(folder).ok_or(Stray::OutsideSplits)?;
                let inner = self.split_folders.get(folder).map_or(&[][..], Vec::as_slice);
                (split, rest.strip_prefix(inner).unwrap_or(&[]))
            }
            (Order::ClassFirst, [_, folder, rest @ ..]) if !rest.is_empty() => {
                (split_of(folder).ok_or(Stray::OutsideSplits)?, inside)
            }
            _ => return Err(Stray::OutsideSplits),
        };
        match class {
            _ if !self.has_classes => unlabelled(split),
            [class, _, ..] => Ok(Place {
                class: Some(class_name(class)),
                split,
            }),
            _ => Err(Stray::NoClass),
        }
    }

    /// Depth of the class folder in a path.
    pub fn class_depth(&self, parts: &[String]) -> usize {
        let inside = self.wrapping.len();
        match self.order {
            Order::NoSplits | Order::ClassFirst => inside + 1,
            Order::SplitFirst => {
                let folder = parts.get(inside).and_then(|name| self.split_folders.get(name));
                inside + 1 + folder.map_or(0, Vec::len) + 1
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
fn classes_hold_splits(here: &Tree) -> bool {
    let classes: Vec<_> = here.with_images().map(|(_, folder)| folder).collect();
    let names = || classes.iter().flat_map(|class| class.with_images());
    let has = |wanted: Split| names().any(|(name, _)| split_of(name) == Some(wanted));
    classes.len() > 1
        && here.is_divided()
        && classes.iter().all(|class| class.holds_splits_only())
        && has(Split::Train)
        && (has(Split::Val) || has(Split::Test))
}

/// The folders around everything in a split, such as `images` in `train/images/CLASS/…`, and whether they contain class folders. A lone
/// folder with a meaningless name is not a class.
fn within(split: &str, folder: &Tree) -> (Vec<String>, bool) {
    let mut inner = Vec::new();
    let mut here = folder;
    while let Some((name, folder)) = here.only()
        && here.is_divided()
        && folder.is_divided()
        && (says_nothing(name) || split_of(name).is_some_and(|again| split_of(split) == Some(again)))
    {
        inner.push(name.clone());
        here = folder;
    }
    let labelled = here.is_divided() && here.only().is_none_or(|(name, _)| !says_nothing(name));
    (inner, labelled)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
