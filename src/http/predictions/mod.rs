//! Images in, answers out, in our own words and in those of other servers.

pub mod embeddings;
pub mod explain;
pub mod images;
pub mod oip;
pub mod predict;
pub mod torchserve;
