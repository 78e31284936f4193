//! Notable properties of usable images, as codes for the report.

use std::collections::BTreeMap;

use super::{
    near::{self, HashedImage},
    stored::Stored,
    twins::{self, Identity},
};
use crate::worker::pixels::Mode;

/// Images with a shorter side below this are too small to show much.
const TINY: u32 = 16;
/// Aspect ratio (longer : shorter side) above which an image is a strip, of which training sees only a part.
const EXTREME_ASPECT: u32 = 10;

/// The codes of each image, in the order given.
pub fn codes(stored: &[Stored]) -> Vec<Vec<&'static str>> {
    let identities: Vec<Identity<'_>> = stored
        .iter()
        .map(|Stored { image, .. }| Identity {
            sha256: &image.sha256,
            labels: image.label_set(),
            split: image.split,
        })
        .collect();
    let looks: Vec<HashedImage<'_>> = stored
        .iter()
        .map(
            |Stored {
                 image, fingerprint, ..
             }| HashedImage {
                fingerprint,
                sha256: &image.sha256,
                labels: image.label_set(),
                split: image.split,
            },
        )
        .collect();
    let usual = usual_mode(stored);
    let twins = twins::marks(&identities);
    let alike = near::marks(&looks);
    stored
        .iter()
        .zip(twins.into_iter().zip(alike))
        .map(|(Stored { image, mode, .. }, (twin, alike))| {
            let (shorter, longer) = (image.width.min(image.height), image.width.max(image.height));
            let tiny = (shorter < TINY).then_some("tiny");
            let strip = (longer > shorter.saturating_mul(EXTREME_ASPECT)).then_some("extreme_aspect");
            let other_mode = usual.filter(|usual| usual != mode).map(|_| mode.code());
            let found = twin.codes().chain(alike.codes());
            found
                .chain([tiny, strip, other_mode].into_iter().flatten())
                .collect()
        })
        .collect()
}

/// The mode of most images.
pub fn usual_mode(stored: &[Stored]) -> Option<Mode> {
    let mut counts: BTreeMap<Mode, usize> = BTreeMap::new();
    for stored in stored {
        *counts.entry(stored.mode).or_default() += 1;
    }
    // On ties `max_by_key` takes the last, which in reverse order is the first: colour before all others.
    counts
        .into_iter()
        .rev()
        .max_by_key(|(_, count)| *count)
        .map(|(mode, _)| mode)
}
