//! Which bytes of an archive belong to which entry: to at most one.
//!
//! Overlapping entries make a small zip file expand to a large one without any of them looking like a bomb (D. Fifield, "A better zip
//! bomb", 2019). No program that packs files writes such an archive.

use std::ops::Range;

#[derive(Default)]
pub struct Spans(Vec<Range<u64>>);

impl Spans {
    /// The bytes of one entry, including its header.
    pub fn add(&mut self, span: Range<u64>) {
        self.0.push(span);
    }

    /// Whether any bytes belong to two entries, or to an entry and to what starts at `end`.
    pub fn overlap(mut self, end: u64) -> bool {
        self.0.sort_unstable_by_key(|span| (span.start, span.end));
        self.0.last().is_some_and(|last| last.end > end)
            || self.0.windows(2).any(|pair| pair[0].end > pair[1].start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_side_by_side_do_not_overlap_in_whatever_order_they_are_listed() {
        let overlap = |spans: &[Range<u64>], end| {
            let mut all = Spans::default();
            spans.iter().for_each(|span| all.add(span.clone()));
            all.overlap(end)
        };
        assert!(!overlap(&[], 0));
        assert!(!overlap(&[50..90, 0..50], 90));
        assert!(overlap(&[50..90, 0..51], 90));
        assert!(overlap(&[0..50, 0..50], 90));
        assert!(overlap(&[0..80, 10..20], 90));
        assert!(overlap(&[0..50, 50..91], 90));
    }
}
