//! The whole archive cannot be used: a code for programs and a sentence for whoever packed it.

use super::window::MAX_WINDOW_BYTES;
use crate::{limits::IngestLimits, protocol::Refusal};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    pub code: &'static str,
    pub message: String,
}

impl Rejection {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message }
    }

    pub fn unreadable(message: impl Into<String>) -> Self {
        Self::new("archive_unreadable", message)
    }

    pub fn path_escape(shown: &str) -> Self {
        let message = format!(
            "the archive contains the path `{shown}`, which points outside it; pack the folder again with relative paths"
        );
        Self::new("path_escape", message)
    }

    pub fn window() -> Self {
        Self::unreadable(format!(
            "the archive is compressed so that reading it needs more than {} MiB of memory; compress it again with ordinary settings, \
             for example `zstd -dc --long=31 FILE.tar.zst | gzip > FILE.tar.gz`",
            MAX_WINDOW_BYTES >> 20
        ))
    }

    pub fn too_many_entries(limits: &IngestLimits) -> Self {
        let message = format!(
            "the archive has more than {} entries; leave files out, or upload several datasets",
            limits.max_entries
        );
        Self::new("too_many_entries", message)
    }

    pub fn too_large(limits: &IngestLimits) -> Self {
        let message = format!(
            "the archive expands to more than {} bytes; make its images smaller, or upload several datasets",
            limits.max_expanded_bytes
        );
        Self::new("too_large", message)
    }

    pub fn expansion_ratio(shown: Option<&str>, limits: &IngestLimits) -> Self {
        let what = shown.map_or("the archive".to_owned(), |path| {
            format!("`{path}` in the archive")
        });
        let message = format!(
            "{what} expands by a factor of more than {}, which no ordinary image does; leave it out, or store it as JPEG or PNG",
            limits.max_expansion_ratio
        );
        Self::new("expansion_ratio", message)
    }

    pub fn overlapping_entries() -> Self {
        let message =
            "several files of the zip archive share the same bytes, as in a zip bomb; pack the folder again";
        Self::new("overlapping_entries", message)
    }

    pub fn into_refusal(self) -> Refusal {
        Refusal::new(self.code, self.message)
    }
}
