//! q8_0: 8-bit codes with one scale per 32 values.

use super::lanes::{self, BLOCK, Block32};
use super::{BadValue, Coding, Fit, NonFinite};

pub(super) struct Q8_0;

impl Block32 for Q8_0 {
    const BYTES: usize = 34;

    #[inline(always)]
    fn encode_block(x: &[f32; BLOCK], index: usize, out: &mut [u8]) -> Result<(), BadValue> {
        let d = lanes::max_abs(x) / 127.0;
        let inverse = lanes::inverse(d);
        out[..2].copy_from_slice(&lanes::half_bits(d, index)?);
        for (v, q) in x.iter().zip(&mut out[2..34]) {
            // Half away from zero: the largest float below one half does not push 0.49999997 over the edge.
            let scaled = v * inverse;
            *q = (scaled + 0.499_999_97f32.copysign(scaled)) as i32 as u8;
        }
        Ok(())
    }

    #[inline(always)]
    fn decode_block(bytes: &[u8], y: &mut [f32; BLOCK]) {
        let d = lanes::half_at(bytes, 0);
        for (q, v) in bytes[2..34].iter().zip(y) {
            *v = d * f32::from(*q as i8);
        }
    }
}

impl Coding for Q8_0 {
    const BLOCK: usize = BLOCK;
    const BYTES: usize = <Self as Block32>::BYTES;
    const ABOUT: &'static str = "f16 d, then 32 signed bytes q: w = d * q. \
        d = max|x| / 127, q = round(x * (1 / d)), half away from zero.";

    #[inline(always)]
    fn encode(src: &[f32], non_finite: NonFinite, dst: &mut [u8]) -> Result<Fit, BadValue> {
        lanes::encode_blocks::<Self>(src, non_finite, dst)
    }

    #[inline(always)]
    fn decode(src: &[u8], dst: &mut [f32]) {
        lanes::decode_blocks::<Self>(src, dst);
    }

    fn worst(x: &[f32]) -> f32 {
        let top = x.iter().fold(0f32, |m, v| m.max(v.abs()));
        lanes::worst_of(top / 127.0, 0.5, 127.0)
    }
}
