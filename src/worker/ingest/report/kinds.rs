//! Warnings about kinds of files: those that are not read, summed up by their names, and 16-bit images of which not all bits count.

use std::collections::BTreeMap;

use super::{found::Found, stored::Stored};
use crate::{
    domain::{datasets::dataset::DatasetWarning, models::preprocessing::UsedBits},
    worker::ingest::names::entry::{ListedEntry, Verdict},
};

/// The code of files of kinds that are not read.
pub const UNSUPPORTED: &str = "unsupported_format";
/// How many bits fewer than count an image may need before it is worth a word: it has a sixteenth of the brightness.
const DARK: u8 = 4;

/// Sound files that are not read, with their number for each kind.
pub fn about_kinds(entries: &[ListedEntry]) -> Option<DatasetWarning> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut found = Found::default();
    for entry in entries {
        if let Verdict::Disposition(settled) = &entry.verdict
            && settled.code == UNSUPPORTED
        {
            *counts
                .entry(settled.kind.as_deref().unwrap_or("unknown kind"))
                .or_default() += 1;
            found.add(&entry.path);
        }
    }
    let mut warning = found.warning(UNSUPPORTED, "", "")?;
    let mut counts: Vec<(&str, u64)> = counts.into_iter().collect();
    // The most frequent first; among equals by name.
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let counts: Vec<String> = counts
        .iter()
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    let (are, them) = if warning.count == 1 {
        ("is", "it")
    } else {
        ("are", "them")
    };
    warning.message = format!(
        "files of kinds that are not read {are} not used ({}); save {them} as JPEG or PNG and upload {them} again",
        counts.join(", ")
    );
    Some(warning)
}

/// 16-bit images whose brightness was decided by what the whole dataset uses, or that are dark because of it.
pub fn about_used_bits(stored: &[Stored]) -> Option<DatasetWarning> {
    let deep = || stored.iter().filter_map(|stored| Some((stored, stored.largest?)));
    let used = deep().find_map(|(stored, _)| stored.image.used_bits)?;
    let most = deep().map(|(_, largest)| largest).max()?;
    let path = |stored: &Stored| stored.image.path.clone();
    let choose = format!(
        "read the dataset again with `used_bits` from 8 to 16 if that is wrong (now {})",
        used.get()
    );
    if used < UsedBits::ALL {
        let mut found = Found::default();
        deep().for_each(|(stored, _)| found.add(&path(stored)));
        let mut warning = found.warning("used_bits", "", "")?;
        warning.message = format!(
            "the largest value of the 16-bit images is {most}: the lower {} bits count and were made 8, for models trained on them as well; {choose}",
            used.get()
        );
        return Some(warning);
    }
    let mut dark = Found::default();
    deep()
        .filter(|(_, largest)| UsedBits::of_largest(*largest).get() + DARK <= used.get())
        .for_each(|(stored, _)| dark.add(&path(stored)));
    let mut warning = dark.warning("dark_images", "", "")?;
    warning.message = format!(
        "{} of the 16-bit images use at most 12 bits and are nearly black beside the others, whose largest value is {most}; {choose}",
        warning.count
    );
    Some(warning)
}
