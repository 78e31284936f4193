//! Images with the very same bytes: counted, and listed where they matter.

use std::collections::HashMap;

use crate::domain::datasets::split::Split;

/// The input of the check.
#[derive(Clone, Debug)]
pub struct Identity<'a> {
    pub sha256: &'a str,
    /// The indices of its classes.
    pub labels: &'a [u32],
    pub split: Split,
}

/// The findings for one image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Another image has the same bytes.
    pub duplicate: bool,
    /// One of them is in another split: training data is also used for evaluation.
    pub leak: bool,
    /// One of them has another class, or other labels: some of them are wrong.
    pub contradictory_label: bool,
}

impl Marks {
    /// Its codes in a report.
    pub fn codes(self) -> impl Iterator<Item = &'static str> {
        [
            (self.duplicate, "duplicate"),
            (self.leak, "leak"),
            (self.contradictory_label, "contradictory_label"),
        ]
        .into_iter()
        .filter_map(|(holds, code)| holds.then_some(code))
    }
}

/// Marks for each image, in the given order.
pub fn marks(images: &[Identity<'_>]) -> Vec<Marks> {
    let mut twins: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, image) in images.iter().enumerate() {
        twins.entry(image.sha256).or_default().push(index);
    }
    let mut marks = vec![Marks::default(); images.len()];
    for group in twins.into_values().filter(|group| group.len() > 1) {
        let first = &images[group[0]];
        let common = Marks {
            duplicate: true,
            leak: group.iter().any(|&index| images[index].split != first.split),
            contradictory_label: group.iter().any(|&index| images[index].labels != first.labels),
        };
        for index in group {
            marks[index] = common;
        }
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twins_are_marked_on_both_sides() {
        let image = |sha256, labels, split| Identity {
            sha256,
            labels,
            split,
        };
        let marks = marks(&[
            image("a", &[0], Split::Train),
            image("b", &[0], Split::Train),
            image("a", &[0], Split::Val),
            image("c", &[1], Split::Train),
            image("c", &[0, 1], Split::Train),
        ]);
        let codes: Vec<Vec<_>> = marks.iter().map(|marks| marks.codes().collect()).collect();
        assert_eq!(codes[0], ["duplicate", "leak"]);
        assert!(codes[1].is_empty());
        assert_eq!(codes[2], ["duplicate", "leak"]);
        assert_eq!(codes[3], ["duplicate", "contradictory_label"]);
        assert_eq!(codes[4], ["duplicate", "contradictory_label"]);
    }
}
