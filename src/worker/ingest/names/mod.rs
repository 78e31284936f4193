//! Pass one: what the names in an archive and its tables say of classes and splits. No pixel is looked at.

pub mod arrange;
pub mod entry;
pub mod layout;
pub mod listing;
pub mod manifest;
pub mod path;
pub mod tables;
