//! iq4_xs: the codes of iq4_nl with a six-bit scale per 32 values.

use super::Decoding;
use super::block32::{Pair, half_at, sixteen, word_at};
use super::iq4_nl::{LEVELS, ZERO};
use super::k::SUPER;
use crate::simd::Lanes;

pub(super) struct Iq4Xs;

impl Decoding for Iq4Xs {
    const BLOCK: usize = SUPER;
    const BYTES: usize = 136;
    const ABOUT: &'static str = "f16 d, u16 with the upper two bits of eight scales from bit 0 up, 4 bytes with their low \
        halves (even ones low), then for each 32 values 16 bytes as in q4_0; w = d * (sc - 32) * level[q], levels as in \
        iq4_nl.";

    #[inline(always)]
    fn decode<L: Lanes>(l: L, src: &[u8], dst: &mut [f32]) {
        for (block, y) in src.as_chunks::<136>().0.iter().zip(dst.as_chunks_mut::<SUPER>().0) {
            let d = half_at(l, block, 0);
            let (upper, low) = (word_at(block, 0) >> 16, word_at(block, 4));
            for (j, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                let scale = (low >> (4 * j) & 15 | (upper >> (2 * j) & 3) << 4) as i32 - 32;
                let codes = l.lookup(&LEVELS, l.nibbles(sixteen(block, 8 + 16 * j)));
                Pair::scaled(l, codes, ZERO, l.mul(d, l.splat(scale as f32))).store(l, y);
            }
        }
    }
}
