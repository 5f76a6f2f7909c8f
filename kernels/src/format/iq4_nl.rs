//! iq4_nl: 4-bit codes of a fixed table, denser near zero, with one scale per 32 values.

use super::Decoding;
use super::block32::{BLOCK, Pair, half_at, sixteen};
use crate::simd::Lanes;

pub(super) struct Iq4Nl;

/// The value of each code, in units of the scale (those of ggml), plus [`ZERO`].
pub(super) const LEVELS: [u8; 16] = [1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241];
pub(super) const ZERO: u8 = 128;

impl Decoding for Iq4Nl {
    const BLOCK: usize = BLOCK;
    const BYTES: usize = 18;
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
