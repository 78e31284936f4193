//! `/v1/datasets`: uploads, images and versions.

pub mod archive;
pub mod dataset;
pub mod division;
pub mod image;
pub mod images;
pub mod images_add;
pub mod images_edit;
pub mod preview;
pub mod versions;
