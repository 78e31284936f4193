//! Predictions, in this server's own API and in those of other servers.

pub mod embeddings;
pub mod explain;
pub mod images;
pub mod oip;
pub mod predict;
pub mod torchserve;
