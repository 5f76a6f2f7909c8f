//! q4_1: 4-bit codes with a scale and a minimum per 32 values.

use super::BadValue;
use super::block32::{self, BLOCK, Block32, Pair, half_at, inverse, pack_nibbles, sixteen, store_half};
use crate::simd::Lanes;

pub(super) struct Q4_1;

impl Block32 for Q4_1 {
    const BYTES: usize = 20;
    const ABOUT: &'static str = "f16 d, f16 m, then 16 bytes as in q4_0; w = d * q + m. \
        m = min(x), d = (max(x) - m) / 15, q = min(15, trunc((x - m) * (1 / d) + 0.5)).";

    #[inline(always)]
    fn encode_block<L: Lanes>(
        l: L,
        _: &[f32; BLOCK],
        pair: Pair<L>,
        index: usize,
        out: &mut [u8],
    ) -> Result<Pair<L>, BadValue> {
        let (min, max) = pair.min_max(l);
        let d = (max - min) / 15.0;
        let stored = store_half(l, d, index, out)?;
        let shift = store_half(l, min, index, &mut out[2..4])?;
        let (inverse, min) = (l.splat(inverse(d)), l.splat(min));
        let (half, last) = (l.splat(0.5), l.splat(15.0));
        let (low, low_values) = l.codes(l.min(l.add(l.mul(l.sub(pair.0, min), inverse), half), last));
        let (high, high_values) = l.codes(l.min(l.add(l.mul(l.sub(pair.1, min), inverse), half), last));
        pack_nibbles(&low, &high, &mut out[4..20]);
        Ok(Pair(l.add(l.mul(stored, low_values), shift), l.add(l.mul(stored, high_values), shift)))
    }

    #[inline(always)]
    fn decode_block<L: Lanes>(l: L, bytes: &[u8]) -> Pair<L> {
        Pair::affine(l, l.nibbles(sixteen(bytes, 4)), half_at(l, bytes, 0), half_at(l, bytes, 2))
    }

    fn worst(x: &[f32]) -> f32 {
        block32::worst_affine(x, 15.0)
    }
}
