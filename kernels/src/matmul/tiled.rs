//! The panels of block formats: what sixteen rows hold of the same columns lies together.
//!
//! A panel is one tile after another, each with one block of every row: first the scales, row by row, then for every 32
//! columns the codes in lines of 64 bytes. Byte 4 r + i of a line belongs to row r and to column 4 g + i, for each group g
//! of four columns that the line holds: one as whole bytes, two as half bytes, four as pairs of bits, or all eight as
//! single bits. Codes of five bits have four lines of half bytes and one of bits, and so on.

use super::PANEL;
use super::activations::BLOCK;
use crate::format::{Decoding, sixteen};
use crate::simd::{DotLanes, Lanes};

/// Which lines hold codes; each kind is above the one before it, in a code's bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lines {
    Bytes,
    Nibbles,
    NibblesAndBits,
    NibblesAndPairs,
    Pairs,
    PairsAndBits,
}

impl Lines {
    /// For 32 columns.
    pub(super) const fn count(self) -> usize {
        match self {
            Lines::Bytes => 8,
            Lines::Nibbles => 4,
            Lines::NibblesAndBits => 5,
            Lines::NibblesAndPairs => 6,
            Lines::Pairs => 2,
            Lines::PairsAndBits => 3,
        }
    }

    /// The largest code.
    pub(super) const fn top(self) -> i32 {
        match self {
            Lines::Bytes => 255,
            Lines::Nibbles => 15,
            Lines::NibblesAndBits => 31,
            Lines::NibblesAndPairs => 63,
            Lines::Pairs => 3,
            Lines::PairsAndBits => 7,
        }
    }
}

/// A block format with products.
pub(crate) trait Tiled: Decoding {
    /// How codes lie.
    const LINES: Lines;
    /// The number of each code, plus [`Tiled::ZERO`], where that is not the code itself.
    const TABLE: Option<&'static [u8; 16]> = None;
    /// What is zero. At 128 codes go up to 255.
    const ZERO: u8;
    /// Columns that share a scale, 16 or 32.
    const SUB: usize;
    /// A shift is added to scaled codes.
    const SHIFTED: bool = false;
    /// Bytes of the scales of sixteen blocks; by default a half-precision scale each, and a shift where there is one.
    const SCALES: usize = if Self::SHIFTED { 2 * HALVES } else { HALVES };

    /// The scales of a block go to where row `row` has its own, its codes to one byte each.
    fn take_apart(block: &[u8], row: usize, scales: &mut [u8], codes: &mut [u8]);

    /// The scale of the columns from `sub` times [`Tiled::SUB`], of each row.
    #[inline(always)]
    fn scale<L: DotLanes>(l: L, scales: &[u8], _sub: usize) -> L::F {
        halves(l, scales, 0)
    }

    /// What is added, of each row.
    #[inline(always)]
    fn shift<L: DotLanes>(l: L, scales: &[u8], _sub: usize) -> L::F {
        if Self::SHIFTED { halves(l, scales, HALVES) } else { l.splat(0.0) }
    }
}

/// Bytes of one half-precision number of each row.
pub(crate) const HALVES: usize = 2 * PANEL;

/// Put the half-precision number of row `row` among those that start at `at`.
pub(crate) fn put_half(scales: &mut [u8], at: usize, row: usize, half: [u8; 2]) {
    scales[at + 2 * row..][..2].copy_from_slice(&half);
}

/// Put the bytes of row `row` among those of the other rows, from `at` on.
pub(crate) fn put_bytes(bytes: &[u8], scales: &mut [u8], at: usize, row: usize) {
    for (index, byte) in bytes.iter().enumerate() {
        scales[at + index * PANEL + row] = *byte;
    }
}

/// The half-precision numbers of sixteen rows, from `at` on.
#[inline(always)]
pub(crate) fn halves<L: Lanes>(l: L, scales: &[u8], at: usize) -> L::F {
    l.half_values(sixteen_pairs(scales, at))
}

/// The bytes of sixteen rows, number `index` of those that start at `at`.
#[inline(always)]
pub(crate) fn bytes(scales: &[u8], at: usize, index: usize) -> &[u8; PANEL] {
    sixteen(scales, at + index * PANEL)
}

/// The half-precision scale of each row times the signed byte of sub-block `sub`, which stand behind them.
#[inline(always)]
pub(crate) fn signed_scale<L: Lanes>(l: L, scales: &[u8], sub: usize) -> L::F {
    l.mul(halves(l, scales, 0), l.widen_i8(bytes(scales, HALVES, sub)))
}

/// Sixteen pairs of bytes at `at`.
#[inline(always)]
pub(crate) fn sixteen_pairs(bytes: &[u8], at: usize) -> &[[u8; 2]; PANEL] {
    &bytes[at..].as_chunks::<2>().0.as_chunks::<PANEL>().0[0]
}

