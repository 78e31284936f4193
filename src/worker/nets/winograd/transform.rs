//! Into Winograd's form and back, for F(4×4, 3×3) with the points 0, ±1, ±2 and infinity (Lavin and Gray 2015, section 4.3).

use fearless_simd::{Level, dispatch, prelude::*};

use super::{level::lanes_of, product, shared::Shared, threads::Threads};

/// Numbers of a tile, and of a kernel, in this form.
pub(super) const PLACES: usize = 36;

/// A transformation of columns, which is done to the columns of a square, and then to the rows of what comes out. All of this is loops
/// and `inline(always)`: a closure need not be compiled for the wide registers of the function that it stands in, and then each
/// addition is a call.
pub(super) trait Columns<S: Simd, const FROM: usize, const TO: usize>: Copy {
    fn transformed(self, simd: S, column: [S::f32s; FROM]) -> [S::f32s; TO];

    /// The first half, of the column with this number.
    #[inline(always)]
    fn first(self, simd: S, column: [S::f32s; FROM], number: usize, lines: &mut Lines<S>) {
        for (line, value) in lines.iter_mut().zip(self.transformed(simd, column)) {
            line[number] = value;
        }
    }

    /// The second half: a row of the result.
    #[inline(always)]
    fn second(self, simd: S, line: &[S::f32s; 6]) -> [S::f32s; TO] {
        let mut numbers = [line[0]; FROM];
        numbers.copy_from_slice(&line[..FROM]);
        self.transformed(simd, numbers)
    }
}

/// Numbers between the two halves: the caller's, so that they need not be cleared each time.
pub(super) type Lines<S> = [[<S as Simd>::f32s; 6]; 6];

#[inline(always)]
pub(super) fn lines<S: Simd>(simd: S) -> Lines<S> {
    [[S::f32s::splat(simd, 0.0); 6]; 6]
}

/// `Bᵀ d` for a column `d` of a tile.
#[derive(Clone, Copy)]
pub(super) struct Input;

impl<S: Simd> Columns<S, 6, 6> for Input {
    #[inline(always)]
    fn transformed(self, simd: S, tile: [S::f32s; 6]) -> [S::f32s; 6] {
        let [d0, d1, d2, d3, d4, d5] = tile;
        let times = |factor: f32| S::f32s::splat(simd, factor);
        let (even, odd) = (d2.mul_add(times(-4.0), d4), d1.mul_add(times(-4.0), d3));
        let (outer, inner) = (d4 - d2, d3 - d1);
        [
            d0.mul_add(times(4.0), d2.mul_add(times(-5.0), d4)),
            even + odd,
            even - odd,
            inner.mul_add(times(2.0), outer),
            inner.mul_add(times(-2.0), outer),
            d1.mul_add(times(4.0), d3.mul_add(times(-5.0), d5)),
        ]
    }
}

/// `Aᵀ m` for a column `m` of a product.
#[derive(Clone, Copy)]
pub(super) struct Output;

impl<S: Simd> Columns<S, 6, 4> for Output {
    #[inline(always)]
    fn transformed(self, simd: S, product: [S::f32s; 6]) -> [S::f32s; 4] {
        let [m0, m1, m2, m3, m4, m5] = product;
        let times = |factor: f32| S::f32s::splat(simd, factor);
        let (ones, signs) = (m1 + m2, m1 - m2);
        let (twos, signed_twos) = (m3 + m4, m3 - m4);
        [
            m0 + (ones + twos),
            signed_twos.mul_add(times(2.0), signs),
            twos.mul_add(times(4.0), ones),
            signed_twos.mul_add(times(8.0), signs) + m5,
        ]
    }
}

/// `A e` for a column `e` of a tile's gradient: [`Output`] turned round.
#[derive(Clone, Copy)]
pub(super) struct OutputGradient;

impl<S: Simd> Columns<S, 4, 6> for OutputGradient {
    #[inline(always)]
    fn transformed(self, simd: S, tile: [S::f32s; 4]) -> [S::f32s; 6] {
        let [e0, e1, e2, e3] = tile;
        let times = |factor: f32| S::f32s::splat(simd, factor);
        let (even, odd) = (e0 + e2, e1 + e3);
        let (far_even, far_odd) = (
            e2.mul_add(times(4.0), e0),
            e3.mul_add(times(8.0), e1 * times(2.0)),
        );
        [
            e0,
            even + odd,
            even - odd,
            far_even + far_odd,
            far_even - far_odd,
            e3,
        ]
    }
}

/// `Gᵀ u` for a column `u` of a kernel's gradient: [`Weights`] turned round.
#[derive(Clone, Copy)]
pub(super) struct KernelGradient;

