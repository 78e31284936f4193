//! An entry of an archive, and what happens to it.

use std::borrow::Cow;

use super::path;
use crate::{
    domain::datasets::{dataset::Outcome, split::Split},
    worker::pixels::DecodeFault,
};

/// Why an entry is not an image of the dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disposition {
    /// [`Outcome::Skipped`] or [`Outcome::Ignored`].
    pub outcome: Outcome,
    pub code: &'static str,
    pub message: Cow<'static, str>,
    /// The kind of a file that is sound but not read, by its usual name.
    pub kind: Option<Cow<'static, str>>,
    /// The labels of an image that has several, for display.
    pub labels: Vec<String>,
}

impl Disposition {
    pub fn skipped(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            outcome: Outcome::Skipped,
            code,
            message: message.into(),
            kind: None,
            labels: Vec::new(),
        }
    }

    /// For what a decoder says of a file.
    pub fn undecoded(fault: &DecodeFault) -> Self {
        Self {
            kind: fault.kind(),
            ..Self::skipped(fault.code(), fault.to_string())
        }
    }

    pub fn ignored(code: &'static str, message: &'static str) -> Self {
        Self {
            outcome: Outcome::Ignored,
            code,
            message: message.into(),
            kind: None,
            labels: Vec::new(),
        }
    }
}

/// What is known about an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not a file, not reported; it only counts as an entry.
    Folder,
    /// Looks like an image: pass two decides.
    Candidate,
    /// In a box: most entries are images without one, and there may be very many.
    Disposition(Box<Disposition>),
    Used,
}

impl Verdict {
    /// Not an image of the dataset.
    pub fn settled(disposition: Disposition) -> Self {
        Verdict::Disposition(Box::new(disposition))
    }
}

/// One entry, in the order of the archive.
#[derive(Clone, Debug)]
pub struct ListedEntry {
    /// In displayable form.
    pub path: String,
    /// Index into [`Listing::classes`](super::arrange::Listing::classes), and its split, if assigned.
    pub class: Option<u32>,
    /// The same of an image with several labels, or with none.
    pub labels: Option<Vec<u32>>,
    pub split: Option<Split>,
    pub verdict: Verdict,
    /// The entry that has its bytes, if it is a link.
    pub same_as: Option<usize>,
    /// Whether a link needs its bytes, even if it is not itself an image of the dataset.
    pub is_linked: bool,
}

impl ListedEntry {
    /// The indices of its classes: one, unless it has several labels or none.
    pub fn label_set(&self) -> &[u32] {
        self.labels.as_deref().unwrap_or(self.class.as_slice())
    }

    /// Whether pass two reads it.
    pub fn is_read(&self) -> bool {
        self.is_linked || (self.verdict == Verdict::Candidate && self.same_as.is_none())
    }
}

/// Candidates have valid paths, and the displayable form has the same separators.
pub fn parts_of(shown: &str) -> Vec<String> {
    path::parts(shown, usize::MAX).unwrap_or_default()
}