/// Half bytes, `run` bytes at a time: the low ones of a run, then the high ones.
pub(crate) fn take_nibbles(run: usize, bytes: &[u8], codes: &mut [u8]) {
    for (bytes, codes) in bytes.chunks_exact(run).zip(codes.chunks_exact_mut(2 * run)) {
        let (low, high) = codes.split_at_mut(run);
        for ((byte, low), high) in bytes.iter().zip(low).zip(high) {
            (*low, *high) = (byte & 15, byte >> 4);
        }
    }
}

/// Bytes of the codes of 32 columns.
pub(super) const fn code_bytes<T: Tiled>() -> usize {
    T::LINES.count() * 64
}

/// Bytes of a tile.
pub(super) const fn tile<T: Tiled>() -> usize {
    T::SCALES + T::BLOCK / BLOCK * code_bytes::<T>()
}

pub(super) fn panel<T: Tiled>(columns: usize) -> usize {
    columns / T::BLOCK * tile::<T>()
}

/// See [`super::Product`].
pub(super) fn pack<T: Tiled>(rows: &[u8], row_bytes: usize, panel: &mut [u8]) {
    // One byte a code, for the largest blocks.
    let mut codes = [0u8; PANEL * 256];
    for (b, tile) in panel.chunks_exact_mut(tile::<T>()).take(row_bytes / T::BYTES).enumerate() {
        let (scales, lines) = tile.split_at_mut(T::SCALES);
        for (row, bytes) in rows.chunks_exact(row_bytes).enumerate() {
            T::take_apart(&bytes[b * T::BYTES..][..T::BYTES], row, scales, &mut codes[row * T::BLOCK..][..T::BLOCK]);
        }
        for (n, lines) in lines.chunks_exact_mut(code_bytes::<T>()).enumerate() {
            let groups = gather(&codes[n * BLOCK..], T::BLOCK);
            put_lines(T::LINES, &groups, lines.as_chunks_mut::<64>().0);
        }
    }
}

/// Eight groups of four columns of sixteen rows, from rows that lie `row` codes apart.
fn gather(codes: &[u8], row: usize) -> [[u8; 64]; 8] {
    let mut groups = [[0; 64]; 8];
    for r in 0..PANEL {
        let row = &codes[r * row..][..BLOCK];
        for (group, codes) in groups.iter_mut().zip(row.as_chunks::<4>().0) {
            group.as_chunks_mut::<4>().0[r] = *codes;
        }
    }
    groups
}

fn put_lines(kind: Lines, groups: &[[u8; 64]; 8], lines: &mut [[u8; 64]]) {
    let (nibbles, pairs, bits) = match kind {
        Lines::Bytes => return lines.copy_from_slice(groups),
        Lines::Nibbles => (4, 0, 0),
        Lines::NibblesAndBits => (4, 0, 1),
        Lines::NibblesAndPairs => (4, 2, 0),
        Lines::Pairs => (0, 2, 0),
        Lines::PairsAndBits => (0, 2, 1),
    };
    // How far up the codes are that is left, and the lines of each kind. A line holds groups that follow each other.
    let mut below = 0;
    let mut rest = lines;
    for (count, width) in [(nibbles, 4), (pairs, 2), (bits, 1)] {
        if count == 0 {
            continue;
        }
        let (these, others) = rest.split_at_mut(count);
        for (g, group) in groups.iter().enumerate() {
            for (out, code) in these[g * width / 8].iter_mut().zip(group) {
                *out |= (code >> below & ((1 << width) - 1)) << (g * width % 8);
            }
        }
        (below, rest) = (below + width, others);
    }
}

/// Group 4 h + `g` out of the lines of 32 columns; `g` is below 4.
#[inline(always)]
pub(super) fn group<L: DotLanes, T: Tiled>(l: L, lines: &[[u8; 64]], h: usize, g: usize) -> L::W {
    let half = 4 * h as i32;
    let shift = g as i32;
    let codes = match T::LINES {
        Lines::Bytes => return l.line(&lines[4 * h + g]),
        Lines::Nibbles | Lines::NibblesAndBits | Lines::NibblesAndPairs => {
            l.part(l.line(&lines[2 * h + g / 2]), 4 * (shift % 2), 15)
        }
        Lines::Pairs | Lines::PairsAndBits => l.part(l.line(&lines[h]), 2 * shift, 3),
    };
    let codes = match T::LINES {
        Lines::NibblesAndBits => l.join(codes, l.part(l.part(l.line(&lines[4]), half, 15), shift - 4, 16)),
        Lines::NibblesAndPairs => l.join(codes, l.part(l.line(&lines[4 + h]), 2 * shift - 4, 48)),
        Lines::PairsAndBits => l.join(codes, l.part(l.part(l.line(&lines[2]), half, 15), shift - 2, 4)),
        _ => codes,
    };
    match T::TABLE {
        Some(table) => l.entry(table, codes),
        None => codes,
    }
}
