//! bf16: the upper half of an IEEE single.

use super::float::{self, STAGE};
use super::{BadValue, Coding, Decoding, Encoding, Fit};
use crate::matmul::{Floats, tiled};
use crate::simd::{DotLanes, Lanes};

pub(super) struct Bf16;

/// Round half to even; a NaN stays a (quiet) NaN.
#[inline(always)]
pub(crate) fn round(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
    if bits & 0x7fff_ffff > 0x7f80_0000 { (bits >> 16) as u16 | 64 } else { rounded }
}

impl Decoding for Bf16 {
    const BLOCK: usize = 1;
    const BYTES: usize = 2;
    const ABOUT: &'static str = "The upper 16 bits of an IEEE single, little-endian, round half to even.";

    #[inline(always)]
    fn decode<L: Lanes>(_: L, src: &[u8], dst: &mut [f32]) {
        for (bytes, y) in src.as_chunks::<2>().0.iter().zip(dst) {
            *y = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
        }
    }
}

impl Floats for Bf16 {
    #[inline(always)]
    fn values<L: DotLanes>(l: L, numbers: &[u8]) -> L::F {
        l.bf16_values(tiled::sixteen_pairs(numbers, 0))
    }
}

impl Coding for Bf16 {
    #[inline(always)]
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        float::check_finite(l, src, how.non_finite)?;
        let mut fit = Fit::default();
        let mut back = [0f32; STAGE];
        for (n, (x, out)) in src.chunks(STAGE).zip(dst.chunks_mut(2 * STAGE)).enumerate() {
            let back = &mut back[..x.len()];
            for ((x, o), y) in x.iter().zip(out.as_chunks_mut::<2>().0).zip(&mut *back) {
                let half = round(*x);
                *o = half.to_le_bytes();
                *y = f32::from_bits(u32::from(half) << 16);
            }
            float::check_overflow(l, x, back, n * STAGE)?;
            fit += float::measure(l, x, back);
        }
        Ok(fit)
    }

    fn worst(x: &[f32]) -> f32 {
        // Half of the smallest step, 2^-133, where the exponent runs out.
        x[0].abs() * 2f32.powi(-8) + f32::from_bits(0x8000)
    }
}
