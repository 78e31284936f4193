//! A convolution, tile by tile: a block of tiles is brought into Winograd's form, multiplied, and brought back while it is in the cache.

use fearless_simd::{Level, dispatch, prelude::*};

use super::{
    block::Block,
    grid::{self, Run},
    memory::Memory,
    task::Tiles,
    threads::Threads,
    transform::PLACES,
};

impl Tiles<'_> {
    /// Tiles that are multiplied together where the kernel is small, and where it has to come from memory each time: the more, the
    /// less often it does.
    const BLOCK: usize = 12;
    const LARGE_BLOCK: usize = 48;
    /// Numbers of a kernel for one place that are no trouble to fetch anew.
    const SMALL_KERNEL: usize = 1 << 17;

    pub fn compute(&self, level: Level, threads: Threads) {
        let room = self.block();
        threads.each(self.grid.tiles().div_ceil(room), &|number| {
            let first = number * room;
            let run = Run {
                grid: &self.grid,
                first,
                count: room.min(self.grid.tiles() - first),
                at: 0,
                room,
            };
            dispatch!(level, simd => self.compute_run(simd, run));
        });
    }

    fn block(&self) -> usize {
        if self.from * self.to < Self::SMALL_KERNEL {
            return Self::BLOCK;
        }
        let threads = tch::get_num_threads().max(1) as usize;
        let share = self.grid.tiles().div_ceil(threads).next_multiple_of(Self::BLOCK);
        share.clamp(Self::BLOCK, Self::LARGE_BLOCK)
    }

    #[inline(always)]
    fn compute_run<S: Simd>(&self, simd: S, run: Run<'_>) {
        let [input, product] = [self.from, self.to].map(|channels| PLACES * grid::stride(run.room, channels));
        let mut memory = Memory::of(input + product);
        let (input, product) = memory.split_at_mut(input);
        let mut work = Block {
            simd,
            tiles: self,
            input,
            product,
        };
        work.compute(run);
    }
}
