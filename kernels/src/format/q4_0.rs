//! q4_0: 4-bit codes with one signed scale per 32 values.

use super::lanes::{self, BLOCK, Block32};
use super::{BadValue, Coding, Fit, NonFinite};

pub(super) struct Q4_0;

impl Block32 for Q4_0 {
    const BYTES: usize = 18;

    #[inline(always)]
    fn encode_block(x: &[f32; BLOCK], index: usize, out: &mut [u8]) -> Result<(), BadValue> {
        let d = lanes::signed_max(x) / -8.0;
        let inverse = lanes::inverse(d);
        out[..2].copy_from_slice(&lanes::half_bits(d, index)?);
        let mut q = [0u8; BLOCK];
        for (v, code) in x.iter().zip(&mut q) {
            *code = ((v * inverse + 8.5) as i32).min(15) as u8;
        }
        lanes::pack_nibbles(&q, &mut out[2..18]);
        Ok(())
    }

    #[inline(always)]
    fn decode_block(bytes: &[u8], y: &mut [f32; BLOCK]) {
        let d = lanes::half_at(bytes, 0);
        let mut q = [0u8; BLOCK];
        lanes::unpack_nibbles(&bytes[2..18], &mut q);
        for (code, v) in q.iter().zip(y) {
            *v = d * (i32::from(*code) - 8) as f32;
        }
    }
}

impl Coding for Q4_0 {
    const BLOCK: usize = BLOCK;
    const BYTES: usize = <Self as Block32>::BYTES;
    const ABOUT: &'static str = "f16 d, then 16 bytes: byte j holds element j in its low and j + 16 in its high half; \
        w = d * (q - 8). d = m / -8 with m the value of largest magnitude (the first among equals), \
        q = min(15, trunc(x * (1 / d) + 8.5)).";

    #[inline(always)]
    fn encode(src: &[f32], non_finite: NonFinite, dst: &mut [u8]) -> Result<Fit, BadValue> {
        lanes::encode_blocks::<Self>(src, non_finite, dst)
    }

    #[inline(always)]
    fn decode(src: &[u8], dst: &mut [f32]) {
        lanes::decode_blocks::<Self>(src, dst);
    }

    fn worst(x: &[f32]) -> f32 {
        // The code 16 does not exist: the far end of the other sign loses a whole step.
        let top = x.iter().fold(0f32, |m, v| m.max(v.abs()));
        lanes::worst_of(top / 8.0, 1.0, 8.0)
    }
}
