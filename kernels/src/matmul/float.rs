//! The body for formats of floats: f32 sums of sixteen rows or twice as many, a few columns at a time.

use super::activations::Activations;
use super::level;
use super::out::Out;
use super::{PANEL, Panels};
use crate::format::Decoding;
use crate::simd::DotLanes;
use std::marker::PhantomData;

/// A format of floats with products. A panel holds column after column, sixteen numbers each.
pub(crate) trait Floats: Decoding {
    /// The numbers of sixteen rows, [`Decoding::BYTES`] each.
    fn values<L: DotLanes>(l: L, numbers: &[u8]) -> L::F;
}

pub(super) fn panel<T: Floats>(columns: usize) -> usize {
    columns * PANEL * T::BYTES
}

/// See [`super::Product`].
pub(super) fn pack<T: Floats>(rows: &[u8], row_bytes: usize, panel: &mut [u8]) {
    for (r, row) in rows.chunks_exact(row_bytes).enumerate() {
        for (number, column) in row.chunks_exact(T::BYTES).zip(panel.chunks_exact_mut(PANEL * T::BYTES)) {
            column[r * T::BYTES..][..T::BYTES].copy_from_slice(number);
        }
    }
}

/// Columns whose products are added up before they go to the sum: rounding errors grow with the root of this and of the
/// number of such runs, and runs can be computed side by side.
const RUN: usize = 16;

pub(super) struct Body<T>(PhantomData<T>);

impl<T: Floats> level::Body for Body<T> {
    #[inline(always)]
    fn multiply<L: DotLanes>(l: L, panels: Panels<'_>, x: &Activations, out: &mut Out<'_>) {
        let count = panels.starts.len() - 1;
        let mut n = 0;
        while n < count {
            let pair = L::PAIRS && n + 1 < count;
            for (first, width, values) in x.tiles(L::COLUMNS) {
                if pair {
                    tile::<L, T, 2>(l, panels, width, values, out, (n, first));
                } else {
                    tile::<L, T, 1>(l, panels, width, values, out, (n, first));
                }
            }
            n += if pair { 2 } else { 1 };
        }
    }
}

/// `P` panels times a tile of `width` columns, from those of `at` on.
#[inline(always)]
fn tile<L: DotLanes, T: Floats, const P: usize>(
    l: L,
    panels: Panels<'_>,
    width: usize,
    values: &[f32],
    out: &mut Out<'_>,
    at: (usize, usize),
) {
    match width {
        6 if L::COLUMNS >= 6 => columns::<L, T, P, 6>(l, panels, values, out, at),
        4 if L::COLUMNS >= 4 => columns::<L, T, P, 4>(l, panels, values, out, at),
        2 if L::COLUMNS >= 2 => columns::<L, T, P, 2>(l, panels, values, out, at),
        _ => {
            for p in 0..P {
                one_column::<L, T>(l, panels, values, out, (at.0 + p, at.1));
            }
        }
    }
}

/// `P` panels times `M` columns, from those of `at` on.
#[inline(always)]
fn columns<L: DotLanes, T: Floats, const P: usize, const M: usize>(
    l: L,
    panels: Panels<'_>,
    values: &[f32],
    out: &mut Out<'_>,
    at: (usize, usize),
) {
    let column = PANEL * T::BYTES;
    let x = values.as_chunks::<M>().0;
    let mut rest: [&[u8]; P] = [&[]; P];
    for (p, rest) in rest.iter_mut().enumerate() {
        *rest = &panels.bytes[panels.starts[at.0 + p]..][..x.len() * column];
    }
    let mut sums = [[l.splat(0.0); M]; P];
    for x in x.chunks(RUN) {
        let mut run = [[l.splat(0.0); M]; P];
        for (k, x) in x.iter().enumerate() {
            let mut weights = [l.splat(0.0); P];
            for p in 0..P {
                weights[p] = T::values(l, &rest[p][k * column..][..column]);
            }
            for j in 0..M {
                let x = l.splat(x[j]);
                for p in 0..P {
                    run[p][j] = l.fma(weights[p], x, run[p][j]);
                }
            }
        }
        for p in 0..P {
            rest[p] = &rest[p][x.len() * column..];
            for j in 0..M {
                sums[p][j] = l.add(sums[p][j], run[p][j]);
            }
        }
    }
    for (p, sums) in sums.into_iter().enumerate() {
        for (j, sum) in sums.into_iter().enumerate() {
            put(l, sum, out, (at.0 + p, at.1 + j));
        }
    }
}

/// One panel times one column: runs are computed side by side, as one waits for its own last product most of the time.
#[inline(always)]
fn one_column<L: DotLanes, T: Floats>(l: L, panels: Panels<'_>, x: &[f32], out: &mut Out<'_>, at: (usize, usize)) {
    let column = PANEL * T::BYTES;
    let panel = &panels.bytes[panels.starts[at.0]..][..x.len() * column];
    let mut sum = l.splat(0.0);
    let (many, rest) = x.as_chunks::<{ 4 * RUN }>();
    for (x, numbers) in many.iter().zip(panel.chunks_exact(4 * RUN * column)) {
        let mut runs = [l.splat(0.0); 4];
        for k in 0..RUN {
            l.prefetch(numbers[4 * k * column..].as_ptr().wrapping_add(AHEAD));
            l.prefetch(numbers[(4 * k + 2) * column..].as_ptr().wrapping_add(AHEAD));
            for (n, run) in runs.iter_mut().enumerate() {
                let k = k + n * RUN;
                *run = l.fma(T::values(l, &numbers[k * column..][..column]), l.splat(x[k]), *run);
            }
        }
        for run in runs {
            sum = l.add(sum, run);
        }
    }
    for (x, numbers) in rest.chunks(RUN).zip(panel[many.len() * 4 * RUN * column..].chunks(RUN * column)) {
        let mut run = l.splat(0.0);
        for (x, numbers) in x.iter().zip(numbers.chunks_exact(column)) {
            run = l.fma(T::values(l, numbers), l.splat(*x), run);
        }
        sum = l.add(sum, run);
    }
    put(l, sum, out, at);
}

/// Write the sum of panel and column `at`.
#[inline(always)]
fn put<L: DotLanes>(l: L, sum: L::F, out: &mut Out<'_>, at: (usize, usize)) {
    let mut rows = [0.0; 16];
    l.store(sum, &mut rows);
    out.put(at.0, at.1, &rows);
}

/// Bytes that are asked for ahead of their use.
const AHEAD: usize = 6 << 10;
