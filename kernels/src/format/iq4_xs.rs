//! iq4_xs: the codes of iq4_nl with a six-bit scale per 32 values.

use super::block32::{Pair, half_at, pack_nibbles, sixteen, word_at};
use super::iq4_nl::{LEVELS, ZERO};
use super::k::SUPER;
use super::search::grid::Iq4;
use super::search::symmetric::{self, Search};
use super::search::tile::{self, Searched, Work};
use super::{BadValue, Coding, Decoding, Encoding, Fit};
use crate::matmul::tiled::{self, Lines, Tiled};
use crate::simd::{DotLanes, Lanes};

pub(super) struct Iq4Xs;

impl Decoding for Iq4Xs {
    const BLOCK: usize = SUPER;
    const BYTES: usize = 136;
    const HOLDS_ZERO: bool = false;
    const ABOUT: &'static str = "f16 d, u16 with the upper two bits of eight scales from bit 0 up, 4 bytes with their low \
        halves (even ones low), then for each 32 values 16 bytes as in q4_0; w = d * (sc - 32) * level[q], levels as in \
        iq4_nl.";

    #[inline(always)]
    fn decode<L: Lanes>(l: L, src: &[u8], dst: &mut [f32]) {
        for (block, y) in src.as_chunks::<136>().0.iter().zip(dst.as_chunks_mut::<SUPER>().0) {
            let d = half_at(l, block, 0);
            for (j, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                let scale = small_scale(block, j);
                let codes = l.lookup(&LEVELS, l.nibbles(sixteen(block, 8 + 16 * j)));
                Pair::scaled(l, codes, ZERO, l.mul(d, l.splat(scale as f32))).store(l, y);
            }
        }
    }
}

/// sc - 32 of sub-block `j`.
#[inline(always)]
fn small_scale(block: &[u8], j: usize) -> i32 {
    let (upper, low) = (word_at(block, 0) >> 16, word_at(block, 4));
    (low >> (4 * j) & 15 | (upper >> (2 * j) & 3) << 4) as i32 - 32
}

/// Values that share a scale.
const SUB: usize = 32;

const FAST: Search = Search { images: &[-137.0, -123.0, 112.0, 125.0], around: &[], refits: 0 };
const BEST: Search =
    Search { images: &[-140.0, -126.0, -113.0, -103.0, 92.2, 109.0, 118.0, 132.0], around: &[], refits: 0 };

impl Searched<SUB> for Iq4Xs {
    const GROUP: usize = 8;
    const SCALE_AT: Option<usize> = Some(0);

    #[inline(always)]
    fn encode_tile<L: Lanes, const WEIGHED: bool>(l: L, work: &mut Work<SUB>, how: &Encoding<'_>, out: &mut [u8]) {
        let search = how.pick(&FAST, &BEST);
        let shared = symmetric::super_blocks::<L, Iq4, SUB, -32, WEIGHED>(l, work, search, Self::GROUP, 1);
        let steps = l.codes(l.add(shared.steps, l.splat(32.0))).0;
        for (n, (codes, out)) in work.pack(l).chunks_exact(SUPER).zip(out.chunks_exact_mut(Self::BYTES)).enumerate() {
            out[..2].copy_from_slice(&shared.d[n * 8].to_le_bytes());
            let mut high = 0u16;
            out[4..8].fill(0);
            for (j, step) in steps[n * 8..][..8].iter().enumerate() {
                high |= u16::from(step >> 4) << (2 * j);
                out[4 + j / 2] |= (step & 15) << (4 * (j % 2));
            }
            out[2..4].copy_from_slice(&high.to_le_bytes());
            for (codes, out) in codes.as_chunks::<SUB>().0.iter().zip(out[8..].chunks_exact_mut(16)) {
                pack_nibbles(sixteen(codes, 0), sixteen(codes, 16), out);
            }
        }
    }
}

impl Tiled for Iq4Xs {
    const LINES: Lines = Lines::Nibbles;
    const TABLE: Option<&'static [u8; 16]> = Some(&LEVELS);
    const ZERO: u8 = ZERO;
    const SUB: usize = SUB;
    const SCALES: usize = tiled::HALVES + 8 * 16;

    fn take_apart(block: &[u8], row: usize, scales: &mut [u8], codes: &mut [u8]) {
        tiled::put_half(scales, 0, row, [block[0], block[1]]);
        let mut small = [0; 8];
        for (j, scale) in small.iter_mut().enumerate() {
            *scale = small_scale(block, j) as u8;
        }
        tiled::put_bytes(&small, scales, tiled::HALVES, row);
        tiled::take_nibbles(16, &block[8..], codes);
    }

    #[inline(always)]
    fn scale<L: DotLanes>(l: L, scales: &[u8], sub: usize) -> L::F {
        tiled::signed_scale(l, scales, sub)
    }
}

impl Coding for Iq4Xs {
    #[inline(always)]
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        tile::encode::<Iq4Xs, L, SUB>(l, src, how, dst)
    }
}
