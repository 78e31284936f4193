//! Into Winograd's form and back, for F(4×4, 3×3) with the points 0, ±1, ±2 and infinity (Lavin and Gray 2015, section 4.3).

use std::sync::atomic::{AtomicUsize, Ordering};

use fearless_simd::{Level, dispatch, prelude::*};

use super::{product, shared::Shared, threads::Threads};

/// Numbers of a tile, and of a kernel, in this form.
pub(super) const PLACES: usize = 36;

/// `Bᵀ d` for a column `d` of a tile.
#[inline(always)]
pub(super) fn input<S: Simd>(simd: S, tile: [S::f32s; 6]) -> [S::f32s; 6] {
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

/// `Aᵀ m` for a column `m` of a product.
#[inline(always)]
pub(super) fn output<S: Simd>(simd: S, product: [S::f32s; 6]) -> [S::f32s; 4] {
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

/// `G g` for a column `g` of a kernel.
#[inline(always)]
fn weights<S: Simd>(simd: S, kernel: [S::f32s; 3]) -> [S::f32s; 6] {
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

/// A kernel `[out, in, 3, 3]` as `[36, out / columns, in, columns]`: for each place the panels that [`product`] takes.
pub(super) fn kernel(level: Level, threads: Threads, direct: &[f32], from: usize, to: usize) -> Vec<f32> {
    let mut panels = vec![0.0; PLACES * from * to];
    let shared = Shared::new(&mut panels);
    let next = AtomicUsize::new(0);
    threads.each(tch::get_num_threads().max(1) as usize, &|| {
        let share = Kernel {
            direct,
            panels: &shared,
            next: &next,
            from,
            to,
        };
        dispatch!(level, simd => share.transform(simd));
    });
    panels
}

/// A share of a kernel's panels: those that nobody else has taken.
struct Kernel<'a> {
    direct: &'a [f32],
    panels: &'a Shared<'a>,
    next: &'a AtomicUsize,
    from: usize,
    to: usize,
}

impl Kernel<'_> {
    #[inline(always)]
    fn transform<S: Simd>(&self, simd: S) {
        let columns = product::columns(S::f32s::LEN);
        let count = self.to / columns;
        loop {
            let panel = self.next.fetch_add(1, Ordering::Relaxed);
            if panel >= count {
                return;
            }
            for from in 0..self.from {
                for half in 0..2 {
                    let first = panel * columns + half * S::f32s::LEN;
                    let places = places::<S>(simd, self.direct, self.from, from, first);
                    for (place, values) in places.into_iter().enumerate() {
                        let at = ((place * count + panel) * self.from + from) * columns + half * S::f32s::LEN;
                        self.panels.write::<S>(at, values);
                    }
                }
            }
        }
    }
}

/// All places of one register of outputs, from `first` on, for one input.
#[inline(always)]
fn places<S: Simd>(simd: S, direct: &[f32], inputs: usize, input: usize, first: usize) -> [S::f32s; PLACES] {
    let zero = S::f32s::splat(simd, 0.0);
    let mut kernel = [zero; 9];
    for lane in 0..S::f32s::LEN {
        let own = &direct[((first + lane) * inputs + input) * 9..][..9];
        for (place, value) in own.iter().enumerate() {
            kernel[place].as_mut_slice()[lane] = *value;
        }
    }
    let mut columns = [[zero; 3]; 6];
    for column in 0..3 {
        let transformed = weights(simd, [kernel[column], kernel[3 + column], kernel[6 + column]]);
        for (row, value) in transformed.into_iter().enumerate() {
            columns[row][column] = value;
        }
    }
    let mut places = [zero; PLACES];
    for (row, column) in columns.into_iter().enumerate() {
        places[row * 6..][..6].copy_from_slice(&weights(simd, column));
    }
    places
}
