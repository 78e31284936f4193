//! Any text as the paths of an archive, one a line, an image in each: every one of them is used or accounted for, in a class of its own
//! path.

#![no_main]

use finetuned_fuzz::{limits::IngestLimits, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: run::let_panics_be_caught(), |names: &str| {
    run::checked(&run::archive_of(names), IngestLimits::DEFAULT);
});
