//! Work on datasets apart from jobs: ingest, adding and changing images, previews and thumbnails.

pub mod adding;
pub mod batch;
pub mod ingest;
pub mod preview;
pub mod revise;
pub mod thumbnails;
pub mod understand;
pub mod upgrade;
