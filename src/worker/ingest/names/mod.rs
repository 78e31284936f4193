//! Pass one: what the names in an archive and its tables say about classes and splits. No pixels are read.

pub mod arrange;
mod decoded;
pub mod entry;
pub mod layout;
mod links;
pub mod listing;
pub mod manifest;
pub mod path;
mod seen;
pub mod tables;
