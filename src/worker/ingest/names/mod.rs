//! Pass one: what the names in an archive and its tables say about classes and splits. No pixels are read.

pub mod arrange;
mod assign;
mod class_doubts;
mod class_names;
mod contents;
mod decoded;
mod doubt;
pub mod entry;
mod file_names;
mod layout;
mod links;
pub mod listing;
mod masks;
pub mod path;
mod readings;
mod seen;
pub mod tables;
