//! What the processor's registers hold.

use fearless_simd::{Level, dispatch, prelude::*};

/// How many numbers fit into a register.
pub fn lanes_of(level: Level) -> usize {
    #[inline(always)]
    fn lanes<S: Simd>(_: S) -> usize {
        S::f32s::LEN
    }
    dispatch!(level, simd => lanes(simd))
}
