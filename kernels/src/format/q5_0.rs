//! q5_0: 5-bit codes with one signed scale per 32 values.

use super::BadValue;
use super::block32::{
    self, BLOCK, Block32, Pair, half_at, inverse, pack_fifth_bits, pack_nibbles, signed_max, sixteen, store_half,
    word_at,
};
use crate::simd::Lanes;

pub(super) struct Q5_0;

impl Block32 for Q5_0 {
    const BYTES: usize = 22;
    const ABOUT: &'static str = "f16 d, u32 with bit 4 of element j at bit j, then 16 bytes of low halves as in q4_0; \
        w = d * (q - 16). d = m / -16 with m the value of largest magnitude (the first among equals), \
        q = min(31, trunc(x * (1 / d) + 16.5)).";

    #[inline(always)]
    fn encode_block<L: Lanes>(
        l: L,
        x: &[f32; BLOCK],
        pair: Pair<L>,
        index: usize,
        out: &mut [u8],
    ) -> Result<Pair<L>, BadValue> {
        let d = signed_max(l, x, pair) / -16.0;
        let stored = store_half(l, d, index, out)?;
        let (inverse, offset, last) = (l.splat(inverse(d)), l.splat(16.5), l.splat(31.0));
        let (low, low_values) = l.codes(l.min(l.add(l.mul(pair.0, inverse), offset), last));
        let (high, high_values) = l.codes(l.min(l.add(l.mul(pair.1, inverse), offset), last));
        out[2..6].copy_from_slice(&pack_fifth_bits(&low, &high));
        pack_nibbles(&low, &high, &mut out[6..22]);
        let zero = l.splat(16.0);
        Ok(Pair(l.mul(stored, l.sub(low_values, zero)), l.mul(stored, l.sub(high_values, zero))))
    }

    #[inline(always)]
    fn decode_block<L: Lanes>(l: L, bytes: &[u8]) -> Pair<L> {
        let fifth = l.field(l.mask(word_at(bytes, 2)), 0, 16);
        Pair::scaled(l, l.or(l.nibbles(sixteen(bytes, 6)), fifth), 16, half_at(l, bytes, 0))
    }

    fn worst(x: &[f32]) -> f32 {
        // As in q4_0, the far end of the other sign loses a whole step.
        block32::worst_of(block32::top(x) / 16.0, 1.0, 16.0)
    }
}
