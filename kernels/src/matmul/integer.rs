//! The body for block formats: integer sums of sixteen rows per block, then one multiplication with both scales.

use super::Panels;
use super::activations::{Activations, BLOCK, Block, SCALE, SHIFTS, SUMS};
use super::level;
use super::out::Out;
use super::tiled::{self, Tiled, group};
use crate::simd::DotLanes;
use std::marker::PhantomData;
use std::ops::Range;

/// Columns whose sums stay in the nearest cache while a panel goes by; their activations stay in the next one.
const COLUMNS: usize = 32;
/// Bytes that are asked for ahead of their use.
pub(super) const AHEAD: usize = 6 << 10;

pub(super) struct Body<T, D = Dense>(PhantomData<(T, D)>);

/// How the tiles of a panel lie.
pub(super) trait Layout<T: Tiled> {
    /// The products of a panel with the only column. A body of its own: codes that are used once need no place in memory.
    fn one<L: DotLanes>(l: L, panel: &[u8], x: &[Block]) -> L::F;
    /// One tile after another; there may be more of them than the panel has blocks.
    fn tiles(panel: &[u8]) -> impl Iterator<Item = &[u8]>;
    /// Block `b` of a tile.
    fn block<L: DotLanes>(l: L, tile: &[u8], b: usize) -> Codes<L, T>;
}

/// Every code has its place: see [`super::tiled`].
pub(super) struct Dense;

impl<T: Tiled> Layout<T> for Dense {
    #[inline(always)]
    fn one<L: DotLanes>(l: L, panel: &[u8], x: &[Block]) -> L::F {
        let mut sum = [l.splat(0.0)];
        let mut x = x.iter();
        for tile in <Self as Layout<T>>::tiles(panel) {
            for b in 0..T::BLOCK / BLOCK {
                let Some(x) = x.next() else { return sum[0] };
                prefetch(l, tile, b, T::BLOCK / BLOCK);
                <Self as Layout<T>>::block(l, tile, b).add(l, std::array::from_ref(x), &mut sum);
            }
        }
        sum[0]
    }

    #[inline(always)]
    fn tiles(panel: &[u8]) -> impl Iterator<Item = &[u8]> {
        panel.chunks_exact(tiled::tile::<T>())
    }

    #[inline(always)]
    fn block<L: DotLanes>(l: L, tile: &[u8], b: usize) -> Codes<L, T> {
        let (scales, lines) = tile.split_at(T::SCALES);
        let size = tiled::code_bytes::<T>();
        Codes::of(l, scales, &lines[b * size..][..size], b)
    }
}

impl<T: Tiled, D: Layout<T>> level::Body for Body<T, D> {
    #[inline(always)]
    fn multiply<L: DotLanes>(l: L, panels: Panels<'_>, x: &Activations, out: &mut Out<'_>) {
        for (n, bytes) in panels.iter().enumerate() {
            if x.columns() == 1 {
                put(l, D::one(l, bytes, x.blocks()), out, n, 0);
                continue;
            }
            for first in (0..x.columns()).step_by(COLUMNS) {
                many::<L, T, D>(l, bytes, x, first, out, n);
            }
        }
    }
}

/// One panel times some columns from `first` on.
#[inline(always)]
fn many<L: DotLanes, T: Tiled, D: Layout<T>>(
    l: L,
    panel: &[u8],
    x: &Activations,
    first: usize,
    out: &mut Out<'_>,
    n: usize,
) {
    let columns = x.columns();
    let count = COLUMNS.min(columns - first);
    let mut sums = [l.splat(0.0); COLUMNS];
    let sums = &mut sums[..count];
    let mut rows = x.blocks().chunks_exact(columns);
    'panel: for tile in D::tiles(panel) {
        for b in 0..T::BLOCK / BLOCK {
            let Some(x) = rows.next() else { break 'panel };
            if first == 0 {
                prefetch(l, tile, b, T::BLOCK / BLOCK);
            }
            let block = D::block(l, tile, b);
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

/// Ask for what lies ahead of block `b` of so many: a share of the tile, since too many requests at once have to wait.
#[inline(always)]
fn prefetch<L: DotLanes>(l: L, tile: &[u8], b: usize, blocks: usize) {
    let share = tile.len() / blocks;
    for line in 0..share.div_ceil(64) {
        l.prefetch(tile.as_ptr().wrapping_add(AHEAD + b * share + line * 64));
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
pub(super) struct Codes<L: DotLanes, T> {
    /// Eight groups; not used by wide codes.
    narrow: [L::W; 8],
    wide: [L::Wide; 8],
    /// Of both halves; the same where they share it.
    scales: [L::F; 2],
    shifts: [L::F; 2],
    format: PhantomData<T>,
}

impl<L: DotLanes, T: Tiled> Codes<L, T> {
    /// Block `b` of a tile, from its lines.
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
        Codes { narrow, ..Codes::of_wide(l, scales, b, wide) }
    }

    /// Block `b` of a tile, from its wide codes.
    #[inline(always)]
    pub(super) fn of_wide(l: L, scales: &[u8], b: usize, wide: [L::Wide; 8]) -> Self {
        let narrow = [l.line(&[0; 64]); 8];
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
            let ints = self.ints(l, x, half, halves.clone());
            for j in 0..N {
                let d = l.splat(f32::from_bits(x[j].0[SCALE]));
                sums[j] = l.fma(l.float(ints[j]), l.mul(self.scales[half], d), sums[j]);
                if T::SHIFTED {
                    let mut shift = 0.0;
                    for half in halves.clone() {
                        shift += f32::from_bits(x[j].0[SHIFTS + half]);
                    }
                    sums[j] = l.fma(self.shifts[half], l.splat(shift), sums[j]);
                }
            }
        }
    }

    /// The exact sums of codes, less their zero, times activations: of half a block, or all of it.
    #[inline(always)]
    fn ints<const N: usize>(&self, l: L, x: &[Block; N], half: usize, halves: Range<usize>) -> [L::I; N] {
        let groups = T::SUB / 4;
        let first = half * groups;
        let zero = if T::ZERO == 128 { L::WIDE_ZERO } else { T::ZERO.into() };
        let mut ints = [l.int(0); N];
        for j in 0..N {
            let mut sum = 0;
            for half in halves.clone() {
                sum += x[j].0[SUMS + half] as i32;
            }
            ints[j] = l.int(-zero * sum);
        }
        if T::ZERO == 128 {
            for (g, codes) in self.wide[first..][..groups].iter().enumerate() {
                for j in 0..N {
                    ints[j] = l.dot_wide(ints[j], *codes, x[j].0[first + g]);
                }
            }
            return ints;
        }
        let mut parts = [l.begin(ints[0]); N];
        for j in 1..N {
            parts[j] = l.begin(ints[j]);
        }
        for (g, codes) in self.narrow[first..][..groups].iter().enumerate() {
            for j in 0..N {
                if g > 0 && g % most_groups::<T>() == 0 {
                    ints[j] = l.end(ints[j], parts[j]);
                    parts[j] = l.begin(ints[j]);
                }
                parts[j] = l.dot(parts[j], *codes, x[j].0[first + g]);
            }
        }
        for j in 0..N {
            ints[j] = l.end(ints[j], parts[j]);
        }
        ints
    }
}
