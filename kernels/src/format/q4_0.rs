//! q4_0: 4-bit codes with one signed scale per 32 values.

use super::block32::{self, BLOCK, Block32, Extremes, Pair, half_at, pack_nibbles, sixteen};
use super::search::grid::Integers;
use super::search::symmetric::{self, Search};
use super::search::tile::{Searched, Work};
use super::{BadValue, Coding, Encoding, Fit};
use crate::matmul::tiled::{self, Lines, Tiled};
use crate::simd::Lanes;

pub(super) struct Q4_0;

impl Block32 for Q4_0 {
    const BYTES: usize = 18;
    const ABOUT: &'static str = "f16 d, then 16 bytes: byte j holds element j in its low and j + 16 in its high half; \
        w = d * (q - 8). d = m / -8 with m the value of largest magnitude (the first among equals), \
        q = min(15, trunc(x * (1 / d) + 8.5)).";

    #[inline(always)]
    fn scales<L: Lanes>(l: L, of: &Extremes<L>) -> (L::F, L::F) {
        (l.div(of.largest, l.splat(-8.0)), l.splat(0.0))
    }

    #[inline(always)]
    fn codes<L: Lanes>(l: L, x: L::F, inverse: L::F, _: L::F) -> ([u8; 16], L::F) {
        let (codes, numbers) = l.codes(l.min(l.add(l.mul(x, inverse), l.splat(8.5)), l.splat(15.0)));
        (codes, l.sub(numbers, l.splat(8.0)))
    }

    #[inline(always)]
    fn pack(low: &[u8; 16], high: &[u8; 16], out: &mut [u8]) {
        pack_nibbles(low, high, out);
    }

    #[inline(always)]
    fn decode_block<L: Lanes>(l: L, bytes: &[u8]) -> Pair<L> {
        Pair::scaled(l, l.nibbles(sixteen(bytes, 2)), 8, half_at(l, bytes, 0))
    }
}

type Codes = Integers<-8, 7>;

const FAST: Search = Search { images: &[-8.82, -8.07, 7.09, 9.54], around: &[], refits: 0 };
const BEST: Search = Search {
    images: &[-10.9, -9.31, -8.45, -7.81, 6.2, 7.04, 8.71, 11.0],
    around: &[-0.93, -0.22, 0.16, 0.42],
    refits: 0,
};

impl Searched<BLOCK> for Q4_0 {
    const GROUP: usize = 1;
    const SCALE_AT: Option<usize> = Some(0);

    #[inline(always)]
    fn encode_tile<L: Lanes, const WEIGHED: bool>(l: L, work: &mut Work<BLOCK>, how: &Encoding<'_>, out: &mut [u8]) {
        let d = symmetric::blocks::<L, Codes, BLOCK, WEIGHED>(l, work, how.pick(&FAST, &BEST));
        block32::store::<Self, L>(l, work, &d, &[0; 16], out);
    }
}

impl Tiled for Q4_0 {
    const LINES: Lines = Lines::Nibbles;
    const ZERO: u8 = 8;
    const SUB: usize = 32;

    fn take_apart(block: &[u8], row: usize, scales: &mut [u8], codes: &mut [u8]) {
        tiled::put_half(scales, 0, row, [block[0], block[1]]);
        tiled::take_nibbles(16, &block[2..], codes);
    }
}

impl Coding for Q4_0 {
    #[inline(always)]
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        block32::encode::<Self, L>(l, src, how, dst)
    }
}
