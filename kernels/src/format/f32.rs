//! f32: IEEE single precision.

use super::float;
use super::{BadValue, Coding, Decoding, Encoding, Fit};
use crate::matmul::Floats;
use crate::simd::{DotLanes, Lanes};

pub(super) struct F32;

impl Decoding for F32 {
    const BLOCK: usize = 1;
    const BYTES: usize = 4;
    const ABOUT: &'static str = "IEEE single precision, little-endian. Nothing is lost.";

    #[inline(always)]
    fn decode<L: Lanes>(_: L, src: &[u8], dst: &mut [f32]) {
        for (bytes, y) in src.as_chunks::<4>().0.iter().zip(dst) {
            *y = f32::from_le_bytes(*bytes);
        }
    }
}

impl Floats for F32 {
    #[inline(always)]
    fn values<L: DotLanes>(l: L, numbers: &[u8]) -> L::F {
        let mut values = [0.0; 16];
        for (y, x) in values.iter_mut().zip(numbers.as_chunks::<4>().0) {
            *y = f32::from_le_bytes(*x);
        }
        l.load(&values)
    }
}

impl Coding for F32 {
    #[inline(always)]
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        float::check_finite(l, src, how.non_finite)?;
        for (x, out) in src.iter().zip(dst.as_chunks_mut::<4>().0) {
            *out = x.to_le_bytes();
        }
        let mut fit = Fit::default();
        for x in src.chunks(float::STAGE) {
            fit += float::measure(l, x, x);
        }
        Ok(fit)
    }

    fn worst(_: &[f32]) -> f32 {
        0.0
    }
}
