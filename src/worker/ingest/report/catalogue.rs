//! The dataset after every image has been seen: its classes, its manifest, its report.

use super::stored::Stored;
use super::{checks, kinds, warnings};
use crate::{
    domain::datasets::{
        content::ContentDigest,
        dataset::{Class, Layout, Outcome, ReportEntry, ReportSummary},
        split::SplitCounts,
    },
    protocol::ManifestImage,
    worker::ingest::names::{
        arrange::Listing,
        entry::{ListedEntry, Verdict},
        path,
        tables::{Ambiguous, Missing},
    },
};

/// How many characters of a missing file's name are shown.
const MAX_MISSING_SHOWN: usize = 512;

/// A dataset that was read.
pub struct Catalogue {
    pub layout: Layout,
    pub classes: Vec<Class>,
    pub splits: SplitCounts,
    /// Images with several labels, or with none of the classes.
    pub several_labels: u64,
    pub content_sha256: String,
    /// In the order of their paths; ids follow each other.
    pub images: Vec<ManifestImage>,
    /// In the order of the archive.
    pub report: Vec<ReportEntry>,
    pub summary: ReportSummary,
}

/// Combines what was listed and what was stored. `stored` are the used images in the order of the archive, with the listing's `class`;
/// classes without a usable image are removed here.
pub fn catalogue(listing: Listing, mut stored: Vec<Stored>, first_image: u32, segment: u32) -> Catalogue {
    let Listing {
        entries,
        layout,
        structure,
        reading,
        readings,
        missing,
        ambiguous,
        tables_not_used,
        classes: listed_classes,
        mut empty_folders,
        doubts,
    } = listing;
    let used = used_per_class(&stored, listed_classes.len());
    let mut renumbered = vec![None; listed_classes.len()];
    let mut classes = Vec::new();
    for (number, (name, counted)) in listed_classes.iter().zip(used).enumerate() {
        if counted.total() == 0 {
            empty_folders.push(name.clone());
            continue;
        }
        renumbered[number] = Some(classes.len() as u32);
        classes.push(Class {
            name: name.clone(),
            index: classes.len() as u32,
            images: counted.total(),
            splits: Some(counted),
        });
    }
    for Stored { image, .. } in &mut stored {
        // Each class that an image has is a class with an image.
        image.class = image.class.and_then(|class| renumbered[class as usize]);
        if let Some(labels) = &mut image.labels {
            *labels = labels
                .iter()
                .filter_map(|label| renumbered[*label as usize])
                .collect();
        }
    }
    let mut splits = SplitCounts::default();
    stored.iter().for_each(|stored| splits.add(stored.image.split));
    let mut report = report(&entries, &listed_classes, checks::codes(&stored));
    report.extend(missing.iter().map(|missing| missing_entry(missing, &entries)));
    report.extend(ambiguous.iter().map(|line| ambiguous_entry(line, &entries)));

    let mut summary = summary(&report);
    summary.warnings = [
        doubts,
        warnings::about_entries(&report),
        kinds::about_kinds(&entries).into_iter().collect(),
        kinds::about_used_bits(&stored).into_iter().collect(),
        warnings::about_modes(&stored).into_iter().collect(),
        warnings::about_tables(&tables_not_used).into_iter().collect(),
        warnings::about_classes(&classes, &splits, &empty_folders),
        warnings::about_splits(&structure, &entries, &splits),
    ]
    .concat();
    summary.structure = Some(structure);
    summary.reading = Some(reading);
    summary.readings = readings;
    let mut images: Vec<ManifestImage> = stored.into_iter().map(|stored| stored.image).collect();
    images.sort_by(|a, b| a.path.cmp(&b.path));
    for (id, image) in (first_image..).zip(&mut images) {
        image.id = id;
        image.segment = segment;
    }
    Catalogue {
        layout,
        several_labels: images.iter().filter(|image| image.labels.is_some()).count() as u64,
        content_sha256: content_sha256(&classes, &images),
        classes,
        splits,
        images,
        report,
        summary,
    }
}

