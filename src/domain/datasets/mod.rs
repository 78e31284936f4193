//! Datasets: archives, versions, classes, splits.

pub mod archive;
pub mod class_name;
pub mod content;
pub mod dataset;
pub mod faults;
pub mod image_folder;
pub mod name_encoding;
pub mod reading;
pub mod split;
pub mod understanding;
pub mod upload;
pub mod version;
