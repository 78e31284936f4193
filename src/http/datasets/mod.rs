//! `/v1/datasets`: uploads, images and versions.

pub mod archive;
pub mod dataset;
pub mod division;
pub mod images;
pub mod images_add;
pub mod images_edit;
pub mod label_check;
pub mod naming;
pub mod one_image;
pub mod preview;
pub mod reading;
mod state;
pub mod upload_query;
pub mod versions;
