//! Any text as a table of labels beside images in folders, read in each form that a table may have: every image is used or accounted for.

#![no_main]

use finetuned_fuzz::{limits::IngestLimits, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: run::let_panics_be_caught(), |text: &[u8]| {
    for name in ["labels.csv", "train.txt", "labels.json"] {
        run::checked(&run::archive_with_table(name, text), IngestLimits::DEFAULT);
    }
});
