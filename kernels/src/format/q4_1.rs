//! q4_1: 4-bit codes with a scale and a minimum per 32 values.

use super::block32::{self, BLOCK, Block32, Extremes, Pair, half_at, pack_nibbles, sixteen};
use super::search::affine::{self, Search};
use super::search::tile::{Searched, Work};
use super::{BadValue, Coding, Encoding, Fit};
use crate::matmul::tiled::{self, Lines, Tiled};
use crate::simd::Lanes;

pub(super) struct Q4_1;

impl Block32 for Q4_1 {
    const BYTES: usize = 20;
    const ABOUT: &'static str = "f16 d, f16 m, then 16 bytes as in q4_0; w = d * q + m. \
        m = min(x), d = (max(x) - m) / 15, q = min(15, trunc((x - m) * (1 / d) + 0.5)).";
    const AFFINE: bool = true;

    #[inline(always)]
    fn scales<L: Lanes>(l: L, of: &Extremes<L>) -> (L::F, L::F) {
        (l.div(l.sub(of.high, of.low), l.splat(15.0)), of.low)
    }

    #[inline(always)]
    fn codes<L: Lanes>(l: L, x: L::F, inverse: L::F, m: L::F) -> ([u8; 16], L::F) {
        l.codes(l.min(l.add(l.mul(l.sub(x, m), inverse), l.splat(0.5)), l.splat(15.0)))
    }

    #[inline(always)]
    fn pack(low: &[u8; 16], high: &[u8; 16], out: &mut [u8]) {
        pack_nibbles(low, high, out);
    }

    #[inline(always)]
    fn decode_block<L: Lanes>(l: L, bytes: &[u8]) -> Pair<L> {
        Pair::affine(l, l.nibbles(sixteen(bytes, 4)), half_at(l, bytes, 0), half_at(l, bytes, 2))
    }
}

const FAST: Search = Search {
    grid: &[
        (-1.66, -0.82),
        (-0.58, 0.27),
        (-0.16, -0.04),
        (0.01, 0.28),
        (0.17, -0.1),
        (1.06, 0.26),
        (1.07, 0.93),
        (1.1, 0.61),
    ],
    around: &[],
    refits: 0,
};
const BEST: Search = Search {
    grid: &[
        (-1.71, 0.17),
        (-1.02, -1.15),
        (-0.62, 0.28),
        (0.26, 0.07),
        (0.33, 0.39),
        (0.55, 0.0),
        (1.39, 1.12),
        (1.87, 0.23),
    ],
    around: &[(-0.61, -0.2), (-0.09, -0.17), (0.43, 0.34), (0.81, 0.28)],
    refits: 1,
};

impl Searched<BLOCK> for Q4_1 {
    const GROUP: usize = 1;
    const SCALE_AT: Option<usize> = Some(0);

    #[inline(always)]
    fn encode_tile<L: Lanes, const WEIGHED: bool>(l: L, work: &mut Work<BLOCK>, how: &Encoding<'_>, out: &mut [u8]) {
        let (d, m) = affine::blocks::<L, BLOCK, 15, WEIGHED>(l, work, how.pick(&FAST, &BEST));
        block32::store::<Self, L>(l, work, &d, &m, out);
    }
}

impl Tiled for Q4_1 {
    const LINES: Lines = Lines::Nibbles;
    const ZERO: u8 = 0;
    const SUB: usize = 32;
    const SHIFTED: bool = true;

    fn take_apart(block: &[u8], row: usize, scales: &mut [u8], codes: &mut [u8]) {
        tiled::put_half(scales, 0, row, [block[0], block[1]]);
        tiled::put_half(scales, tiled::HALVES, row, [block[2], block[3]]);
        tiled::take_nibbles(16, &block[4..], codes);
    }
}

impl Coding for Q4_1 {
    #[inline(always)]
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        block32::encode::<Self, L>(l, src, how, dst)
    }
}
