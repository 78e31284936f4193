//! The gradient of a convolution's kernel: what went in and the gradient of what came out are brought into Winograd's form, some tiles at a
//! time, and for each of the 36 places the products of all tiles are added up. Up to rounding it is the gradient of
//! what [`super::tiles`] computes.

use fearless_simd::{Level, dispatch, prelude::*};

use super::{
    grid::{self, Channels, Grid, Run},
    level::lanes_of,
    product,
    shared::Shared,
    threads::Threads,
    transform::{self, Columns, PLACES},
};

/// What is to be computed. Activations are `[N, H, W, C]`, dense.
pub(super) struct KernelGradient<'a> {
    pub input: &'a [f32],
    /// Of what came out.
    pub gradient: &'a [f32],
    pub grid: Grid,
    pub from: usize,
    pub to: usize,
}

impl KernelGradient<'_> {
    /// Numbers of the tiles' forms that are held at once.
    const HELD: usize = 1 << 20;

    /// Tiles that a thread takes at once.
    const TAKEN: usize = 8;

    /// Fills in `[to, 3, 3, from]`. The threads work at the same tiles together, each at other places: the bits do not depend on how many
    /// there are.
    pub fn compute(&self, level: Level, threads: Threads, output: &Shared<'_>) {
        let tiles = self.grid.tiles();
        let room = (Self::HELD / (PLACES * (self.from + self.to))).clamp(1, tiles.max(1));
        let [mut inputs, mut gradients] =
            [self.from, self.to].map(|channels| vec![0.0; PLACES * grid::stride(room, channels)]);
        let mut sums = vec![0.0; PLACES * self.to * self.from];
        for first in (0..tiles).step_by(room) {
            let held = room.min(tiles - first);
            let forms = [&mut inputs, &mut gradients].map(|form| Shared::new(form));
            threads.each(held.div_ceil(Self::TAKEN), &|number| {
                let taken = number * Self::TAKEN;
                let run = Run {
                    grid: &self.grid,
                    first: first + taken,
                    count: Self::TAKEN.min(held - taken),
                    at: taken,
                    room,
                };
                dispatch!(level, simd => self.take_in(simd, run, &forms));
            });
            let panel = product::columns(lanes_of(level));
            let panels = self.from / panel;
            let shared = Shared::new(&mut sums);
            threads.each(PLACES * panels, &|number| {
                let size = self.to * panel;
                // SAFETY: nobody else has this number.
                let sums = unsafe { shared.part(number * size, size) };
                let (place, first) = (number / panels, number % panels * panel);
                let inputs = &inputs[place * grid::stride(room, self.from)..][..held * self.from];
                let gradients = &gradients[place * grid::stride(room, self.to)..][..held * self.to];
                dispatch!(level, simd => product::add_outer(
                    simd, gradients, self.to, &inputs[first..], self.from, sums,
                ));
            });
        }
        threads.each(self.to, &|to| {
            dispatch!(level, simd => self.give_out(simd, to, &sums, output));
        });
    }

    #[inline(always)]
    fn take_in<S: Simd>(&self, simd: S, run: Run<'_>, [inputs, gradients]: &[Shared<'_>; 2]) {
        let channels = |numbers, count| Channels { simd, numbers, count };
        run.inputs(channels(self.input, self.from), inputs);
        run.gradients(channels(self.gradient, self.to), gradients);
    }

    /// The gradient for one channel that goes out, of sums `[36, from / columns, to, columns]`.
    #[inline(always)]
    fn give_out<S: Simd>(&self, simd: S, to: usize, sums: &[f32], output: &Shared<'_>) {
        let lanes = S::f32s::LEN;
        let panel = product::columns(lanes);
        let mut lines = transform::lines(simd);
        for first in (0..self.from).step_by(lanes) {
            let number = first / panel;
            for column in 0..6 {
                let mut numbers = [S::f32s::splat(simd, 0.0); 6];
                for (row, numbers) in numbers.iter_mut().enumerate() {
                    let place = row * 6 + column;
                    let at = ((place * (self.from / panel) + number) * self.to + to) * panel + first % panel;
                    *numbers = S::f32s::from_slice(simd, &sums[at..][..lanes]);
                }
                transform::KernelGradient.first(simd, numbers, column, &mut lines);
            }
            for (row, line) in lines.iter().enumerate().take(3) {
                let values: [_; 3] = transform::KernelGradient.second(simd, line);
                for (column, value) in values.into_iter().enumerate() {
                    let at = (to * 9 + row * 3 + column) * self.from + first;
                    // SAFETY: each channel has places of its own, and is computed once.
                    unsafe { output.write::<S>(at, value) };
                }
            }
        }
    }
}
