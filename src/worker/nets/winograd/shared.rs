//! Memory that several threads write to, each in other places.

use std::{marker::PhantomData, slice};

use fearless_simd::prelude::*;
use tch::Tensor;

use super::dense::check_dense_floats;

/// Numbers that whoever has a reference may write to, a register at a time.
pub(super) struct Shared<'a> {
    first: *mut f32,
    count: usize,
    owner: PhantomData<&'a mut [f32]>,
}

// SAFETY: reading and writing are unsafe: whoever does it keeps to places that nobody else uses meanwhile.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub fn new(numbers: &'a mut [f32]) -> Self {
        Self {
            first: numbers.as_mut_ptr(),
            count: numbers.len(),
            owner: PhantomData,
        }
    }

    /// # Safety
    /// There are so many numbers, which nobody else uses for as long as this lives.
    pub unsafe fn at(first: *mut f32, count: usize) -> Self {
        Self {
            first,
            count,
            owner: PhantomData,
        }
    }

    /// The numbers of a dense tensor of 32-bit floats, in memory order.
    ///
    /// # Panics
    /// Where it is none.
    ///
    /// # Safety
    /// Nobody else uses its memory, through this tensor or another, for as long as this lives.
    pub unsafe fn of(tensor: &'a Tensor) -> Self {
        check_dense_floats(tensor);
        Self {
            first: tensor.data_ptr().cast(),
            count: tensor.numel(),
            owner: PhantomData,
        }
    }

    /// # Safety
    /// Nobody else uses these numbers meanwhile.
    #[expect(clippy::mut_from_ref, reason = "that is what this type is for")]
    pub unsafe fn part(&self, at: usize, count: usize) -> &mut [f32] {
        assert!(at + count <= self.count);
        // SAFETY: it is within, and the caller's alone.
        unsafe { slice::from_raw_parts_mut(self.first.add(at), count) }
    }

    /// # Panics
    /// Where it is beyond the end.
    ///
    /// # Safety
    /// Nobody else uses these numbers meanwhile.
    #[inline(always)]
    pub unsafe fn write<S: Simd>(&self, at: usize, values: S::f32s) {
        assert!(at + S::f32s::LEN <= self.count);
        // SAFETY: it is within, and the caller's alone.
        values.store_slice(unsafe { slice::from_raw_parts_mut(self.first.add(at), S::f32s::LEN) });
    }

    /// # Panics
    /// Where it is beyond the end.
    ///
    /// # Safety
    /// Nobody writes these numbers meanwhile.
    #[inline(always)]
    pub unsafe fn read<S: Simd>(&self, simd: S, at: usize) -> S::f32s {
        assert!(at + S::f32s::LEN <= self.count);
        // SAFETY: it is within, and nobody writes there.
        let numbers = unsafe { slice::from_raw_parts(self.first.add(at), S::f32s::LEN) };
        S::f32s::from_slice(simd, numbers)
    }
}
