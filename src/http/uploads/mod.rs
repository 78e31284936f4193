//! Receiving archives: in one request, or in several (tus).

pub mod body;
pub mod digests;
pub mod spoken;
pub mod spooling;
pub mod tus;
pub mod upload;
