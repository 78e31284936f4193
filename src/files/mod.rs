//! Digests and checksums of files, and files that only their owner may read.

pub mod checksum;
pub mod digest;
pub mod private;
