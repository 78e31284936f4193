//! The worker: the only place with tensors and image decoding. It only accesses files and pipes from the server: no database, no sockets
//! (except to the hub, for weights), no configuration.

pub mod augment;
mod autograd;
pub mod bounds;
pub mod confinement;
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
