//! q5_1: 5-bit codes with a scale and a minimum per 32 values.

use super::BadValue;
use super::block32::{
    self, BLOCK, Block32, Pair, half_at, inverse, pack_fifth_bits, pack_nibbles, sixteen, store_half, word_at,
};
use crate::simd::Lanes;

pub(super) struct Q5_1;

impl Block32 for Q5_1 {
    const BYTES: usize = 24;
    const ABOUT: &'static str = "f16 d, f16 m, u32 of fifth bits as in q5_0, then 16 bytes as in q4_0; w = d * q + m. \
        m = min(x), d = (max(x) - m) / 31, q = min(31, trunc((x - m) * (1 / d) + 0.5)).";

    #[inline(always)]
    fn encode_block<L: Lanes>(
        l: L,
        _: &[f32; BLOCK],
        pair: Pair<L>,
        index: usize,
        out: &mut [u8],
    ) -> Result<Pair<L>, BadValue> {
        let (min, max) = pair.min_max(l);
        let d = (max - min) / 31.0;
        let stored = store_half(l, d, index, out)?;
        let shift = store_half(l, min, index, &mut out[2..4])?;
        let (inverse, min) = (l.splat(inverse(d)), l.splat(min));
        let (half, last) = (l.splat(0.5), l.splat(31.0));
        let (low, low_values) = l.codes(l.min(l.add(l.mul(l.sub(pair.0, min), inverse), half), last));
        let (high, high_values) = l.codes(l.min(l.add(l.mul(l.sub(pair.1, min), inverse), half), last));
        out[4..8].copy_from_slice(&pack_fifth_bits(&low, &high));
        pack_nibbles(&low, &high, &mut out[8..24]);
        Ok(Pair(l.add(l.mul(stored, low_values), shift), l.add(l.mul(stored, high_values), shift)))
    }

    #[inline(always)]
    fn decode_block<L: Lanes>(l: L, bytes: &[u8]) -> Pair<L> {
        let fifth = l.field(l.mask(word_at(bytes, 4)), 0, 16);
        let codes = l.or(l.nibbles(sixteen(bytes, 8)), fifth);
        Pair::affine(l, codes, half_at(l, bytes, 0), half_at(l, bytes, 2))
    }

    fn worst(x: &[f32]) -> f32 {
        block32::worst_affine(x, 31.0)
    }
}
