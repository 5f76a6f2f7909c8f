//! q5_1: 5-bit codes with a scale and a minimum per 32 values.

use super::lanes::{self, BLOCK, Block32};
use super::{BadValue, Coding, Fit, NonFinite};

pub(super) struct Q5_1;

impl Block32 for Q5_1 {
    const BYTES: usize = 24;

    #[inline(always)]
    fn encode_block(x: &[f32; BLOCK], index: usize, out: &mut [u8]) -> Result<(), BadValue> {
        let (min, max) = lanes::min_max(x);
        let d = (max - min) / 31.0;
        let inverse = lanes::inverse(d);
        out[..2].copy_from_slice(&lanes::half_bits(d, index)?);
        out[2..4].copy_from_slice(&lanes::half_bits(min, index)?);
        let mut q = [0u8; BLOCK];
        for (v, code) in x.iter().zip(&mut q) {
            *code = (((v - min) * inverse + 0.5) as i32).min(31) as u8;
        }
        lanes::pack_fifth_bits(&q, &mut out[4..8]);
        lanes::pack_nibbles(&q, &mut out[8..24]);
        Ok(())
    }

    #[inline(always)]
    fn decode_block(bytes: &[u8], y: &mut [f32; BLOCK]) {
        let (d, min) = (lanes::half_at(bytes, 0), lanes::half_at(bytes, 2));
        let mut q = [0u8; BLOCK];
        lanes::unpack_nibbles(&bytes[8..24], &mut q);
        lanes::unpack_fifth_bits(&bytes[4..8], &mut q);
        for (code, v) in q.iter().zip(y) {
            *v = d * f32::from(*code) + min;
        }
    }
}

impl Coding for Q5_1 {
    const BLOCK: usize = BLOCK;
    const BYTES: usize = <Self as Block32>::BYTES;
    const ABOUT: &'static str = "f16 d, f16 m, u32 of fifth bits as in q5_0, then 16 bytes as in q4_0; w = d * q + m. \
        m = min(x), d = (max(x) - m) / 31, q = min(31, trunc((x - m) * (1 / d) + 0.5)).";

    #[inline(always)]
    fn encode(src: &[f32], non_finite: NonFinite, dst: &mut [u8]) -> Result<Fit, BadValue> {
        lanes::encode_blocks::<Self>(src, non_finite, dst)
    }

    #[inline(always)]
    fn decode(src: &[u8], dst: &mut [f32]) {
        lanes::decode_blocks::<Self>(src, dst);
    }

    fn worst(x: &[f32]) -> f32 {
        lanes::worst_affine(x, 31.0)
    }
}
