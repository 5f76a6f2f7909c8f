//! q8_0: 8-bit codes with one scale per 32 values.

use super::block32::{self, BLOCK, Block32, Pair, half_at, inverse, sixteen, store_half};
use super::{BadValue, Coding, Encoding, Fit};
use crate::simd::Lanes;

pub(super) struct Q8_0;

impl Block32 for Q8_0 {
    const BYTES: usize = 34;
    const ABOUT: &'static str = "f16 d, then 32 signed bytes q: w = d * q. \
        d = max|x| / 127, q = round(x * (1 / d)), half away from zero.";

    #[inline(always)]
    fn encode_block<L: Lanes>(
        l: L,
        _: &[f32; BLOCK],
        pair: Pair<L>,
        index: usize,
        out: &mut [u8],
    ) -> Result<Pair<L>, BadValue> {
        let d = pair.max_abs(l) / 127.0;
        let stored = store_half(l, d, index, out)?;
        let inverse = l.splat(inverse(d));
        // Half away from zero: the largest float below one half does not push 0.49999997 over the edge.
        let half = l.splat(0.499_999_97);
        let (low, high) = (l.mul(pair.0, inverse), l.mul(pair.1, inverse));
        let (low_bytes, low) = l.codes(l.add(low, l.copysign(half, low)));
        let (high_bytes, high) = l.codes(l.add(high, l.copysign(half, high)));
        out[2..18].copy_from_slice(&low_bytes);
        out[18..34].copy_from_slice(&high_bytes);
        Ok(Pair(l.mul(stored, low), l.mul(stored, high)))
    }

    #[inline(always)]
    fn decode_block<L: Lanes>(l: L, bytes: &[u8]) -> Pair<L> {
        let d = half_at(l, bytes, 0);
        Pair(l.mul(d, l.widen_i8(sixteen(bytes, 2))), l.mul(d, l.widen_i8(sixteen(bytes, 18))))
    }
}

impl Coding for Q8_0 {
    #[inline(always)]
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        block32::encode_blocks::<Q8_0, L>(l, src, how, dst)
    }

    fn worst(x: &[f32]) -> f32 {
        block32::worst_of(block32::top(x) / 127.0, 0.5, 127.0)
    }
}
