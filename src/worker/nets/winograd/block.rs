//! The three steps of a block of tiles.

use fearless_simd::prelude::*;

use super::{
    product,
    tiles::{SIDE, Tiles},
    transform::{self, PLACES},
};

/// Tiles that one thread computes together, again and again with others.
pub(super) struct Block<'a, S> {
    pub simd: S,
    pub tiles: &'a Tiles<'a>,
    /// Most tiles.
    pub room: usize,
    /// `[36, room, from]`
    pub input: &'a mut [f32],
    /// `[36, room, to]`
    pub product: &'a mut [f32],
}

impl<S: Simd> Block<'_, S> {
    /// Brings `count` tiles from `first` on into Winograd's form.
    #[inline(always)]
    pub fn take_in(&mut self, first: usize, count: usize) {
        let (simd, tiles, room) = (self.simd, self.tiles, self.room);
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
                        let at = ((row * 6 + column) * room + number) * tiles.from + register * lanes;
                        value.store_slice(&mut self.input[at..][..lanes]);
                    }
                }
            }
        }
    }

    /// Multiplies them with the kernel.
    #[inline(always)]
    pub fn multiply(&mut self, count: usize) {
        let Tiles { from, to, kernel, .. } = *self.tiles;
        let columns = product::columns(S::f32s::LEN);
        for place in 0..PLACES {
            let rows = &self.input[place * self.room * from..][..count * from];
            let products = &mut self.product[place * self.room * to..][..count * to];
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
    pub fn give_out(&self, first: usize, count: usize) {
        let (simd, tiles, room) = (self.simd, self.tiles, self.room);
        let zero = S::f32s::splat(simd, 0.0);
        let lanes = S::f32s::LEN;
        let registers = tiles.to / lanes;
        let taken = |numbers: &[f32], at: usize| S::f32s::from_slice(simd, &numbers[at..][..lanes]);
        let output = &tiles.output;
        for number in 0..count {
            let (picture, top, left) = tiles.place(first + number);
            let (rows, columns) = (SIDE.min(tiles.height - top), SIDE.min(tiles.width - left));
            for register in 0..registers {
                let bias = tiles.bias.map_or(zero, |bias| taken(bias, register * lanes));
                let mut half = [[zero; SIDE]; 6];
                for (column, done) in half.iter_mut().enumerate() {
                    let place =
                        |row: usize| ((row * 6 + column) * room + number) * tiles.to + register * lanes;
                    let products = std::array::from_fn(|row| taken(self.product, place(row)));
                    *done = transform::output(simd, products);
                }
                let lines: [_; SIDE] = std::array::from_fn(|row| half.map(|column| column[row]));
                for (row, line) in lines.into_iter().enumerate().take(rows) {
                    let line_at = (picture * tiles.height + top + row) * tiles.width + left;
                    for (column, value) in transform::output(simd, line)
                        .into_iter()
                        .enumerate()
                        .take(columns)
                    {
                        let at = (line_at + column) * tiles.to + register * lanes;
                        let mut value = value + bias;
                        if tiles.adds {
                            value += output.read(simd, at);
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
