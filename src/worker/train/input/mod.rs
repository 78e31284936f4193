//! Images on their way into the network: selection, order, packs, augmentation.

pub mod balance;
pub mod batch;
pub mod damages;
pub mod data;
pub mod feed;
pub mod loader;
pub mod mixing;
pub mod pack;
pub mod pack_file;
pub mod portion;
pub mod precompute;
pub mod views;
