//! iq4_nl: 4-bit codes of sixteen uneven numbers with one scale per 32 values.

use super::block32::{NAN, half_at, pack_nibbles, sixteen, unpack_nibbles};
use super::search::grid::{IQ4, Iq4};
use super::search::symmetric::{self, Search};
use super::search::tile::{self, Searched, Work};
use super::{BadValue, Coding, Decoding, Effort, Encoding, Fit};
use crate::simd::Lanes;

pub(super) struct Iq4Nl;

/// Values of a block.
const BLOCK: usize = 32;

const FAST: Search = Search { images: &[-136.0, -125.0, 112.0, 124.0], around: &[], refits: 0 };
const BEST: Search = Search {
    images: &[-178.0, -156.0, -143.0, -133.0, -124.0, -107.0, 93.0, 111.0, 117.0, 121.0, 133.0, 148.0],
    around: &[-5.5, -2.64, 1.51, 6.01],
    refits: 0,
};

/// The values of sixteen bytes of codes, as [`pack_nibbles`] lays them, times a scale.
#[inline(always)]
pub(super) fn decode_nibbles<L: Lanes>(l: L, scale: f32, bytes: &[u8; 16], y: &mut [f32]) {
    let (low, high) = unpack_nibbles(bytes);
    for (codes, y) in [low, high].iter().zip(y.as_chunks_mut::<16>().0) {
        for i in 0..16 {
            y[i] = IQ4[usize::from(codes[i])];
        }
        l.store(l.mul(l.splat(scale), l.load(y)), y);
    }
}

impl Decoding for Iq4Nl {
    const BLOCK: usize = BLOCK;
    const BYTES: usize = 18;
    const ABOUT: &'static str = "f16 d, then 16 bytes as in q4_0; w = d * v[q], where v is -127, -104, -83, -65, -49, -35, \
        -22, -10, 1, 13, 25, 38, 53, 69, 89, 113.";

    #[inline(always)]
    fn decode<L: Lanes>(l: L, src: &[u8], dst: &mut [f32]) {
        for (bytes, y) in src.chunks_exact(Self::BYTES).zip(dst.chunks_exact_mut(BLOCK)) {
            decode_nibbles(l, half_at(l, bytes, 0), sixteen(bytes, 2), y);
        }
    }
}

impl Searched<BLOCK> for Iq4Nl {
    const GROUP: usize = 1;

    #[inline(always)]
    fn encode_tile<L: Lanes, const WEIGHED: bool>(l: L, work: &mut Work<BLOCK>, how: &Encoding<'_>, out: &mut [u8]) {
        let search = match how.effort {
            Effort::Fast => &FAST,
            Effort::Best => &BEST,
        };
        let d = l.halves(symmetric::scales::<L, Iq4, BLOCK, WEIGHED>(l, work, search));
        symmetric::set_codes::<L, Iq4, BLOCK>(l, work, l.half_values(&d));
        let blocks = work.pack(l).as_chunks::<BLOCK>().0.iter().zip(out.chunks_exact_mut(Self::BYTES));
        for ((codes, out), d) in blocks.zip(d) {
            out[..2].copy_from_slice(&d.to_le_bytes());
            pack_nibbles(sixteen(codes, 0), sixteen(codes, 16), &mut out[2..]);
        }
    }

    fn poison(block: &mut [u8]) -> bool {
        block[0..2].copy_from_slice(&NAN);
        true
    }
}

impl Coding for Iq4Nl {
    #[inline(always)]
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        tile::encode::<Iq4Nl, L, BLOCK>(l, src, how, dst)
    }

    fn worst(block: &[f32]) -> f32 {
        tile::worst(block)
    }
}
