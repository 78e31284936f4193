//! A convolution, tile by tile: a block of tiles is brought into Winograd's form, multiplied, and brought back while it is in the cache.

use std::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering},
};

use fearless_simd::{Level, dispatch, prelude::*};

use super::{block::Block, shared::Shared, threads::Threads, transform::PLACES};

/// Pixels of a tile's side.
pub(super) const SIDE: usize = 4;

/// What is to be computed. Activations are `[N, H, W, C]`, dense.
pub(super) struct Tiles<'a> {
    pub input: &'a [f32],
    /// See [`super::transform::kernel`].
    pub kernel: &'a [f32],
    pub bias: Option<&'a [f32]>,
    pub relu: bool,
    /// To what is there already.
    pub adds: bool,
    pub output: Shared<'a>,
    pub count: usize,
    pub height: usize,
    pub width: usize,
    pub from: usize,
    pub to: usize,
}

impl Tiles<'_> {
    /// Tiles that are multiplied together where the kernel is small, and where it has to come from memory each time: the more, the
    /// less often it does.
    const BLOCK: usize = 12;
    const LARGE_BLOCK: usize = 48;
    /// Numbers of a kernel for one place that are no trouble to fetch anew.
    const SMALL_KERNEL: usize = 1 << 17;

    pub fn compute(&self, level: Level, threads: Threads, count: usize) {
        let next = AtomicUsize::new(0);
        let block = self.block(count);
        let count = count.min(self.tiles().div_ceil(block));
        threads.each(count, &|| {
            let share = Blocks {
                tiles: self,
                block,
                next: &next,
            };
            dispatch!(level, simd => share.compute(simd));
        });
    }

    fn block(&self, threads: usize) -> usize {
        if self.from * self.to < Self::SMALL_KERNEL {
            return Self::BLOCK;
        }
        let share = self.tiles().div_ceil(threads).next_multiple_of(Self::BLOCK);
        share.min(Self::LARGE_BLOCK)
    }

    fn tiles(&self) -> usize {
        self.count * self.rows() * self.columns()
    }

    fn rows(&self) -> usize {
        self.height.div_ceil(SIDE)
    }

    fn columns(&self) -> usize {
        self.width.div_ceil(SIDE)
    }

    /// The picture that a tile is of, and the tile's first row and column there.
    pub fn place(&self, tile: usize) -> (usize, usize, usize) {
        let of_picture = self.rows() * self.columns();
        let (picture, tile) = (tile / of_picture, tile % of_picture);
        (
            picture,
            tile / self.columns() * SIDE,
            tile % self.columns() * SIDE,
        )
    }
}

/// A share of the blocks: those that nobody else has taken.
struct Blocks<'a> {
    tiles: &'a Tiles<'a>,
    block: usize,
    next: &'a AtomicUsize,
}

impl Blocks<'_> {
    #[inline(always)]
    fn compute<S: Simd>(&self, simd: S) {
        let &Self { tiles, block, next } = self;
        let (input, product) = (PLACES * block * tiles.from, PLACES * block * tiles.to);
        // Kept by the thread, because fresh memory of this size costs as much as the work.
        let mut memory = MEMORY.take();
        memory.resize(memory.len().max(input + product), 0.0);
        let (input, product) = memory.split_at_mut(input);
        let mut work = Block {
            simd,
            tiles,
            room: block,
            input,
            product,
        };
        loop {
            let first = next.fetch_add(1, Ordering::Relaxed) * block;
            let count = block.min(tiles.tiles().saturating_sub(first));
            if count == 0 {
                break;
            }
            work.take_in(first, count);
            work.multiply(count);
            work.give_out(first, count);
        }
        MEMORY.set(memory);
    }
}

thread_local! {
    /// What the last convolution of this thread computed with: at most 7 MB, for 512 channels.
    static MEMORY: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}
