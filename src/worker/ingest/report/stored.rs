//! A usable image as stored by ingest.

use crate::{
    protocol::ManifestImage,
    worker::pixels::{Fingerprint, Mode},
};

/// An image that was stored, and what was found about it.
#[derive(Clone)]
pub struct Stored {
    pub image: ManifestImage,
    pub mode: Mode,
    /// The largest value of a 16-bit image.
    pub largest: Option<u16>,
    pub fingerprint: Fingerprint,
}
