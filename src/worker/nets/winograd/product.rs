//! The product of a few rows with a panel of columns, which nearly all of the time goes into.

use fearless_simd::prelude::*;

/// Columns of a panel: two registers.
pub(super) const fn columns(lanes: usize) -> usize {
    2 * lanes
}

/// Rows of `rows`, `depth` numbers each, one after the other, times a panel, `[depth, columns]`. Row `i` of the product begins at
/// `i * stride` of `product`.
///
/// As many rows at a time as there are registers for: 12 with the 32 of AVX-512, 6 with the 16 of AVX2. How rows are grouped changes no
/// bit of them.
#[inline(always)]
pub(super) fn multiply<S: Simd>(
    simd: S,
    rows: &[f32],
    depth: usize,
    panel: &[f32],
    product: &mut [f32],
    stride: usize,
) {
    let count = rows.len() / depth;
    let mut done = 0;
    macro_rules! groups_of {
        ($size:literal) => {
            while count - done >= $size {
                let group = &rows[done * depth..(done + $size) * depth];
                some::<S, $size>(
                    simd,
                    group,
                    depth,
                    panel,
                    &mut product[done * stride..],
                    stride,
                );
                done += $size;
            }
        };
    }
    if S::f32s::LEN >= 16 {
        groups_of!(12);
    }
    groups_of!(6);
    groups_of!(3);
    groups_of!(1);
}

#[inline(always)]
fn some<S: Simd, const ROWS: usize>(
    simd: S,
    rows: &[f32],
    depth: usize,
    panel: &[f32],
    product: &mut [f32],
    stride: usize,
) {
    let lanes = S::f32s::LEN;
    let rows: [&[f32]; ROWS] = std::array::from_fn(|row| &rows[row * depth..][..depth]);
    let mut sums = [[S::f32s::splat(simd, 0.0); 2]; ROWS];
    for (place, columns) in panel.chunks_exact(columns(lanes)).take(depth).enumerate() {
        let (first, second) = columns.split_at(lanes);
        let (first, second) = (
            S::f32s::from_slice(simd, first),
            S::f32s::from_slice(simd, second),
        );
        for (row, sums) in rows.iter().zip(&mut sums) {
            // SAFETY: every row has `depth` numbers, and no more columns are taken.
            let factor = S::f32s::splat(simd, unsafe { *row.get_unchecked(place) });
            sums[0] = factor.mul_add(first, sums[0]);
            sums[1] = factor.mul_add(second, sums[1]);
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        let (first, second) = product[row * stride..][..columns(lanes)].split_at_mut(lanes);
        sums[0].store_slice(first);
        sums[1].store_slice(second);
    }
}

/// Adds to `sums`, `[left, columns]`, the products of each number of a row of `lefts`, `[depth, left]`, with the first of a row of
/// `rights`, whose rows are `right` numbers apart.
#[inline(always)]
pub(super) fn add_outer<S: Simd>(
    simd: S,
    lefts: &[f32],
    left: usize,
    rights: &[f32],
    right: usize,
    sums: &mut [f32],
) {
    let columns = columns(S::f32s::LEN);
    let mut done = 0;
    macro_rules! groups_of {
        ($size:literal) => {
            while left - done >= $size {
                let sums = &mut sums[done * columns..][..$size * columns];
                outer::<S, $size>(simd, &lefts[done..], left, rights, right, sums);
                done += $size;
            }
        };
    }
    if S::f32s::LEN >= 16 {
        groups_of!(12);
    }
    groups_of!(6);
    groups_of!(4);
    groups_of!(1);
}

#[inline(always)]
fn outer<S: Simd, const LEFTS: usize>(
    simd: S,
    lefts: &[f32],
    left: usize,
    rights: &[f32],
    right: usize,
    sums: &mut [f32],
) {
    let lanes = S::f32s::LEN;
    // From zero on, and not from the sums: the fewer numbers are added one after the other, the less is lost by rounding.
    let mut added = [[S::f32s::splat(simd, 0.0); 2]; LEFTS];
    for (lefts, rights) in lefts.chunks(left).zip(rights.chunks(right)) {
        let (first, second) = rights[..columns(lanes)].split_at(lanes);
        let (first, second) = (
            S::f32s::from_slice(simd, first),
            S::f32s::from_slice(simd, second),
        );
        for (factor, added) in lefts[..LEFTS].iter().zip(&mut added) {
            let factor = S::f32s::splat(simd, *factor);
            added[0] = factor.mul_add(first, added[0]);
            added[1] = factor.mul_add(second, added[1]);
        }
    }
    for (added, sums) in added.into_iter().zip(sums.chunks_exact_mut(columns(lanes))) {
        for (added, sums) in added.into_iter().zip(sums.chunks_exact_mut(lanes)) {
            (added + S::f32s::from_slice(simd, sums)).store_slice(sums);
        }
    }
}
