//! The worker's reading of strangers' bytes, compiled without libtorch: the sources are those of the server and the worker, brought in
//! by path as the worker's own program does it. The targets are in `fuzz_targets`, what they begin with is in `seeds`.

#![allow(dead_code, unused_imports)]

pub mod run;

/// Of the library what the worker knows.
#[path = "../../src"]
mod library {
    pub mod domain;
    pub mod error;
    pub mod files;
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

pub use library::{domain, error, files, limits, protocol};
