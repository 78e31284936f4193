//! Datasets: archives, versions, classes, splits.

pub mod archive;
pub mod class_name;
pub mod content;
pub mod dataset;
pub mod image_folder;
pub mod name_encoding;
pub mod split;
pub mod upload;
pub mod version;
