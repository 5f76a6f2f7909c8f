//! q5_0: 5-bit codes with one signed scale per 32 values.

use super::block32::{
    self, BLOCK, Block32, Extremes, Pair, half_at, pack_fifth_bits, pack_nibbles, sixteen, take_fifth_bits, word_at,
};
use super::search::grid::Integers;
use super::search::symmetric::{self, Search};
use super::search::tile::{Searched, Work};
use super::{BadValue, Coding, Encoding, Fit};
use crate::matmul::tiled::{self, Lines, Tiled};
use crate::simd::Lanes;

pub(super) struct Q5_0;

impl Block32 for Q5_0 {
    const BYTES: usize = 22;
    const ABOUT: &'static str = "f16 d, u32 with bit 4 of element j at bit j, then 16 bytes of low halves as in q4_0; \
        w = d * (q - 16). d = m / -16 with m the value of largest magnitude (the first among equals), \
        q = min(31, trunc(x * (1 / d) + 16.5)).";

    #[inline(always)]
    fn scales<L: Lanes>(l: L, of: &Extremes<L>) -> (L::F, L::F) {
        (l.div(of.largest, l.splat(-16.0)), l.splat(0.0))
    }

    #[inline(always)]
    fn codes<L: Lanes>(l: L, x: L::F, inverse: L::F, _: L::F) -> ([u8; 16], L::F) {
        let (codes, numbers) = l.codes(l.min(l.add(l.mul(x, inverse), l.splat(16.5)), l.splat(31.0)));
        (codes, l.sub(numbers, l.splat(16.0)))
    }

    #[inline(always)]
    fn pack(low: &[u8; 16], high: &[u8; 16], out: &mut [u8]) {
        out[..4].copy_from_slice(&pack_fifth_bits(low, high));
        pack_nibbles(low, high, &mut out[4..]);
    }

    #[inline(always)]
    fn decode_block<L: Lanes>(l: L, bytes: &[u8]) -> Pair<L> {
        let fifth = l.field(l.mask(word_at(bytes, 2)), 0, 16);
        Pair::scaled(l, l.or(l.nibbles(sixteen(bytes, 6)), fifth), 16, half_at(l, bytes, 0))
    }
}

type Codes = Integers<-16, 15>;

const FAST: Search = Search { images: &[-16.6, -16.0, 14.0, 15.1], around: &[], refits: 0 };
const BEST: Search = Search {
    images: &[-18.5, -17.2, -16.2, -15.2, 13.2, 14.1, 19.4, 22.0],
    around: &[-1.66, -0.42, 0.42, 1.38],
    refits: 0,
};

impl Searched<BLOCK> for Q5_0 {
    const GROUP: usize = 1;
    const SCALE_AT: Option<usize> = Some(0);

    #[inline(always)]
    fn encode_tile<L: Lanes, const WEIGHED: bool>(l: L, work: &mut Work<BLOCK>, how: &Encoding<'_>, out: &mut [u8]) {
        let d = symmetric::blocks::<L, Codes, BLOCK, WEIGHED>(l, work, how.pick(&FAST, &BEST));
        block32::store::<Self, L>(l, work, &d, &[0; 16], out);
    }
}

impl Tiled for Q5_0 {
    const LINES: Lines = Lines::NibblesAndBits;
    const ZERO: u8 = 16;
    const SUB: usize = 32;

    fn take_apart(block: &[u8], row: usize, scales: &mut [u8], codes: &mut [u8]) {
        tiled::put_half(scales, 0, row, [block[0], block[1]]);
        tiled::take_nibbles(16, &block[6..], codes);
        take_fifth_bits(word_at(block, 2), codes);
    }
}

impl Coding for Q5_0 {
    #[inline(always)]
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        block32::encode::<Self, L>(l, src, how, dst)
    }
}
