//! What an archive would be read as, from its names alone.

use crate::{
    domain::datasets::{
        dataset::{Class, Outcome},
        reading::ReadingExample,
        split::{Split, SplitCounts},
        understanding::Understanding,
    },
    worker::ingest::names::{arrange::Listing, entry::Verdict},
};

const EXAMPLES: usize = 10;

pub fn understanding(listing: Listing) -> Understanding {
    let mut classes: Vec<Class> = (0..)
        .zip(&listing.classes)
        .map(|(index, name)| Class {
            name: name.clone(),
            index,
            images: 0,
            splits: Some(SplitCounts::default()),
        })
        .collect();
    let mut splits = SplitCounts::default();
    let mut examples: Vec<ReadingExample> = Vec::new();
    let (mut skipped, mut several_labels) = (0, 0);
    for entry in &listing.entries {
        match &entry.verdict {
            Verdict::Candidate | Verdict::Used => {}
            Verdict::Disposition(settled) if settled.outcome == Outcome::Skipped => {
                skipped += 1;
                continue;
            }
            Verdict::Disposition(_) | Verdict::Folder => continue,
        }
        let split = entry.split.unwrap_or(Split::Train);
        splits.add(split);
        let mut names = Vec::new();
        // One of each class first.
        let mut is_first = entry.label_set().is_empty();
        for class in entry.label_set() {
            let class = &mut classes[*class as usize];
            names.push(class.name.clone());
            is_first |= class.images == 0;
            class.images += 1;
            if let Some(splits) = &mut class.splits {
                splits.add(split);
            }
        }
        several_labels += u64::from(entry.labels.is_some());
        if is_first && examples.len() < EXAMPLES {
            let (class, labels) = match entry.labels {
                Some(_) => (None, names),
                None => (names.pop(), Vec::new()),
            };
            examples.push(ReadingExample {
                path: entry.path.clone(),
                class,
                labels,
                split,
            });
        }
    }
    Understanding {
        object: "dataset_reading".to_owned(),
        images: splits.total(),
        skipped,
        classes,
        splits,
        several_labels,
        layout: listing.layout,
        structure: listing.structure,
        reading: listing.reading,
        readings: listing.readings,
        warnings: listing.doubts,
        examples,
    }
}
