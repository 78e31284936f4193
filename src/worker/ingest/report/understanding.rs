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
    let mut skipped = 0;
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
        let class = entry.class.and_then(|class| classes.get_mut(class as usize));
        let name = class.as_ref().map(|class| class.name.clone());
        // One of each class first.
        let is_first = class.as_ref().is_none_or(|class| class.images == 0);
        if let Some(class) = class {
            class.images += 1;
            if let Some(splits) = &mut class.splits {
                splits.add(split);
            }
        }
        if is_first && examples.len() < EXAMPLES {
            examples.push(ReadingExample {
                path: entry.path.clone(),
                class: name,
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
        layout: listing.layout,
        structure: listing.structure,
        reading: listing.reading,
        readings: listing.readings,
        warnings: listing.doubts,
        examples,
    }
}
