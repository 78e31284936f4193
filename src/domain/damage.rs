//! Bytes on the server's disk that are no longer what was stored: a failing disk or memory, or somebody's edit. Both programs verify what
//! they read and report damage in the same words.

/// Stored data is damaged. Retrying is useless, and whatever reads it must not continue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} is damaged on the server's disk: it is not what was stored. {ADVICE}; `finetuned fsck --deep` on the server lists everything \
     that is damaged"
)]
pub struct Damaged {
    /// What a person calls it, such as "the manifest of dataset `flowers`". No path.
    what: String,
}

/// Uploading the very same bytes replaces the damaged file.
const ADVICE: &str = "Restore it from a backup, or upload the same file again";

impl Damaged {
    /// The code for programs: used in a problem's `type`, and with an underscore in the error of a failed job or dataset.
    pub const SLUG: &str = "data-damaged";
    pub const CODE: &str = "data_damaged";

    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }

    /// The file of an image as it came in an archive.
    pub fn image(id: u32, path: &str) -> Self {
        Self::new(format!("the file of image {id} (`{path}`)"))
    }
}
