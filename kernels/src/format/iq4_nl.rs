//! iq4_nl: 4-bit codes of a fixed table, denser near zero, with one scale per 32 values.

use super::block32::{BLOCK, Pair, half_at, pack_nibbles, sixteen};
use super::search::grid::{IQ4, Iq4, bytes};
use super::search::symmetric::{self, Search};
use super::search::tile::{self, Searched, Work};
use super::{BadValue, Coding, Decoding, Encoding, Fit};
use crate::matmul::tiled::{self, Lines, Tiled};
use crate::simd::Lanes;

pub(super) struct Iq4Nl;

/// The value of each code, in units of the scale (those of ggml), plus [`ZERO`].
pub(super) const LEVELS: [u8; 16] = bytes(&IQ4, 1.0, ZERO);
pub(super) const ZERO: u8 = 128;

impl Decoding for Iq4Nl {
    const BLOCK: usize = BLOCK;
    const BYTES: usize = 18;
    const HOLDS_ZERO: bool = false;
    const ABOUT: &'static str = "f16 d, then 16 bytes as in q4_0; w = d * level[q], with the levels \
        -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113.";

    #[inline(always)]
    fn decode<L: Lanes>(l: L, src: &[u8], dst: &mut [f32]) {
        for (block, y) in src.as_chunks::<18>().0.iter().zip(dst.as_chunks_mut::<BLOCK>().0) {
            let codes = l.lookup(&LEVELS, l.nibbles(sixteen(block, 2)));
            Pair::scaled(l, codes, ZERO, half_at(l, block, 0)).store(l, y);
        }
    }
}

const FAST: Search = Search { images: &[-136.0, -125.0, 112.0, 124.0], around: &[], refits: 0 };
const BEST: Search = Search {
    images: &[-178.0, -156.0, -143.0, -133.0, -124.0, -107.0, 93.0, 111.0, 117.0, 121.0, 133.0, 148.0],
    around: &[-5.5, -2.64, 1.51, 6.01],
    refits: 0,
};

impl Searched<BLOCK> for Iq4Nl {
    const GROUP: usize = 1;
    const SCALE_AT: Option<usize> = Some(0);

    #[inline(always)]
    fn encode_tile<L: Lanes, const WEIGHED: bool>(l: L, work: &mut Work<BLOCK>, how: &Encoding<'_>, out: &mut [u8]) {
        let d = symmetric::blocks::<L, Iq4, BLOCK, WEIGHED>(l, work, how.pick(&FAST, &BEST));
        let blocks = work.pack(l).as_chunks::<BLOCK>().0.iter().zip(out.chunks_exact_mut(Self::BYTES));
        for ((codes, out), d) in blocks.zip(d) {
            out[..2].copy_from_slice(&d.to_le_bytes());
            pack_nibbles(sixteen(codes, 0), sixteen(codes, 16), &mut out[2..]);
        }
    }
}

impl Tiled for Iq4Nl {
    const LINES: Lines = Lines::Nibbles;
    const TABLE: Option<&'static [u8; 16]> = Some(&LEVELS);
    const ZERO: u8 = ZERO;
    const SUB: usize = 32;

    fn take_apart(block: &[u8], row: usize, scales: &mut [u8], codes: &mut [u8]) {
        tiled::put_half(scales, 0, row, [block[0], block[1]]);
        tiled::take_nibbles(16, &block[2..], codes);
    }
}

impl Coding for Iq4Nl {
    #[inline(always)]
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        tile::encode::<Iq4Nl, L, BLOCK>(l, src, how, dst)
    }
}
