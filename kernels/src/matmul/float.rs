//! The body for formats of floats: f32 sums of sixteen rows, sixteen columns at a time.

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
        for (n, bytes) in panels.iter().enumerate() {
            for (first, count, values) in x.tiles(L::COLUMNS) {
                match count {
                    8 if L::COLUMNS >= 8 => columns::<L, T, 8>(l, bytes, values, out, n, first),
                    6 if L::COLUMNS >= 6 => columns::<L, T, 6>(l, bytes, values, out, n, first),
                    4 if L::COLUMNS >= 4 => columns::<L, T, 4>(l, bytes, values, out, n, first),
                    2 if L::COLUMNS >= 2 => columns::<L, T, 2>(l, bytes, values, out, n, first),
                    _ => columns::<L, T, 1>(l, bytes, values, out, n, first),
                }
            }
        }
    }
}

/// One panel times `M` columns.
#[inline(always)]
fn columns<L: DotLanes, T: Floats, const M: usize>(
    l: L,
    panel: &[u8],
    values: &[f32],
    out: &mut Out<'_>,
    n: usize,
    first: usize,
) {
    let column = PANEL * T::BYTES;
    let x = values.as_chunks::<M>().0;
    let panel = &panel[..x.len() * column];
    let mut sums = [l.splat(0.0); M];
    let mut done = 0;
    if M == 1 {
        // One run waits for its own last product most of the time.
        let (many, _) = x.as_chunks::<{ 4 * RUN }>();
        for (x, numbers) in many.iter().zip(panel.chunks_exact(4 * RUN * column)) {
            let [mut a, mut b, mut c, mut d] = [[l.splat(0.0); M]; 4];
            for k in 0..RUN {
                l.prefetch(numbers[4 * k * column..].as_ptr().wrapping_add(AHEAD));
                l.prefetch(numbers[(4 * k + 2) * column..].as_ptr().wrapping_add(AHEAD));
                step::<L, T, M>(l, &mut a, &numbers[k * column..][..column], &x[k]);
                step::<L, T, M>(l, &mut b, &numbers[(k + RUN) * column..][..column], &x[k + RUN]);
                step::<L, T, M>(l, &mut c, &numbers[(k + 2 * RUN) * column..][..column], &x[k + 2 * RUN]);
                step::<L, T, M>(l, &mut d, &numbers[(k + 3 * RUN) * column..][..column], &x[k + 3 * RUN]);
            }
            for run in [a, b, c, d] {
                for j in 0..M {
                    sums[j] = l.add(sums[j], run[j]);
                }
            }
        }
        done = many.len() * 4 * RUN;
    }
    for (x, numbers) in x[done..].chunks(RUN).zip(panel[done * column..].chunks(RUN * column)) {
        let mut run = [l.splat(0.0); M];
        for (x, numbers) in x.iter().zip(numbers.chunks_exact(column)) {
            step::<L, T, M>(l, &mut run, numbers, x);
        }
        for j in 0..M {
            sums[j] = l.add(sums[j], run[j]);
        }
    }
    for (j, sum) in sums.into_iter().enumerate() {
        let mut rows = [0.0; 16];
        l.store(sum, &mut rows);
        out.put(n, first + j, &rows);
    }
}

/// Bytes that are asked for ahead of their use.
const AHEAD: usize = 6 << 10;

#[inline(always)]
fn step<L: DotLanes, T: Floats, const M: usize>(l: L, run: &mut [L::F; M], numbers: &[u8], x: &[f32; M]) {
    let weights = T::values(l, numbers);
    for j in 0..M {
        run[j] = l.fma(weights, l.splat(x[j]), run[j]);
    }
}
