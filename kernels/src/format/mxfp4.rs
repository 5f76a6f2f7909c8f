//! mxfp4: 4-bit floats with a power of two per 32 values (OCP Microscaling Formats, version 1.0).

use super::Decoding;
use super::block32::{BLOCK, Pair, sixteen};
use crate::simd::Lanes;

pub(super) struct Mxfp4;

/// Twice the E2M1 values, so that they are integers, plus [`ZERO`]. The scales are halved in turn.
pub(super) const E2M1_TWICE: [u8; 16] = [12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0];
pub(super) const ZERO: u8 = 12;

impl Decoding for Mxfp4 {
    const BLOCK: usize = BLOCK;
    const BYTES: usize = 17;
    const ABOUT: &'static str = "A byte e, then 16 bytes as in q4_0; w = 2^(e - 127) * E2M1[q], with 0, 0.5, 1, 1.5, 2, \
        3, 4, 6 and from code 8 on their negatives; code 8 is +0. As in ggml, e = 255 is 2^128, not NaN.";

    #[inline(always)]
    fn decode<L: Lanes>(l: L, src: &[u8], dst: &mut [f32]) {
        for (block, y) in src.as_chunks::<17>().0.iter().zip(dst.as_chunks_mut::<BLOCK>().0) {
            let codes = l.lookup(&E2M1_TWICE, l.nibbles(sixteen(block, 1)));
            Pair::scaled(l, codes, ZERO, l.splat(half_of_power(block[0]))).store(l, y);
        }
    }
}

/// 2^(e - 128), which is subnormal below 2.
#[inline(always)]
fn half_of_power(e: u8) -> f32 {
    let bits = if e < 2 { 0x0020_0000 << e } else { (u32::from(e) - 1) << 23 };
    f32::from_bits(bits)
}
