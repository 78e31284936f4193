//! The reading of strangers' bytes, compiled without libtorch and without the server: the sources are those of the server and the worker,
//! brought in by path as the worker's own program does it. The targets are in `fuzz_targets`, what they begin with is in `seeds`.

#![allow(dead_code, unused_imports)]

pub mod faults;
pub mod memory;
pub mod pieces;
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

/// Of the worker what reads archives, images and requests for predictions.
#[path = "../../src/worker"]
pub mod worker {
    pub mod ingest;
    pub mod pixels;
    pub mod predict {
        pub mod pipe;
        pub mod request;
    }
    pub mod process;
}

/// Of the server what reads requests, without what answers them.
#[path = "../../src/http"]
pub mod http {
    pub mod access {
        pub mod presented;
    }
    pub mod connections {
        mod peer;
        pub use peer::Peer;
    }
    pub mod predictions {
        pub mod oip {
            pub mod wire;
        }
    }
    pub mod repeats {
        pub mod told;
    }
    pub mod requests {
        pub mod base64_text;
        pub mod conditions;
        pub mod duplicates;
        pub mod form;
        pub mod forwarded;
        pub mod json;
        pub mod nulls;
        pub mod trace;
    }
    pub mod responses {
        pub mod range;
    }
    pub mod uploads {
        pub mod digests;
        pub mod tus;
    }
}

/// What those need of the rest of it.
#[path = "../../src"]
pub mod server {
    pub mod config {
        pub mod network;
    }
    pub mod uploads {
        mod slow;
        pub use slow::too_slow;
    }
}

/// The server's side of the pipes to its children.
#[path = "../../src/inference"]
pub mod inference {
    pub mod wire;
}
#[path = "../../src/process"]
pub mod process {
    pub mod lines;
}

pub use library::{error, limits, protocol};
pub use server::{config, uploads};
