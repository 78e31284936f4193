//! What pass two made of the files, and which of it is an image of the dataset.

use std::collections::BTreeMap;

use anyhow::Context;

use super::{
    names::entry::{Disposition, ListedEntry, Verdict},
    report::stored::Stored,
};
use crate::domain::datasets::split::Split;

/// What became of each file that was read. Images are moved, not copied: there may be very many.
#[derive(Default)]
pub struct ReadFiles {
    /// In the order of the archive, each with its entry.
    pub images: Vec<Stored>,
    pub entries: Vec<usize>,
    /// Files that are no usable images, by their entries.
    pub settled: BTreeMap<usize, Disposition>,
}

impl ReadFiles {
    /// The images of all entries, in the order of the archive; the entries say what became of them.
    pub fn of_entries(mut self, entries: &mut [ListedEntry]) -> anyhow::Result<Vec<Stored>> {
        let mut is_own = vec![false; self.images.len()];
        let mut of_links: Vec<(usize, Stored)> = Vec::new();
        for (index, entry) in entries.iter_mut().enumerate() {
            if entry.verdict != Verdict::Candidate {
                continue;
            }
            // A link is one more image with the same bytes.
            let file = entry.same_as.unwrap_or(index);
            entry.verdict = match self.entries.binary_search(&file) {
                Ok(place) => {
                    if file == index {
                        is_own[place] = true;
                        describe(&mut self.images[place], entry);
                    } else {
                        let mut copy = self.images[place].clone();
                        describe(&mut copy, entry);
                        of_links.push((index, copy));
                    }
                    Verdict::Used
                }
                Err(_) => {
                    let settled = self.settled.get(&file).cloned();
                    Verdict::settled(settled.context("the archive changed while it was read")?)
                }
            };
        }
        if of_links.is_empty() && is_own.iter().all(|own| *own) {
            return Ok(self.images);
        }
        // Some files were read for links only.
        let own = self.entries.into_iter().zip(self.images).zip(is_own);
        let own = own.filter_map(|(image, own)| own.then_some(image));
        let mut all: Vec<(usize, Stored)> = own.chain(of_links).collect();
        all.sort_by_key(|(index, _)| *index);
        Ok(all.into_iter().map(|(_, image)| image).collect())
    }
}

/// Gives an image what its entry says of it.
fn describe(stored: &mut Stored, entry: &ListedEntry) {
    let image = &mut stored.image;
    image.path.clone_from(&entry.path);
    image.class = entry.class;
    image.labels.clone_from(&entry.labels);
    image.split = entry.split.unwrap_or(Split::Train);
}
