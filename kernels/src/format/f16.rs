//! f16: IEEE half precision.

use super::float::{self, STAGE};
use super::{BadValue, Coding, Decoding, Encoding, Fit};
use crate::matmul::{Floats, tiled};
use crate::simd::{DotLanes, Lanes};
use half::{f16, slice::HalfFloatSliceExt};

pub(super) struct F16;

impl Decoding for F16 {
    const BLOCK: usize = 1;
    const BYTES: usize = 2;
    const ABOUT: &'static str = "IEEE half precision, little-endian, round half to even. \
        A finite value that would round to infinity (65520 and above) is an error.";

    #[inline(always)]
    fn decode<L: Lanes>(l: L, src: &[u8], dst: &mut [f32]) {
        let (halves, rest) = src.as_chunks::<2>().0.as_chunks::<16>();
        let (lanes, y_rest) = dst.as_chunks_mut::<16>();
        for (halves, y) in halves.iter().zip(lanes) {
            l.store(l.half_values(halves), y);
        }
        for (half, y) in rest.iter().zip(y_rest) {
            *y = l.half_value(u16::from_le_bytes(*half));
        }
    }
}

impl Floats for F16 {
    #[inline(always)]
    fn values<L: DotLanes>(l: L, numbers: &[u8]) -> L::F {
        l.half_values(tiled::sixteen_pairs(numbers, 0))
    }
}

impl Coding for F16 {
    #[inline(always)]
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        float::check_finite(l, src, how.non_finite)?;
        let mut halves = [f16::ZERO; STAGE];
        let mut back = [0f32; STAGE];
        let mut fit = Fit::default();
        for (n, (x, out)) in src.chunks(STAGE).zip(dst.chunks_mut(2 * STAGE)).enumerate() {
            let (halves, back) = (&mut halves[..x.len()], &mut back[..x.len()]);
            halves.convert_from_f32_slice(x);
            halves.convert_to_f32_slice(back);
            float::check_overflow(l, x, back, n * STAGE)?;
            fit += float::measure(l, x, back);
            for (h, o) in halves.iter().zip(out.as_chunks_mut::<2>().0) {
                *o = h.to_le_bytes();
            }
        }
        Ok(fit)
    }

    fn worst(x: &[f32]) -> f32 {
        x[0].abs() * 2f32.powi(-11) + 2f32.powi(-25)
    }
}