impl<S: Simd> Columns<S, 6, 3> for KernelGradient {
    #[inline(always)]
    fn transformed(self, simd: S, places: [S::f32s; 6]) -> [S::f32s; 3] {
        let [u0, u1, u2, u3, u4, u5] = places;
        let times = |factor: f32| S::f32s::splat(simd, factor);
        let (ones, signs) = (u1 + u2, u2 - u1);
        let (twos, signed_twos) = (u3 + u4, u3 - u4);
        let sixth = times(1.0 / 6.0);
        // Large numbers that nearly cancel: they do before the factor that is no power of two, which is rounded.
        [
            twos.mul_add(times(0.25), -ones).mul_add(sixth, u0 * times(0.25)),
            signed_twos.mul_add(times(0.5), signs) * sixth,
            (twos - ones).mul_add(sixth, u5),
        ]
    }
}

/// `G g` for a column `g` of a kernel.
#[derive(Clone, Copy)]
pub(super) struct Weights;

impl<S: Simd> Columns<S, 3, 6> for Weights {
    #[inline(always)]
    fn transformed(self, simd: S, kernel: [S::f32s; 3]) -> [S::f32s; 6] {
        let [g0, g1, g2] = kernel;
        let times = |factor: f32| S::f32s::splat(simd, factor);
        let even = (g0 + g2) * times(-1.0 / 6.0);
        let outer = g2.mul_add(times(1.0 / 6.0), g0 * times(1.0 / 24.0));
        [
            g0 * times(0.25),
            g1.mul_add(times(-1.0 / 6.0), even),
            g1.mul_add(times(1.0 / 6.0), even),
            g1.mul_add(times(1.0 / 12.0), outer),
            g1.mul_add(times(-1.0 / 12.0), outer),
            g2,
        ]
    }
}

/// The numbers of a kernel for convolutions, `[out, 3, 3, in]`.
#[derive(Clone, Copy)]
pub(super) struct Direct<'a> {
    pub numbers: &'a [f32],
    pub out: usize,
    pub input: usize,
    /// For the gradient of what went in: outputs and inputs exchanged, and the image turned by half a turn.
    pub turned: bool,
}

impl Direct<'_> {
    /// Channels that the convolution takes, and gives.
    pub fn channels(&self) -> (usize, usize) {
        match self.turned {
            false => (self.input, self.out),
            true => (self.out, self.input),
        }
    }

    #[inline(always)]
    fn number(&self, to: usize, place: usize, from: usize) -> f32 {
        let (out, place, input) = match self.turned {
            false => (to, place, from),
            true => (from, 8 - place, to),
        };
        self.numbers[(out * 9 + place) * self.input + input]
    }
}

/// A kernel as `[36, to / columns, from, columns]`: for each place the panels that [`product`] takes.
pub(super) fn kernel(level: Level, threads: Threads, direct: Direct<'_>) -> Vec<f32> {
    let mut panels = vec![0.0; PLACES * direct.out * direct.input];
    let shared = Shared::new(&mut panels);
    let (_, to) = direct.channels();
    threads.each(to / product::columns(lanes_of(level)), &|panel| {
        dispatch!(level, simd => direct.transform(simd, panel, &shared));
    });
    panels
}

impl Direct<'_> {
    /// Fills in the panel with this number, at all places.
    #[inline(always)]
    fn transform<S: Simd>(&self, simd: S, panel: usize, panels: &Shared<'_>) {
        let lanes = S::f32s::LEN;
        let columns = product::columns(lanes);
        let (all_from, all_to) = self.channels();
        let count = all_to / columns;
        let mut lines = lines(simd);
        for from in 0..all_from {
            for half in 0..2 {
                let first = panel * columns + half * lanes;
                for column in 0..3 {
                    let mut numbers = [S::f32s::splat(simd, 0.0); 3];
                    for (row, numbers) in numbers.iter_mut().enumerate() {
                        for (lane, number) in numbers.as_mut_slice().iter_mut().enumerate() {
                            *number = self.number(first + lane, row * 3 + column, from);
                        }
                    }
                    Weights.first(simd, numbers, column, &mut lines);
                }
                for (row, line) in lines.iter().enumerate() {
                    let values: [_; 6] = Weights.second(simd, line);
                    for (column, value) in values.into_iter().enumerate() {
                        let place = row * 6 + column;
                        let at = ((place * count + panel) * all_from + from) * columns + half * lanes;
                        // SAFETY: each panel has places of its own, and is computed once.
                        unsafe { panels.write::<S>(at, value) };
                    }
                }
            }
        }
    }
}
