//! q5_k: 5-bit codes with a six-bit scale and minimum per 32 values.

use super::k::{self, SUPER};
use super::q4_k::{self, MOST, SUB};
use super::search::affine::{self, Search, Sharing};
use super::search::tile::{self, Searched, Work};
use super::{BadValue, Coding, Decoding, Encoding, Fit};
use crate::matmul::tiled::{self, Lines, Tiled};
use crate::simd::{DotLanes, Lanes};

pub(super) struct Q5K;

impl Decoding for Q5K {
    const BLOCK: usize = SUPER;
    const BYTES: usize = 176;
    const HOLDS_ZERO: bool = false;
    const ABOUT: &'static str = "f16 d, f16 dmin and 12 bytes of scales and minimums as in q4_k, then 32 bytes of fifth \
        bits (of element 32i + j at bit i of byte j), then 128 bytes of low halves as in q4_k; \
        w = d * sc * q - dmin * m.";

    #[inline(always)]
    fn decode<L: Lanes>(l: L, src: &[u8], dst: &mut [f32]) {
        for (block, y) in src.as_chunks::<176>().0.iter().zip(dst.as_chunks_mut::<SUPER>().0) {
            let Some((head, rest)) = block.split_first_chunk::<16>() else { return };
            let Some((fifth, codes)) = rest.split_first_chunk::<32>() else { return };
            let (d, min) = k::scales_and_minimums(l, head);
            let mut fifth = l.bytes(fifth);
            for (j, (codes, y)) in codes.as_chunks::<32>().0.iter().zip(y.as_chunks_mut::<64>().0).enumerate() {
                let codes = l.bytes(codes);
                for (half, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                    let i = 2 * j + half;
                    let codes = l.or(l.field(codes, 4 * half as i32, 15), l.field(fifth, half as i32 - 4, 16));
                    k::affine(l, codes, [d[i], d[i]], [min[i], min[i]]).store(l, y);
                }
                fifth = l.field(fifth, 2, 0x3f);
            }
        }
    }
}

/// The largest code.
const TOP: i32 = 31;

const FAST: Search =
    Search { grid: &[(-2.05, 0.02), (-0.7, 0.15), (0.08, 0.18), (0.18, -0.14)], around: &[], refits: 0 };
const BEST: Search = Search {
    grid: &[
        (-2.96, 0.07),
        (-2.39, -0.18),
        (-1.46, 0.11),
        (-1.1, -0.11),
        (0.03, -0.04),
        (0.07, 0.3),
        (0.52, -0.06),
        (3.54, 0.55),
    ],
    around: &[(-1.01, -0.32), (-0.07, -0.16), (0.7, 0.17), (0.77, 0.64)],
    refits: 1,
};
const FAST_SHARING: Sharing = Sharing { beside: affine::THREE, rounds: 1 };
const BEST_SHARING: Sharing = Sharing { beside: affine::NINE, rounds: 1 };

impl Searched<SUB> for Q5K {
    const GROUP: usize = 8;
    const SCALE_AT: Option<usize> = Some(0);

    #[inline(always)]
    fn encode_tile<L: Lanes, const WEIGHED: bool>(l: L, work: &mut Work<SUB>, how: &Encoding<'_>, out: &mut [u8]) {
        let (search, sharing) = (how.pick(&FAST, &BEST), how.pick(&FAST_SHARING, &BEST_SHARING));
        let shared = affine::super_blocks::<L, SUB, TOP, MOST, WEIGHED>(l, work, search, sharing, Self::GROUP);
        let codes = q4_k::store(l, work, &shared, Self::BYTES, out);
        for (codes, out) in codes.chunks_exact(SUPER).zip(out.chunks_exact_mut(Self::BYTES)) {
            k::pack_bits(codes, 4, &mut out[16..48]);
        }
    }
}

impl Tiled for Q5K {
    const LINES: Lines = Lines::NibblesAndBits;
    const ZERO: u8 = 0;
    const SUB: usize = SUB;
    const SCALES: usize = k::TILE_SCALES;
    const SHIFTED: bool = true;

    fn take_apart(block: &[u8], row: usize, scales: &mut [u8], codes: &mut [u8]) {
        k::take_scales(block, row, scales);
        tiled::take_nibbles(32, &block[48..], codes);
        k::take_bits(&block[16..48], 4, codes);
    }

    #[inline(always)]
    fn scale<L: DotLanes>(l: L, scales: &[u8], sub: usize) -> L::F {
        k::tile_scale(l, scales, sub)
    }

    #[inline(always)]
    fn shift<L: DotLanes>(l: L, scales: &[u8], sub: usize) -> L::F {
        k::tile_shift(l, scales, sub)
    }
}

impl Coding for Q5K {
    #[inline(always)]
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        tile::encode::<Q5K, L, SUB>(l, src, how, dst)
    }
}