fn content_sha256(classes: &[Class], images: &[ManifestImage]) -> String {
    let mut content = ContentDigest::default();
    for image in images {
        let name = |class: &u32| classes[*class as usize].name.as_str();
        let names: Vec<&str> = image.label_set().iter().map(name).collect();
        let labels = image.is_labelled().then_some(names.as_slice());
        content.add(labels, image.split, &image.sha256);
    }
    content.finish()
}

fn used_per_class(stored: &[Stored], classes: usize) -> Vec<SplitCounts> {
    let mut counts = vec![SplitCounts::default(); classes];
    for Stored { image, .. } in stored {
        for class in image.label_set() {
            counts[*class as usize].add(image.split);
        }
    }
    counts
}

/// Every entry but the folders. `codes` are those of the used images, in the order of the archive.
fn report(entries: &[ListedEntry], classes: &[String], codes: Vec<Vec<&'static str>>) -> Vec<ReportEntry> {
    let mut codes = codes.into_iter();
    // A growing list is copied, and there are as many entries as files.
    let mut report = Vec::with_capacity(entries.len());
    report.extend(entries.iter().filter_map(|entry| {
        let (outcome, codes, message, labels) = match &entry.verdict {
            Verdict::Folder => return None,
            // Pass two has decided on every candidate, so none is left.
            Verdict::Used | Verdict::Candidate => {
                let codes = codes.next().unwrap_or_default();
                let labels = entry.labels.iter().flatten();
                (
                    Outcome::Used,
                    codes.into_iter().map(str::to_owned).collect(),
                    None,
                    labels.map(|label| classes[*label as usize].clone()).collect(),
                )
            }
            Verdict::Disposition(settled) => (
                settled.outcome,
                vec![settled.code.to_owned()],
                Some(settled.message.clone().into_owned()),
                settled.labels.clone(),
            ),
        };
        Some(ReportEntry {
            path: entry.path.clone(),
            outcome,
            class: entry.class.map(|class| classes[class as usize].clone()),
            split: entry.split,
            codes,
            message,
            labels,
        })
    }));
    report
}

/// A file that a table names but the archive lacks. It is not an entry, but whoever wrote the table meant it as one.
fn missing_entry(missing: &Missing, entries: &[ListedEntry]) -> ReportEntry {
    let message = format!(
        "line {} of `{}` names it, but the archive does not contain this path",
        missing.line, entries[missing.table].path
    );
    ReportEntry {
        path: path::shown(&missing.file, MAX_MISSING_SHOWN),
        outcome: Outcome::Skipped,
        class: None,
        split: None,
        codes: vec!["missing_file".to_owned()],
        message: Some(message),
        labels: Vec::new(),
    }
}

/// A line that could mean several images of the archive; none of them was taken for it.
fn ambiguous_entry(line: &Ambiguous, entries: &[ListedEntry]) -> ReportEntry {
    let images = line
        .images
        .iter()
        .take(2)
        .map(|image| format!("`{}`", entries[*image].path));
    let images: Vec<String> = images.collect();
    let message = format!(
        "line {} of `{}` could mean {}; write a longer path",
        line.line,
        entries[line.table].path,
        images.join(" or ")
    );
    ReportEntry {
        path: path::shown(&line.file, MAX_MISSING_SHOWN),
        outcome: Outcome::Skipped,
        class: None,
        split: None,
        codes: vec!["ambiguous_file".to_owned()],
        message: Some(message),
        labels: Vec::new(),
    }
}

fn summary(report: &[ReportEntry]) -> ReportSummary {
    let mut summary = ReportSummary::default();
    for entry in report {
        match entry.outcome {
            Outcome::Used => summary.used += 1,
            Outcome::Skipped => summary.skipped += 1,
            Outcome::Ignored => summary.ignored += 1,
        }
        let has = |code: &str| u64::from(entry.codes.iter().any(|known| known == code));
        summary.duplicates += has("duplicate");
        summary.leaks += has("leak");
        summary.near_duplicates += has("near_duplicate");
    }
    summary
}
