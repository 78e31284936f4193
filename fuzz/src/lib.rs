//! The worker's reading of strangers' bytes, compiled without libtorch: the sources are those of the server and the worker, brought in
//! by path as the worker's own program does it. The targets are in `fuzz_targets`, what they begin with is in `seeds`.

#![allow(dead_code, unused_imports)]

pub mod run;

// The parts of the library that the worker uses.
#[path = "../../src/domain/mod.rs"]
pub mod domain;
#[path = "../../src/files/mod.rs"]
pub mod files;

/// Those that are files beside `lib.rs`.
#[path = "../../src"]
mod library {
    pub mod error;
    pub mod limits;
    pub mod protocol;
}

/// Of the worker what reads archives and images.
#[path = "../../src/worker"]
pub mod worker {
    pub mod ingest;
    pub mod pixels;
    pub mod process;
}

pub use library::{error, limits, protocol};
