//! Panels of q8_0 without its zeros.
//!
//! A tile has 32 columns of sixteen rows: their scales; a word of 64 bits for each line that a panel of q8_0 would have, of
//! which bit n tells that byte n of the line is no zero; then these bytes, as the signed codes that they are in a file.
//! Tiles follow each other without a gap. What is left of a panel is at least one line, since a line is read as a whole.

use super::activations::{BLOCK, Block, SCALE, SUMS};
use super::integer::{AHEAD, Body, Codes, Layout};
use super::tiled::{self, Tiled};
use super::{Input, LINE, Product, level};
use crate::format::{Decoding, Q8_0};
use crate::simd::DotLanes;

/// Lines of a tile.
const LINES: usize = 8;
/// Bytes of a tile before its codes.
const HEAD: usize = Q8_0::SCALES + LINES * 8;

pub(super) const PRODUCT: Product =
    Product { input: Input::Int8, panel: least, pack, multiply: level::multiply::<Body<Q8_0, Sparse>> };

/// Bytes of a panel of zeros; each code that is none adds one.
pub(super) fn least(columns: usize) -> usize {
    columns / BLOCK * HEAD + LINE
}

/// See [`Product`].
///
/// # Panics
/// When the panel is too small for the codes.
fn pack(rows: &[u8], row_bytes: usize, panel: &mut [u8]) {
    let mut rest = panel;
    for b in 0..row_bytes / Q8_0::BYTES {
        let (head, codes) = rest.split_at_mut(HEAD);
        let (scales, words) = head.split_at_mut(Q8_0::SCALES);
        let mut kept = 0;
        for (g, word) in words.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let mut bits = 0u64;
            for (r, row) in rows.chunks_exact(row_bytes).enumerate() {
                let block = &row[b * Q8_0::BYTES..][..Q8_0::BYTES];
                tiled::put_half(scales, 0, r, [block[0], block[1]]);
                for (i, code) in block[2 + 4 * g..][..4].iter().enumerate().filter(|(_, code)| **code != 0) {
                    bits |= 1 << (4 * r + i);
                    codes[kept] = *code;
                    kept += 1;
                }
            }
            *word = bits.to_le_bytes();
        }
        rest = &mut codes[kept..];
    }
    assert!(rest.len() >= LINE);
}

/// The layout of these panels.
pub(super) struct Sparse;

impl<T: Tiled> Layout<T> for Sparse {
    #[inline(always)]
    fn tiles(panel: &[u8]) -> impl Iterator<Item = &[u8]> {
        Tiles(panel)
    }

    #[inline(always)]
    fn block<L: DotLanes>(l: L, tile: &[u8], _: usize) -> Codes<L, T> {
        let (words, codes) = apart(tile);
        // By hand: as a loop it goes through memory more than once.
        let (a, codes) = next(l, &words[0], codes);
        let (b, codes) = next(l, &words[1], codes);
        let (c, codes) = next(l, &words[2], codes);
        let (d, codes) = next(l, &words[3], codes);
        let (e, codes) = next(l, &words[4], codes);
        let (f, codes) = next(l, &words[5], codes);
        let (g, codes) = next(l, &words[6], codes);
        let (h, _) = next(l, &words[7], codes);
        let wide = [a, b, c, d, e, f, g, h];
        Codes::of_wide(l, tile, 0, wide)
    }

    #[inline(always)]
    fn one<L: DotLanes>(l: L, panel: &[u8], x: &[Block]) -> L::F {
        let mut sum = l.splat(0.0);
        let mut tile = panel;
        for x in x {
            let (words, mut codes) = apart(tile);
            l.prefetch(tile.as_ptr().wrapping_add(AHEAD));
            l.prefetch(tile.as_ptr().wrapping_add(AHEAD + LINE));
            let mut ints = l.int(-L::WIDE_ZERO * x.0[SUMS].wrapping_add(x.0[SUMS + 1]) as i32);
            for (bits, x) in words.iter().zip(&x.0) {
                let (wide, rest) = next(l, bits, codes);
                ints = l.dot_wide(ints, wide, *x);
                l.prefetch(codes.as_ptr().wrapping_add(AHEAD + LINE));
                codes = rest;
            }
            let scale = l.mul(Q8_0::scale(l, tile, 0), l.splat(f32::from_bits(x.0[SCALE])));
            sum = l.fma(l.float(ints), scale, sum);
            tile = &codes[8..];
        }
        sum
    }
}

/// The words of a tile, and its codes with the word before them.
#[inline(always)]
fn apart(tile: &[u8]) -> (&[[u8; 8]; LINES], &[u8]) {
    let words = tile[Q8_0::SCALES..].as_chunks::<8>().0.as_chunks::<LINES>().0;
    (&words[0], &tile[HEAD - 8..])
}

/// A line of codes, and those that are left; what stands before each is with it.
#[inline(always)]
fn next<'p, L: DotLanes>(l: L, bits: &[u8; 8], codes: &'p [u8]) -> (L::Wide, &'p [u8]) {
    let bits = u64::from_le_bytes(*bits);
    (l.expand(bits, &codes.as_chunks::<{ 8 + LINE }>().0[0]), &codes[bits.count_ones() as usize..])
}

/// The tiles of a panel, each with the line behind it.
struct Tiles<'p>(&'p [u8]);

impl<'p> Iterator for Tiles<'p> {
    type Item = &'p [u8];

    #[inline(always)]
    fn next(&mut self) -> Option<&'p [u8]> {
        let (words, _) = apart(self.0.get(..HEAD)?);
        let size = HEAD + words.iter().map(|bits| u64::from_le_bytes(*bits).count_ones() as usize).sum::<usize>();
        let tile = self.0.get(..size + LINE)?;
        self.0 = &self.0[size..];
        Some(tile)
    }
}
