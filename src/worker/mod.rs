//! The worker's side: the only place with tensors and image decoding. It sees files and pipes that the server gave it, and nothing else:
//! no database, no socket of its own (except the hub's, for weights), no configuration.

pub mod augment;
pub mod device;
pub mod export;
pub mod fault;
pub mod files;
pub mod import;
pub mod ingest;
pub mod nets;
pub mod one_shot;
pub mod pixels;
pub mod predict;
pub mod process;
pub mod sample;
pub mod thumbnails;
pub mod train;
pub mod weights;
