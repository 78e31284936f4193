//! Any bytes as an image: an image of the size that its header says, of which the pack has room, or one of our faults.

#![no_main]

use finetuned_fuzz::{run, worker::pixels};
use libfuzzer_sys::fuzz_target;

/// Small, so that time goes into odd headers and not into pixels.
const MAX_PIXELS: u64 = 1 << 20;
const PACK_SIDE: u32 = 64;

fuzz_target!(init: run::let_panics_be_caught(), |bytes: &[u8]| {
    let size = pixels::Header::read(bytes, MAX_PIXELS).map(|header| header.dimensions());
    let Ok(image) = pixels::decode(bytes, MAX_PIXELS) else {
        return;
    };
    let (width, height) = size.expect("what can be decoded has a header");
    let upright = (image.width, image.height);
    assert!(upright == (width, height) || upright == (height, width));
    assert_eq!(image.rgb.len() as u64, u64::from(width) * u64::from(height) * 3);
    let packed = pixels::pack(image, PACK_SIDE);
    assert_eq!(
        packed.rgb.len() as u64,
        u64::from(packed.width) * u64::from(packed.height) * 3
    );
    assert!(packed.width.min(packed.height) <= PACK_SIDE);
    assert!(packed.width.max(packed.height) <= PACK_SIDE * pixels::MAX_ASPECT);
});
