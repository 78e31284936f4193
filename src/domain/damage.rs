//! Bytes on the server's disk that are no longer those that were stored: a failing disk or memory, or somebody's hand. Both programs hold
//! what they read to what is known of it, and say the same where it does not hold.

/// Something that was stored is damaged. It is no use to try again; what reads it must not go on as if nothing were the matter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} is damaged on the server's disk: it is not what was stored. {ADVICE}; `finetuned fsck --deep` on the server lists everything \
     that is damaged"
)]
pub struct Damaged {
    /// What a person calls it, such as "the manifest of dataset `flowers`". No path.
    what: String,
}

/// Whatever comes to the server with the very same bytes takes the damaged file's place.
const ADVICE: &str = "Put it back from a backup, or bring the same once more";

impl Damaged {
    /// The word for programs: of a problem's `type`, with an underscore of a failed job's and a failed dataset's error.
    pub const SLUG: &str = "data-damaged";
    pub const CODE: &str = "data_damaged";

    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }

    /// The file of an image, as it came in an archive.
    pub fn image(id: u32, path: &str) -> Self {
        Self::new(format!("the file of image {id} (`{path}`)"))
    }
}
