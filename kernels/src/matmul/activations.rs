//! Activations, packed for products: tiles of a few columns side by side.

use super::View;
use super::level;
use super::pairs;
use crate::Level;
use crate::simd::{DotLanes, Op, run};

/// What a format multiplies with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Eight-bit integers with a scale per 32 values.
    Int8,
    /// The values themselves.
    F32,
    /// Values rounded to bf16, half to even; those below 2^-56 are zero.
    Bf16,
}

/// Values that share a scale.
pub(super) const BLOCK: usize = 32;
/// A block of one column, a line of the cache: eight words of four codes each, the scale, the sums of the codes of both
/// halves, and these sums times the scale.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Block(pub(super) [u32; 16]);

pub(super) const SCALE: usize = 8;
pub(super) const SUMS: usize = 9;
pub(super) const SHIFTS: usize = 11;

/// Columns of activations, ready to be multiplied with every matrix of their width and [`Input`].
///
/// As [`Input::Int8`], a block of 32 values x has the scale d = max|x| / 127 and the codes round(x / d), half away from
/// zero. A block with NaN or infinity gives NaN.
pub struct Activations {
    input: Input,
    level: Level,
    width: usize,
    columns: usize,
    /// As [`Input::Int8`]: block by block, the columns of each. As [`Input::Bf16`]: see [`super::pairs`].
    blocks: Vec<Block>,
    /// As [`Input::F32`]: tile by tile; in each, row by row of as many values as the tile has columns.
    values: Vec<f32>,
}

impl Activations {
    /// None yet.
    pub fn new(level: Level) -> Activations {
        Activations { input: Input::F32, level, width: 0, columns: 0, blocks: Vec::new(), values: Vec::new() }
    }

    /// Pack `values`, column after column of `width` each; memory is kept from call to call.
    ///
    /// # Panics
    /// When the values are no whole number of columns, or columns no whole number of blocks of an [`Input::Int8`].
    pub fn pack(&mut self, input: Input, values: &[f32], width: usize) {
        assert!(width > 0 && values.len().is_multiple_of(width));
        assert!(input != Input::Int8 || width.is_multiple_of(BLOCK));
        if input == Input::Bf16 {
            return self.pack_view(input, View::new(values, width));
        }
        (self.input, self.width, self.columns) = (input, width, values.len() / width);
        level::pack(self.level, self, values);
    }

    /// Pack the rows of `view`, each a column of activations.
    ///
    /// # Panics
    /// For an [`Input::Int8`].
    pub fn pack_view(&mut self, input: Input, view: View<'_>) {
        assert!(input != Input::Int8);
        (self.input, self.width, self.columns) = (input, view.columns(), view.rows());
        if input == Input::Bf16 {
            return pairs::pack_columns(self.level, view, &mut self.blocks);
        }
        // All of it is written below.
        self.values.resize(view.rows() * view.columns(), 0.0);
        run(self.level, Interleave { view, to: &mut self.values });
    }

    /// What they were packed as.
    pub fn input(&self) -> Input {
        self.input
    }

    /// The level that they were packed for.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Values of a column.
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    pub(super) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// First column, number of columns and values of every tile.
    pub(super) fn tiles(&self, most: usize) -> impl Iterator<Item = (usize, usize, &[f32])> {
        let tile = |first: usize, count: usize| &self.values[first * self.width..][..count * self.width];
        tiles(self.columns, most).map(move |(first, count)| (first, count, tile(first, count)))
    }
}

/// The rows of a view to tiles of values.
struct Interleave<'a> {
    view: View<'a>,
    to: &'a mut [f32],
}

impl Op for Interleave<'_> {
    type Output = ();
    // Tiles are as wide as the products want them.
    const BYTE_PRODUCTS: bool = true;

    #[inline(always)]
    fn body<L: DotLanes>(self, _: L) {
        let width = self.view.columns();
        for (first, count) in tiles(self.view.rows(), L::COLUMNS) {
            self.view.interleave(first..first + count, &mut self.to[first * width..][..count * width], count);
        }
    }
}

/// As many tiles of `most` columns as there are, then one each of the powers of two that are left.
fn tiles(columns: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut first = 0;
    std::iter::from_fn(move || {
        let left = columns - first;
        let count = if left >= most { most } else { 1 << left.checked_ilog2()? };
        first += count;
        Some((first - count, count))
    })
}

/// The body of [`Activations::pack`].
#[inline(always)]
pub(super) fn pack<L: DotLanes>(l: L, to: &mut Activations, values: &[f32]) {
    match to.input {
        Input::Int8 => {
            to.blocks.clear();
            to.blocks.resize(values.len() / BLOCK, Block([0; 16]));
            for (j, column) in values.chunks_exact(to.width).enumerate() {
                let blocks = to.blocks[j..].iter_mut().step_by(to.columns);
                for (to, x) in blocks.zip(column.as_chunks::<BLOCK>().0) {
                    quantize(l, x, &mut to.0);
                }
            }
        }
        Input::Bf16 => unreachable!("packed as a view"),
        Input::F32 => {
            to.values.clear();
            to.values.resize(values.len(), 0.0);
            for (first, count) in tiles(to.columns, L::COLUMNS) {
                let width = to.width;
                let (from, to) = (&values[first * width..], &mut to.values[first * width..][..count * width]);
                for (j, column) in from.chunks_exact(width).take(count).enumerate() {
                    for (to, x) in to.chunks_exact_mut(count).zip(column) {
                        to[j] = *x;
                    }
                }
            }
        }
    }
}

/// A block of one column.
#[inline(always)]
fn quantize<L: DotLanes>(l: L, x: &[f32; BLOCK], words: &mut [u32; 16]) {
    let halves = x.as_chunks::<16>().0;
    let (a, b) = (l.load(&halves[0]), l.load(&halves[1]));
    if l.any_non_finite(a) || l.any_non_finite(b) {
        words[SCALE] = f32::NAN.to_bits();
        words[SHIFTS..].fill(f32::NAN.to_bits());
        return;
    }
    let top = l.fold_max(l.max(l.abs(a), l.abs(b)));
    let d = top / 127.0;
    // The inverse of a subnormal scale is infinite: such values count for nothing.
    let inverse = if d >= f32::MIN_POSITIVE { 127.0 / top } else { 0.0 };
    words[SCALE] = d.to_bits();
    for (half, x) in [a, b].into_iter().enumerate() {
        let scaled = l.mul(x, l.splat(inverse));
        let (codes, values) = l.codes(l.add(scaled, l.copysign(l.splat(0.499_999_97), scaled)));
        for (word, codes) in words[4 * half..].iter_mut().zip(codes.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*codes);
        }
        let sum = l.fold_sum(values);
        words[SUMS + half] = (sum as i32) as u32;
        words[SHIFTS + half] = (d * sum).to_bits();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fall_into_tiles() {
        let found = |columns, most| tiles(columns, most).map(|(_, count)| count).collect::<Vec<_>>();
        assert_eq!(found(0, 4), []);
        assert_eq!(found(7, 4), [4, 2, 1]);
        assert_eq!(found(21, 8), [8, 8, 4, 1]);
        assert_eq!(found(3, 1), [1, 1, 1]);
        assert_eq!(tiles(7, 4).map(|(first, _)| first).collect::<Vec<_>>(), [0, 4, 6]);
    }
}
