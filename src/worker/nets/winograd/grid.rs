//! The tiles that images are cut into, and how a tile is brought into Winograd's form.

use fearless_simd::prelude::*;

use super::{
    shared::Shared,
    transform::{self, Columns},
};

/// Pixels of a tile's side.
pub(super) const SIDE: usize = 4;

/// Activations of one size, `[N, H, W, channels]`, cut into tiles.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    pub count: usize,
    pub height: usize,
    pub width: usize,
}

impl Grid {
    pub fn tiles(&self) -> usize {
        self.count * self.rows() * self.columns()
    }

    fn rows(&self) -> usize {
        self.height.div_ceil(SIDE)
    }

    fn columns(&self) -> usize {
        self.width.div_ceil(SIDE)
    }

    /// The image that a tile is of, and the tile's first row and column there.
    pub fn place(&self, tile: usize) -> (usize, usize, usize) {
        let of_image = self.rows() * self.columns();
        let (image, tile) = (tile / of_image, tile % of_image);
        (image, tile / self.columns() * SIDE, tile % self.columns() * SIDE)
    }
}

/// Activations and how many channels they have.
#[derive(Clone, Copy)]
pub(super) struct Channels<'a, S> {
    pub simd: S,
    pub numbers: &'a [f32],
    pub count: usize,
}

/// Some of a grid's tiles, one after the other.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub grid: &'a Grid,
    pub first: usize,
    pub count: usize,
    /// Where in a form they belong.
    pub at: usize,
    /// How many there is room for: a form is `[36, room, channels]`, the places [`stride`] numbers apart.
    pub room: usize,
}

/// From one place of a form to the next: not a power of two or nearly one, because then all 36 numbers that belong together would have to
/// share a few lines of the cache.
pub(super) const fn stride(room: usize, channels: usize) -> usize {
    room * channels + 16
}

impl Run<'_> {
    /// The form of tiles that are convolved, each with one pixel more around: `Bᵀ d B`.
    #[inline(always)]
    pub fn inputs<S: Simd>(&self, activations: Channels<'_, S>, form: &Shared<'_>) {
        self.each(activations, 1, transform::Input, form);
    }

    /// The form of the gradients of tiles that came out of a convolution: `A e Aᵀ`.
    #[inline(always)]
    pub fn gradients<S: Simd>(&self, activations: Channels<'_, S>, form: &Shared<'_>) {
        self.each(activations, 0, transform::OutputGradient, form);
    }

    /// Of tiles with `margin` pixels more around. What is outside of the image is zero.
    #[inline(always)]
    fn each<S: Simd, const SIZE: usize>(
        &self,
        activations: Channels<'_, S>,
        margin: usize,
        columns: impl Columns<S, SIZE, 6>,
        form: &Shared<'_>,
    ) {
        let Channels { simd, numbers, count } = activations;
        let &Grid { height, width, .. } = self.grid;
        let (lanes, stride) = (S::f32s::LEN, stride(self.room, count));
        let zero = S::f32s::splat(simd, 0.0);
        let mut lines = transform::lines(simd);
        for number in 0..self.count {
            let (image, top, left) = self.grid.place(self.first + number);
            for register in 0..count / lanes {
                for column in 0..SIZE {
                    // Before the image it is very large.
                    let x = (left + column).wrapping_sub(margin);
                    let mut pixels = [zero; SIZE];
                    for (row, pixel) in pixels.iter_mut().enumerate() {
                        let y = (top + row).wrapping_sub(margin);
                        if y < height && x < width {
                            let at = ((image * height + y) * width + x) * count + register * lanes;
                            *pixel = S::f32s::from_slice(simd, &numbers[at..][..lanes]);
                        }
                    }
                    columns.first(simd, pixels, column, &mut lines);
                }
                for (row, line) in lines.iter().enumerate() {
                    for (column, value) in columns.second(simd, line).into_iter().enumerate() {
                        let at = (row * 6 + column) * stride + (self.at + number) * count + register * lanes;
                        // SAFETY: each tile has places of its own, and is computed once.
                        unsafe { form.write::<S>(at, value) };
                    }
                }
            }
        }
    }
}
