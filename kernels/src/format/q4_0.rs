//! q4_0: 4-bit codes with one signed scale per 32 values.

use super::BadValue;
use super::block32::{self, BLOCK, Block32, Pair, half_at, inverse, pack_nibbles, signed_max, sixteen, store_half};
use crate::simd::Lanes;

pub(super) struct Q4_0;

impl Block32 for Q4_0 {
    const BYTES: usize = 18;
    const ABOUT: &'static str = "f16 d, then 16 bytes: byte j holds element j in its low and j + 16 in its high half; \
        w = d * (q - 8). d = m / -8 with m the value of largest magnitude (the first among equals), \
        q = min(15, trunc(x * (1 / d) + 8.5)).";

    #[inline(always)]
    fn encode_block<L: Lanes>(
        l: L,
        x: &[f32; BLOCK],
        pair: Pair<L>,
        index: usize,
        out: &mut [u8],
    ) -> Result<Pair<L>, BadValue> {
        let d = signed_max(l, x, pair) / -8.0;
        let stored = store_half(l, d, index, out)?;
        let (inverse, offset, last) = (l.splat(inverse(d)), l.splat(8.5), l.splat(15.0));
        let (low, low_values) = l.codes(l.min(l.add(l.mul(pair.0, inverse), offset), last));
        let (high, high_values) = l.codes(l.min(l.add(l.mul(pair.1, inverse), offset), last));
        pack_nibbles(&low, &high, &mut out[2..18]);
        let zero = l.splat(8.0);
        Ok(Pair(l.mul(stored, l.sub(low_values, zero)), l.mul(stored, l.sub(high_values, zero))))
    }

    #[inline(always)]
    fn decode_block<L: Lanes>(l: L, bytes: &[u8]) -> Pair<L> {
        Pair::scaled(l, l.nibbles(sixteen(bytes, 2)), 8, half_at(l, bytes, 0))
    }

    fn worst(x: &[f32]) -> f32 {
        // The code 16 does not exist: the far end of the other sign loses a whole step.
        block32::worst_of(block32::top(x) / 8.0, 1.0, 8.0)
    }
}
