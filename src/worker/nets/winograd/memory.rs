//! Memory to compute in, kept by each thread from one convolution to the next: fresh memory of this size would cost as much as the work.

use std::{
    cell::Cell,
    ops::{Deref, DerefMut},
};

/// So many numbers, whatever they are.
pub(super) struct Memory {
    numbers: Vec<f32>,
    count: usize,
}

impl Memory {
    pub fn of(count: usize) -> Self {
        let mut numbers = KEPT.take();
        numbers.resize(numbers.len().max(count), 0.0);
        Self { numbers, count }
    }
}

impl Deref for Memory {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.numbers[..self.count]
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.numbers[..self.count]
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        KEPT.set(std::mem::take(&mut self.numbers));
    }
}

thread_local! {
    /// What the last of this thread's had: at most 7 MB, for 512 channels.
    static KEPT: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}
