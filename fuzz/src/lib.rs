//! The worker's reading of strangers' bytes, compiled without libtorch: the sources are those of the server and the worker, brought in
//! by path as the worker's own program does it. The targets are in `fuzz_targets`, what they begin with is in `seeds`.

#![allow(dead_code, unused_imports)]

pub mod run;

/// Of the library what the worker knows.
#[path = "../../src"]
mod library {
    pub mod digest;
    pub mod domain;
    pub mod error;
    pub mod limits;
    pub mod protocol;
    pub mod schema;
}

/// Of the worker what reads archives and images.
#[path = "../../src/worker"]
pub mod worker {
    pub mod child;
    pub mod ingest;
    pub mod pixels;
    pub mod stored;
}

pub use library::{digest, domain, error, limits, protocol, schema};
