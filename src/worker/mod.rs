//! The worker's side: the only place with tensors and image decoding. It sees files and pipes that the server gave it, and nothing else:
//! no database, no socket of its own (except the hub's, for weights), no configuration.

pub mod child;
pub mod ingest;
pub mod pixels;
pub mod sample;
