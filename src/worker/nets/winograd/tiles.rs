//! A convolution, tile by tile: a block of tiles is brought into Winograd's form, multiplied, and brought back while it is in the cache.

use std::{
    cell::Cell,
    marker::PhantomData,
    slice,
    sync::atomic::{AtomicUsize, Ordering},
};

use fearless_simd::{Level, dispatch, prelude::*};
use tch::{Device, Kind, Tensor};

use super::{
    product,
    threads::Threads,
    transform::{self, PLACES},
};

/// Pixels of a tile's side.
const SIDE: usize = 4;

/// What is to be computed. Activations are `[N, H, W, C]`, dense.
pub(super) struct Tiles<'a> {
    pub input: &'a [f32],
    /// See [`transform::kernel`].
    pub kernel: &'a [f32],
    pub bias: Option<&'a [f32]>,
    pub relu: bool,
    /// To what is there already.
    pub adds: bool,
    pub output: Output<'a>,
    pub count: usize,
    pub height: usize,
    pub width: usize,
    pub from: usize,
    pub to: usize,
}

/// A dense tensor of 32-bit floats that is written to.
pub(super) struct Output<'a> {
    numbers: Shared,
    tensor: PhantomData<&'a mut [f32]>,
}

impl<'a> Output<'a> {
    /// Of a tensor whose memory nobody else uses meanwhile.
    pub fn new(tensor: &'a Tensor) -> Self {
        assert_eq!((tensor.kind(), tensor.device()), (Kind::Float, Device::Cpu));
        Self {
            numbers: Shared {
                first: tensor.data_ptr().cast(),
                count: tensor.numel(),
            },
            tensor: PhantomData,
        }
    }
}

/// Numbers that several threads write to, each in other places.
pub(super) struct Shared {
    first: *mut f32,
    count: usize,
}

// SAFETY: whoever writes keeps to its own places.
unsafe impl Sync for Shared {}

impl Shared {
    pub fn new(numbers: &mut [f32]) -> Self {
        Self {
            first: numbers.as_mut_ptr(),
            count: numbers.len(),
        }
    }

    #[inline(always)]
    pub fn write<S: Simd>(&self, at: usize, values: S::f32s) {
        assert!(at + S::f32s::LEN <= self.count);
        // SAFETY: it is within, and nobody else has this place.
        values.store_slice(unsafe { slice::from_raw_parts_mut(self.first.add(at), S::f32s::LEN) });
    }

    #[inline(always)]
    fn read<S: Simd>(&self, simd: S, at: usize) -> S::f32s {
        assert!(at + S::f32s::LEN <= self.count);
        // SAFETY: as in `write`.
        S::f32s::from_slice(simd, unsafe {
            slice::from_raw_parts(self.first.add(at), S::f32s::LEN)
        })
    }
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
    fn place(&self, tile: usize) -> (usize, usize, usize) {
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
        let mut work = Work {
            simd,
            tiles,
            block,
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

/// One thread's.
struct Work<'a, S> {
    simd: S,
    tiles: &'a Tiles<'a>,
    block: usize,
    /// `[36, block, from]`
    input: &'a mut [f32],
    /// `[36, block, to]`
    product: &'a mut [f32],
}

impl<S: Simd> Work<'_, S> {
    #[inline(always)]
    fn take_in(&mut self, first: usize, count: usize) {
        let (simd, tiles, block) = (self.simd, self.tiles, self.block);
        let zero = S::f32s::splat(simd, 0.0);
        let lanes = S::f32s::LEN;
        let registers = tiles.from / lanes;
        for number in 0..count {
            let (picture, top, left) = tiles.place(first + number);
            for register in 0..registers {
                // One pixel more on each side; what is outside of the picture is zero.
                let mut tile = [[zero; 6]; 6];
                for (row, line) in tile.iter_mut().enumerate() {
                    let Some(y) = (top + row).checked_sub(1).filter(|y| *y < tiles.height) else {
                        continue;
                    };
                    let line_at = (picture * tiles.height + y) * tiles.width;
                    for (column, pixel) in line.iter_mut().enumerate() {
                        if let Some(x) = (left + column).checked_sub(1).filter(|x| *x < tiles.width) {
                            let at = (line_at + x) * tiles.from + register * lanes;
                            *pixel = S::f32s::from_slice(simd, &tiles.input[at..][..lanes]);
                        }
                    }
                }
                let mut columns = [[zero; 6]; 6];
                for column in 0..6 {
                    let done = transform::input(simd, std::array::from_fn(|row| tile[row][column]));
                    for (row, value) in done.into_iter().enumerate() {
                        columns[row][column] = value;
                    }
                }
                for (row, line) in columns.into_iter().enumerate() {
                    for (column, value) in transform::input(simd, line).into_iter().enumerate() {
                        let at = ((row * 6 + column) * block + number) * tiles.from + register * lanes;
                        value.store_slice(&mut self.input[at..][..lanes]);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn multiply(&mut self, count: usize) {
        let Tiles { from, to, kernel, .. } = *self.tiles;
        let columns = product::columns(S::f32s::LEN);
        for place in 0..PLACES {
            let rows = &self.input[place * self.block * from..][..count * from];
            let products = &mut self.product[place * self.block * to..][..count * to];
            let panels = &kernel[place * from * to..][..from * to];
            for (number, panel) in panels.chunks_exact(from * columns).enumerate() {
                product::multiply(
                    self.simd,
                    rows,
                    from,
                    panel,
                    &mut products[number * columns..],
                    to,
                );
            }
        }
    }

    #[inline(always)]
    fn give_out(&self, first: usize, count: usize) {
        let (simd, tiles, block) = (self.simd, self.tiles, self.block);
        let zero = S::f32s::splat(simd, 0.0);
        let lanes = S::f32s::LEN;
        let registers = tiles.to / lanes;
        let taken = |numbers: &[f32], at: usize| S::f32s::from_slice(simd, &numbers[at..][..lanes]);
        let output = &tiles.output.numbers;
        for number in 0..count {
            let (picture, top, left) = tiles.place(first + number);
            let (rows, columns) = (SIDE.min(tiles.height - top), SIDE.min(tiles.width - left));
            for register in 0..registers {
                let bias = tiles.bias.map_or(zero, |bias| taken(bias, register * lanes));
                let mut half = [[zero; 6]; SIDE];
                for column in 0..6 {
                    let place =
                        |row: usize| ((row * 6 + column) * block + number) * tiles.to + register * lanes;
                    let products = std::array::from_fn(|row| taken(self.product, place(row)));
                    let done = transform::output(simd, products);
                    for (row, value) in done.into_iter().enumerate() {
                        half[row][column] = value;
                    }
                }
                for (row, line) in half.into_iter().enumerate().take(rows) {
                    let line_at = (picture * tiles.height + top + row) * tiles.width + left;
                    for (column, value) in transform::output(simd, line)
                        .into_iter()
                        .enumerate()
                        .take(columns)
                    {
                        let at = (line_at + column) * tiles.to + register * lanes;
                        let mut value = value + bias;
                        if tiles.adds {
                            value = value + output.read(simd, at);
                        }
                        if tiles.relu {
                            // In this order: of a NaN it gives the NaN.
                            value = zero.max(value);
                        }
                        output.write::<S>(at, value);
                    }
                }
            }
        }
    }
}
