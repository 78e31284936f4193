//! Any bytes as an image: an image of the size that its header says, of which the pack has room, or one of our faults.

#![no_main]

use finetuned_fuzz::{domain::models::preprocessing::{Interpolation, UsedBits}, run, worker::pixels};
use libfuzzer_sys::fuzz_target;

/// Small, so that time goes into odd headers and not into pixels.
const MAX_PIXELS: u64 = 1 << 20;
const PACK_SIDE: u32 = 64;

fuzz_target!(init: run::let_panics_be_caught(), |bytes: &[u8]| {
    let Ok(header) = pixels::Header::read(bytes, MAX_PIXELS) else {
        return;
    };
    let (width, height) = header.dimensions();
    let Ok(decoded) = header.decode(UsedBits::ALL) else {
        return;
    };
    let upright = (decoded.width, decoded.height);
    assert!(upright == (width, height) || upright == (height, width));
    // Only far larger ones are decoded at a fraction of their size.
    let image = decoded.image;
    assert!((image.width, image.height) == upright);
    assert_eq!(image.rgb.len() as u64, u64::from(width) * u64::from(height) * 3);
    let packed = pixels::pack(image, PACK_SIDE, Interpolation::Bilinear);
    assert_eq!(
        packed.rgb.len() as u64,
        u64::from(packed.width) * u64::from(packed.height) * 3
    );
    assert!(packed.width.min(packed.height) <= PACK_SIDE);
    assert!(packed.width.max(packed.height) <= PACK_SIDE * pixels::MAX_ASPECT);
});
