//! The body for block formats: integer sums of sixteen rows per block, then one multiplication with both scales.

use super::activations::{Activations, Block, SCALE, SHIFTS, SUMS};
use super::level;
use super::out::Out;
use super::tiled::{self, Tiled, group};
use crate::simd::DotLanes;
use std::marker::PhantomData;

/// Columns whose sums stay in the nearest cache while a panel goes by; their activations stay in the next one.
const COLUMNS: usize = 32;
/// Bytes that are asked for ahead of their use.
const AHEAD: usize = 6 << 10;

pub(super) struct Body<T>(PhantomData<T>);

impl<T: Tiled> level::Body for Body<T> {
    #[inline(always)]
    fn multiply<L: DotLanes>(l: L, panels: &[u8], panel: usize, x: &Activations, out: &mut Out<'_>) {
        for (n, bytes) in panels.chunks_exact(panel).enumerate() {
            if x.columns() == 1 {
                // A body of its own: codes that are used once need no place in memory.
                one::<L, T>(l, bytes, x.blocks(), out, n);
                continue;
            }
            for first in (0..x.columns()).step_by(COLUMNS) {
                many::<L, T>(l, bytes, x, first, out, n);
            }
        }
    }
}

/// One panel times the only column.
#[inline(always)]
fn one<L: DotLanes, T: Tiled>(l: L, panel: &[u8], x: &[Block], out: &mut Out<'_>, n: usize) {
    let mut sum = [l.splat(0.0)];
    let mut x = x.iter();
    for tile in panel.chunks_exact(tiled::tile::<T>()) {
        prefetch(l, tile);
        let (scales, lines) = tile.split_at(T::SCALES);
        for (b, lines) in lines.chunks_exact(tiled::code_bytes::<T>()).enumerate() {
            let Some(x) = x.next() else { return };
            let block = Codes::<L, T>::of(l, scales, lines, b);
            block.add(l, std::array::from_ref(x), &mut sum);
        }
    }
    put(l, sum[0], out, n, 0);
}

/// One panel times some columns from `first` on.
#[inline(always)]
fn many<L: DotLanes, T: Tiled>(l: L, panel: &[u8], x: &Activations, first: usize, out: &mut Out<'_>, n: usize) {
    let columns = x.columns();
    let count = COLUMNS.min(columns - first);
    let mut sums = [l.splat(0.0); COLUMNS];
    let sums = &mut sums[..count];
    let mut rows = x.blocks().chunks_exact(columns);
    for tile in panel.chunks_exact(tiled::tile::<T>()) {
        if first == 0 {
            prefetch(l, tile);
        }
        let (scales, lines) = tile.split_at(T::SCALES);
        for (b, lines) in lines.chunks_exact(tiled::code_bytes::<T>()).enumerate() {
            let Some(x) = rows.next() else { return };
            let block = Codes::<L, T>::of(l, scales, lines, b);
            let (x, last) = x[first..][..count].as_chunks::<2>();
            let (sums, last_sum) = sums.as_chunks_mut::<2>();
            for (x, sums) in x.iter().zip(sums) {
                block.add(l, x, sums);
            }
            for (x, sum) in last.iter().zip(last_sum) {
                block.add(l, std::array::from_ref(x), std::array::from_mut(sum));
            }
        }
    }
    for (j, sum) in sums.iter().enumerate() {
        put(l, *sum, out, n, first + j);
    }
}

#[inline(always)]
fn put<L: DotLanes>(l: L, sum: L::F, out: &mut Out<'_>, n: usize, column: usize) {
    let mut values = [0.0; 16];
    l.store(sum, &mut values);
    out.put(n, column, &values);
}

#[inline(always)]
fn prefetch<L: DotLanes>(l: L, tile: &[u8]) {
    for line in tile.chunks(64) {
        l.prefetch(line.as_ptr().wrapping_add(AHEAD));
    }
}

