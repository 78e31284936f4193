//! `/v1/datasets`: what is uploaded, its images, its versions.

pub mod archive;
pub mod dataset;
pub mod division;
pub mod images;
pub mod images_add;
pub mod images_edit;
pub mod one_image;
pub mod preview;
pub mod versions;
