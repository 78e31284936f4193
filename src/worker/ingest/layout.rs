//! Which folders are splits and which are classes, found out from the paths alone. Pure: paths in, a plan out.

use std::collections::BTreeMap;

use icu_normalizer::ComposingNormalizerBorrowed;

use crate::domain::{dataset, split::Split};

/// Images that lie beside the class folders are strays as long as they are at most one in ten; where they are more, the folder they
/// lie in is itself what holds the images.
const STRAYS_ONE_IN: u64 = 10;

/// Names of a lone folder that say nothing about what is in it: its images have no class.
const SAYS_NOTHING: &[&str] = &[
    "all",
    "data",
    "dataset",
    "files",
    "frames",
    "image",
    "images",
    "img",
    "imgs",
    "input",
    "inputs",
    "jpeg",
    "jpegs",
    "jpg",
    "photo",
    "photos",
    "pics",
    "pictures",
    "png",
    "pngs",
    "raw",
    "samples",
    "unknown",
    "unlabeled",
    "unlabelled",
];

/// Folders of an archive and how many images lie in them.
#[derive(Debug, Default)]
pub struct Tree {
    folders: BTreeMap<String, Tree>,
    /// Images in this very folder.
    direct: u64,
    /// Images in it and below it.
    total: u64,
}

impl Tree {
    /// Counts an image; `parts` are its folders and its own name.
    pub fn add_image(&mut self, parts: &[String]) {
        self.total += 1;
        match parts {
            [folder, rest @ ..] if !rest.is_empty() => {
                self.folders.entry(folder.clone()).or_default().add_image(rest);
            }
            _ => self.direct += 1,
        }
    }

    fn with_images(&self) -> impl Iterator<Item = (&String, &Tree)> {
        self.folders.iter().filter(|(_, folder)| folder.total > 0)
    }

    /// The only folder in it that holds images.
    fn only(&self) -> Option<(&String, &Tree)> {
        let mut folders = self.with_images();
        folders.next().filter(|_| folders.next().is_none())
    }

    /// Whether its images lie in folders of their own, but for a few strays.
    fn is_divided(&self) -> bool {
        self.total > self.direct && self.direct * STRAYS_ONE_IN <= self.total
    }

    fn holds_splits_only(&self) -> bool {
        self.is_divided() && self.with_images().all(|(name, _)| split_of(name).is_some())
    }
}

/// How the folders of an archive are to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Folders around everything else.
    wrapping: Vec<String>,
    has_splits: bool,
    has_classes: bool,
}

/// Where an image belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name of its class; none in an unlabelled dataset.
    pub class: Option<String>,
    pub split: Split,
}

/// Why an image belongs nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stray {
    /// It lies beside the class folders.
    NoClass,
    /// It lies beside the folders for training, validation and test.
    OutsideSplits,
}

impl Plan {
    pub fn of(tree: &Tree) -> Self {
        let mut wrapping = Vec::new();
        let mut here = tree;
        loop {
            let plan = |has_splits, has_classes| Plan {
                wrapping: wrapping.clone(),
                has_splits,
                has_classes,
            };
            if !here.is_divided() && here.direct * 2 >= here.total {
                return plan(false, false);
            }
            if has_splits(here) {
                let labelled = here
                    .with_images()
                    .any(|(name, folder)| split_of(name).is_some() && is_labelled(folder));
                return plan(true, labelled);
            }
            match here.only() {
                Some((name, folder)) if folder.is_divided() || says_nothing(name) => {
                    wrapping.push(name.clone());
                    here = folder;
                }
                _ => return plan(false, true),
            }
        }
    }

    pub fn layout(&self) -> dataset::Layout {
        match (self.has_classes, self.wrapping.is_empty(), self.has_splits) {
            (false, _, _) => dataset::Layout::Unlabelled,
            (true, false, _) => dataset::Layout::Wrapped,
            (true, true, true) => dataset::Layout::Splits,
            (true, true, false) => dataset::Layout::Flat,
        }
    }

    /// Where an image belongs; `parts` are its folders and its own name.
    pub fn place(&self, parts: &[String]) -> Result<Place, Stray> {
        let stray = if self.has_splits {
            Stray::OutsideSplits
        } else {
            Stray::NoClass
        };
        let Some(inside) = parts.strip_prefix(self.wrapping.as_slice()) else {
            // Beside the wrapping folders: a logo, a preview. In an unlabelled dataset every image counts.
            return if self.has_splits || self.has_classes {
                Err(stray)
            } else {
                Ok(unlabelled(Split::Train))
            };
        };
        let (split, inside) = match inside {
            [folder, rest @ ..] if self.has_splits && !rest.is_empty() => {
                (split_of(folder).ok_or(stray)?, rest)
            }
            _ if self.has_splits => return Err(stray),
            _ => (Split::Train, inside),
        };
        match inside {
            _ if !self.has_classes => Ok(unlabelled(split)),
            [class, _, ..] => Ok(Place {
                class: Some(class_name(class)),
                split,
            }),
            _ => Err(Stray::NoClass),
        }
    }

    /// How many folders lead to a class's own, that one included.
    pub fn class_depth(&self) -> usize {
        self.wrapping.len() + usize::from(self.has_splits) + 1
    }

    /// Whether a folder is that of a class: an empty one is worth a word.
    pub fn is_class_folder(&self, parts: &[String]) -> bool {
        let mut image = parts.to_vec();
        image.push(String::new());
        let place = self.place(&image);
        parts.len() == self.class_depth() && place.is_ok_and(|place| place.class.is_some())
    }
}

fn unlabelled(split: Split) -> Place {
    Place { class: None, split }
}

/// The split that a folder's name stands for.
fn split_of(name: &str) -> Option<Split> {
    match name.to_ascii_lowercase().as_str() {
        "train" | "training" => Some(Split::Train),
        "val" | "valid" | "validation" => Some(Split::Val),
        "test" | "testing" => Some(Split::Test),
        _ => None,
    }
}

/// Whether the folders here are splits. A class may be named "train" too, so a split beside other folders of images counts only
/// where it is itself divided into classes, or is not alone.
fn has_splits(here: &Tree) -> bool {
    let (splits, others): (Vec<_>, Vec<_>) =
        here.with_images().partition(|(name, _)| split_of(name).is_some());
    match (splits.as_slice(), others.as_slice()) {
        ([], _) => false,
        // A wrapping folder that happens to be called "test".
        ([(_, only)], []) => !only.holds_splits_only(),
        (_, []) => true,
        ([(name, only)], _) => split_of(name) == Some(Split::Train) && only.is_divided(),
        _ => true,
    }
}

/// Whether a split's images lie in class folders. A lone folder whose name says nothing is none.
fn is_labelled(split: &Tree) -> bool {
    split.is_divided() && split.only().is_none_or(|(name, _)| !says_nothing(name))
}

fn says_nothing(name: &str) -> bool {
    SAYS_NOTHING.contains(&name.to_ascii_lowercase().as_str())
}

/// One name, one class: some systems write `é` as one character and some as two (Unicode normal form C is what is kept).
pub fn class_name(folder: &str) -> String {
    ComposingNormalizerBorrowed::new_nfc()
        .normalize(folder)
        .into_owned()
}

#[cfg(test)]
mod tests;
