//! Folders of an archive and the number of images in them.

use std::collections::BTreeMap;

use super::words::split_of;

/// Images beside the class folders are strays as long as they are at most one in ten; if there are more, their folder itself is what
/// contains the images.
const STRAYS_ONE_IN: u64 = 10;

/// A folder.
#[derive(Debug, Default)]
pub struct Tree {
    folders: BTreeMap<String, Tree>,
    /// Images directly in this folder.
    pub(super) direct: u64,
    /// Images in it and below it.
    pub(super) total: u64,
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

    pub(super) fn with_images(&self) -> impl Iterator<Item = (&String, &Tree)> {
        self.folders.iter().filter(|(_, folder)| folder.total > 0)
    }

    pub(super) fn folder(&self, name: &str) -> Option<&Tree> {
        self.folders.get(name)
    }

    /// The only folder in it that contains images.
    pub(super) fn only(&self) -> Option<(&String, &Tree)> {
        let mut folders = self.with_images();
        folders.next().filter(|_| folders.next().is_none())
    }

    /// Whether its images are in subfolders, except for a few strays.
    pub(super) fn is_divided(&self) -> bool {
        self.total > self.direct && self.direct * STRAYS_ONE_IN <= self.total
    }

    pub(super) fn holds_splits_only(&self) -> bool {
        self.is_divided() && self.with_images().all(|(name, _)| split_of(name).is_some())
    }
}
