//! What the dataset is, once every image has been seen: its classes, its manifest, its report.

use super::{
    layout::Plan,
    listing::{Listed, Listing, Verdict},
    twins::{self, Identity},
    warnings,
};
use crate::{
    domain::{
        content::ContentDigest,
        dataset::{Class, Layout, Outcome, ReportEntry, ReportSummary, SplitCounts},
        split::Split,
    },
    protocol::ManifestImage,
};

/// A dataset that was read.
pub struct Catalogue {
    pub layout: Layout,
    pub classes: Vec<Class>,
    pub splits: SplitCounts,
    pub class_splits: Vec<SplitCounts>,
    pub content_sha256: String,
    /// In the order of their paths; `id` is the place in it.
    pub images: Vec<ManifestImage>,
    /// In the order of the archive.
    pub report: Vec<ReportEntry>,
    pub summary: ReportSummary,
}

/// Puts together what was listed and what was stored. `stored` are the used images in the order of the archive, their `class` the
/// listing's; classes without a usable image drop out here.
pub fn catalogue(listing: Listing, mut stored: Vec<ManifestImage>) -> Catalogue {
    let Listing {
        entries,
        plan,
        classes: listed_classes,
        mut empty_folders,
    } = listing;
    let used = used_per_class(&stored, listed_classes.len());
    let mut renumbered = vec![None; listed_classes.len()];
    let mut classes = Vec::new();
    let mut counts = Vec::new();
    for (number, (name, counted)) in listed_classes.iter().zip(used).enumerate() {
        let images = counted.train + counted.val + counted.test;
        if images == 0 {
            empty_folders.push(name.clone());
            continue;
        }
        renumbered[number] = Some(classes.len() as u32);
        classes.push(Class {
            name: name.clone(),
            index: classes.len() as u32,
            images,
        });
        counts.push(counted);
    }
    for image in &mut stored {
        image.class = image.class.and_then(|class| renumbered[class as usize]);
    }
    let splits = sum(stored.iter().map(|image| image.split));
    let report = report(&entries, &listed_classes, &stored);
    let mut summary = summary(&report);
    summary.warnings = warnings::about_entries(&report);
    let about_classes = warnings::about_classes(&classes, &counts, &splits, &empty_folders);
    summary.warnings.extend(about_classes);
    stored.sort_by(|a, b| a.path.cmp(&b.path));
    for (id, image) in (0..).zip(&mut stored) {
        image.id = id;
    }
    Catalogue {
        layout: Plan::layout(&plan),
        content_sha256: content_sha256(&classes, &stored),
        classes,
        splits,
        class_splits: counts,
        images: stored,
        report,
        summary,
    }
}

fn content_sha256(classes: &[Class], images: &[ManifestImage]) -> String {
    let mut content = ContentDigest::default();
    for image in images {
        let class = image.class.map(|class| classes[class as usize].name.as_str());
        content.add(class, image.split, &image.sha256);
    }
    content.finish()
}

fn used_per_class(images: &[ManifestImage], classes: usize) -> Vec<SplitCounts> {
    let mut counts = vec![SplitCounts::default(); classes];
    for image in images {
        if let Some(class) = image.class {
            counts[class as usize].count(image.split);
        }
    }
    counts
}

fn sum(splits: impl Iterator<Item = Split>) -> SplitCounts {
    let mut counts = SplitCounts::default();
    splits.for_each(|split| counts.count(split));
    counts
}

/// Every entry but the folders. `stored` is still in the order of the archive.
fn report(entries: &[Listed], classes: &[String], stored: &[ManifestImage]) -> Vec<ReportEntry> {
    let identities: Vec<Identity<'_>> = stored
        .iter()
        .map(|image| Identity {
            sha256: &image.sha256,
            class: image.class,
            split: image.split,
        })
        .collect();
    let mut marks = twins::marks(&identities).into_iter();
    entries
        .iter()
        .filter_map(|entry| {
            let (outcome, codes, message) = match &entry.verdict {
                Verdict::Folder => return None,
                // Pass two has decided on every candidate, so none is left.
                Verdict::Used | Verdict::Candidate => {
                    let codes = marks.next().unwrap_or_default().codes();
                    (Outcome::Used, codes.map(str::to_owned).collect(), None)
                }
                Verdict::Settled(settled) => (
                    settled.outcome,
                    vec![settled.code.to_owned()],
                    Some(settled.message.clone().into_owned()),
                ),
            };
            Some(ReportEntry {
                path: entry.path.clone(),
                outcome,
                class: entry.class.map(|class| classes[class as usize].clone()),
                split: entry.split,
                codes,
                message,
            })
        })
        .collect()
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
    }
    summary
}
