//! The three steps of a block of tiles.

use fearless_simd::prelude::*;

use super::{
    grid::{self, Channels, Run, SIDE},
    product,
    shared::Shared,
    task::Tiles,
    transform::{self, Columns, Output, PLACES},
};

/// Tiles that one thread computes together, again and again with others.
pub(super) struct Block<'a, S> {
    pub simd: S,
    pub tiles: &'a Tiles<'a>,
    /// `[36, room, from]`
    pub input: &'a mut [f32],
    /// `[36, room, to]`
    pub product: &'a mut [f32],
}

impl<S: Simd> Block<'_, S> {
    /// Computes the output at these tiles.
    #[inline(always)]
    pub fn compute(&mut self, run: Run<'_>) {
        let input = Channels {
            simd: self.simd,
            numbers: self.tiles.input,
            count: self.tiles.from,
        };
        run.inputs(input, &Shared::new(self.input));
        self.multiply(run);
        self.give_out(run);
    }

    /// Multiplies them with the kernel.
    #[inline(always)]
    fn multiply(&mut self, run: Run<'_>) {
        let Tiles { from, to, kernel, .. } = *self.tiles;
        let columns = product::columns(S::f32s::LEN);
        for place in 0..PLACES {
            let rows = &self.input[place * grid::stride(run.room, from)..][..run.count * from];
            let products = &mut self.product[place * grid::stride(run.room, to)..][..run.count * to];
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

    /// Brings them back, to their places in the output.
    #[inline(always)]
    fn give_out(&self, run: Run<'_>) {
        let (simd, tiles) = (self.simd, self.tiles);
        let zero = S::f32s::splat(simd, 0.0);
        let lanes = S::f32s::LEN;
        let (registers, stride) = (tiles.to / lanes, grid::stride(run.room, tiles.to));
        let (output, grid) = (&tiles.output, run.grid);
        let mut lines = transform::lines(simd);
        for number in 0..run.count {
            let (image, top, left) = grid.place(run.first + number);
            let (rows, columns) = (SIDE.min(grid.height - top), SIDE.min(grid.width - left));
            for register in 0..registers {
                let own = register * lanes..(register + 1) * lanes;
                let bias = match tiles.bias {
                    Some(bias) => S::f32s::from_slice(simd, &bias[own]),
                    None => zero,
                };
                for column in 0..6 {
                    let mut products = [zero; 6];
                    for (row, product) in products.iter_mut().enumerate() {
                        let at = (row * 6 + column) * stride + number * tiles.to + register * lanes;
                        *product = S::f32s::from_slice(simd, &self.product[at..][..lanes]);
                    }
                    Output.first(simd, products, column, &mut lines);
                }
                for (row, line) in lines.iter().enumerate().take(rows) {
                    let line_at = (image * grid.height + top + row) * grid.width + left;
                    let values: [_; SIDE] = Output.second(simd, line);
                    for (column, value) in values.into_iter().enumerate().take(columns) {
                        let at = (line_at + column) * tiles.to + register * lanes;
                        let mut value = value + bias;
                        if tiles.adds {
                            // SAFETY: each pixel of the output is of one tile, and each tile is computed once.
                            value += unsafe { output.read(simd, at) };
                        }
                        if tiles.relu {
                            // In this order: of a NaN it gives the NaN.
                            value = zero.max(value);
                        }
                        // SAFETY: as above.
                        unsafe { output.write::<S>(at, value) };
                    }
                }
            }
        }
    }
}
