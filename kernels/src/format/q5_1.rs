//! q5_1: 5-bit codes with a scale and a minimum per 32 values.

use super::block32::{
    self, BLOCK, Block32, Extremes, Pair, half_at, pack_fifth_bits, pack_nibbles, sixteen, take_fifth_bits, word_at,
};
use super::search::affine::{self, Search};
use super::search::tile::{Searched, Work};
use super::{BadValue, Coding, Encoding, Fit};
use crate::matmul::tiled::{self, Lines, Tiled};
use crate::simd::Lanes;

pub(super) struct Q5_1;

impl Block32 for Q5_1 {
    const BYTES: usize = 24;
    const ABOUT: &'static str = "f16 d, f16 m, u32 of fifth bits as in q5_0, then 16 bytes as in q4_0; w = d * q + m. \
        m = min(x), d = (max(x) - m) / 31, q = min(31, trunc((x - m) * (1 / d) + 0.5)).";
    const AFFINE: bool = true;

    #[inline(always)]
    fn scales<L: Lanes>(l: L, of: &Extremes<L>) -> (L::F, L::F) {
        (l.div(l.sub(of.high, of.low), l.splat(31.0)), of.low)
    }

    #[inline(always)]
    fn codes<L: Lanes>(l: L, x: L::F, inverse: L::F, m: L::F) -> ([u8; 16], L::F) {
        l.codes(l.min(l.add(l.mul(l.sub(x, m), inverse), l.splat(0.5)), l.splat(31.0)))
    }

    #[inline(always)]
    fn pack(low: &[u8; 16], high: &[u8; 16], out: &mut [u8]) {
        out[..4].copy_from_slice(&pack_fifth_bits(low, high));
        pack_nibbles(low, high, &mut out[4..]);
    }

    #[inline(always)]
    fn decode_block<L: Lanes>(l: L, bytes: &[u8]) -> Pair<L> {
        let fifth = l.field(l.mask(word_at(bytes, 4)), 0, 16);
        let codes = l.or(l.nibbles(sixteen(bytes, 8)), fifth);
        Pair::affine(l, codes, half_at(l, bytes, 0), half_at(l, bytes, 2))
    }
}

const FAST: Search =
    Search { grid: &[(-2.0, -0.04), (-1.04, -1.0), (0.19, 0.25), (0.26, -0.06)], around: &[], refits: 1 };
const BEST: Search = Search {
    grid: &[
        (-2.96, 0.07),
        (-2.25, -0.17),
        (-1.37, -1.32),
        (-0.6, 0.29),
        (0.0, 0.0),
        (0.33, 0.47),
        (0.49, -0.07),
        (1.52, 0.3),
    ],
    around: &[(-0.38, -0.02), (-0.35, -0.29), (0.59, 0.19), (0.67, 0.44)],
    refits: 1,
};

impl Searched<BLOCK> for Q5_1 {
    const GROUP: usize = 1;
    const SCALE_AT: Option<usize> = Some(0);

    #[inline(always)]
    fn encode_tile<L: Lanes, const WEIGHED: bool>(l: L, work: &mut Work<BLOCK>, how: &Encoding<'_>, out: &mut [u8]) {
        let (d, m) = affine::blocks::<L, BLOCK, 31, WEIGHED>(l, work, how.pick(&FAST, &BEST));
        block32::store::<Self, L>(l, work, &d, &m, out);
    }
}

impl Tiled for Q5_1 {
    const LINES: Lines = Lines::NibblesAndBits;
    const ZERO: u8 = 0;
    const SUB: usize = 32;
    const SHIFTED: bool = true;

    fn take_apart(block: &[u8], row: usize, scales: &mut [u8], codes: &mut [u8]) {
        tiled::put_half(scales, 0, row, [block[0], block[1]]);
        tiled::put_half(scales, tiled::HALVES, row, [block[2], block[3]]);
        tiled::take_nibbles(16, &block[8..], codes);
        take_fifth_bits(word_at(block, 4), codes);
    }
}

impl Coding for Q5_1 {
    #[inline(always)]
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        block32::encode::<Self, L>(l, src, how, dst)
    }
}
