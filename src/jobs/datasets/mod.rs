//! Work on datasets that is no job: reading archives, adding and changing images, drawing them.

pub mod adding;
pub mod batch;
pub mod ingest;
pub mod preview;
pub mod revise;
pub mod thumbnails;
pub mod upgrade;