/// How many groups add up before 16 bits could overflow, of the four of half a block.
const fn most_groups<T: Tiled>() -> usize {
    let top = match T::TABLE {
        // Twice the largest E2M1 number, and what is zero: tables of larger numbers are wide.
        Some(_) => 24,
        None => T::LINES.top(),
    };
    let most = i16::MAX as i32 / (2 * 127 * top);
    if most >= 8 {
        8
    } else if most >= 4 {
        4
    } else {
        2
    }
}

/// A block of 32 columns of sixteen rows, ready to be multiplied.
struct Codes<L: DotLanes, T> {
    /// Eight groups; not used by wide codes.
    narrow: [L::W; 8],
    wide: [L::Wide; 8],
    /// Of both halves; the same where they share it.
    scales: [L::F; 2],
    shifts: [L::F; 2],
    format: PhantomData<T>,
}

impl<L: DotLanes, T: Tiled> Codes<L, T> {
    /// Block `b` of a tile.
    #[inline(always)]
    fn of(l: L, scales: &[u8], lines: &[u8], b: usize) -> Self {
        let lines = lines.as_chunks::<64>().0;
        let first = group::<L, T>(l, lines, 0, 0);
        let (mut narrow, mut wide) = ([first; 8], [l.wide(first); 8]);
        for g in 0..8 {
            let codes = group::<L, T>(l, lines, g / 4, g % 4);
            if T::ZERO == 128 {
                wide[g] = l.wide(codes);
            } else {
                narrow[g] = codes;
            }
        }
        let subs = if T::SUB == 16 { [2 * b, 2 * b + 1] } else { [b, b] };
        Codes {
            narrow,
            wide,
            scales: [T::scale(l, scales, subs[0]), T::scale(l, scales, subs[1])],
            shifts: [T::shift(l, scales, subs[0]), T::shift(l, scales, subs[1])],
            format: PhantomData,
        }
    }

    /// Add the products with `N` columns to their sums.
    #[inline(always)]
    fn add<const N: usize>(&self, l: L, x: &[Block; N], sums: &mut [L::F; N]) {
        for half in 0..32 / T::SUB {
            let halves = if T::SUB == 16 { half..half + 1 } else { 0..2 };
            for j in 0..N {
                let x = &x[j].0;
                let (mut zero, mut shift) = (0, 0.0);
                for half in halves.clone() {
                    zero += x[SUMS + half] as i32;
                    shift += f32::from_bits(x[SHIFTS + half]);
                }
                let ints = l.float(self.ints(l, x, half, zero));
                let d = l.splat(f32::from_bits(x[SCALE]));
                sums[j] = l.fma(ints, l.mul(self.scales[half], d), sums[j]);
                if T::SHIFTED {
                    sums[j] = l.fma(self.shifts[half], l.splat(shift), sums[j]);
                }
            }
        }
    }

    /// The exact sums of codes, less their zero, times activations, which add up to `sum`: of half a block, or all of it.
    #[inline(always)]
    fn ints(&self, l: L, x: &[u32; 16], half: usize, sum: i32) -> L::I {
        let groups = T::SUB / 4;
        let first = half * groups;
        if T::ZERO == 128 {
            let mut ints = l.int(-L::WIDE_ZERO * sum);
            for (codes, x) in self.wide[first..][..groups].iter().zip(&x[first..]) {
                ints = l.dot_wide(ints, *codes, *x);
            }
            return ints;
        }
        let mut ints = l.int(-i32::from(T::ZERO) * sum);
        let mut part = l.begin(ints);
        for (g, (codes, x)) in self.narrow[first..][..groups].iter().zip(&x[first..]).enumerate() {
            if g > 0 && g % most_groups::<T>() == 0 {
                ints = l.end(ints, part);
                part = l.begin(ints);
            }
            part = l.dot(part, *codes, *x);
        }
        l.end(ints, part)
    }
}
