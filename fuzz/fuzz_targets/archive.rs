//! Any bytes as an archive, read as the worker's child does: rejected for a reason, or a dataset that accounts for its entries.

#![no_main]

use finetuned_fuzz::{limits::IngestLimits, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: run::let_panics_be_caught(), |bytes: &[u8]| {
    run::checked(
        bytes,
        IngestLimits {
            max_expanded_bytes: 1 << 22,
            max_entries: 200,
            max_file_bytes: 1 << 16,
            max_image_pixels: 1 << 16,
            ..IngestLimits::DEFAULT
        },
    );
});
