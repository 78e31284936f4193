//! Pass one: what the names in an archive and its tables say about classes and splits. No pixels are read.

pub mod arrange;
pub mod entry;
pub mod layout;
pub mod listing;
pub mod manifest;
pub mod path;
pub mod tables;
