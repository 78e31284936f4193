//! An image that can be used, as ingest keeps it.

use crate::{
    protocol::ManifestImage,
    worker::pixels::{Fingerprint, Mode},
};

/// An image that was stored, and what was seen of it.
pub struct Stored {
    pub image: ManifestImage,
    pub mode: Mode,
    pub fingerprint: Fingerprint,
}
