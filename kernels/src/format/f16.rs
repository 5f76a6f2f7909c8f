//! f16: IEEE half precision.

use super::lanes;
use super::{BadValue, Coding, Fit, NonFinite};
use half::{f16, slice::HalfFloatSliceExt};

/// Values converted at a time, so that the staging array stays in the first-level cache.
const STAGE: usize = 256;

pub(super) struct F16;

impl Coding for F16 {
    const BLOCK: usize = 1;
    const BYTES: usize = 2;
    const ABOUT: &'static str = "IEEE half precision, little-endian, round half to even. \
        A finite value that would round to infinity (65520 and above) is an error.";

    #[inline(always)]
    fn encode(src: &[f32], non_finite: NonFinite, dst: &mut [u8]) -> Result<Fit, BadValue> {
        if non_finite == NonFinite::Refuse && !lanes::all_finite(src) {
            return Err(lanes::non_finite(src, 0));
        }
        let mut halves = [f16::ZERO; STAGE];
        let mut back = [0f32; STAGE];
        let mut fit = Fit::default();
        for (n, (x, out)) in src.chunks(STAGE).zip(dst.chunks_mut(2 * STAGE)).enumerate() {
            let (halves, back) = (&mut halves[..x.len()], &mut back[..x.len()]);
            halves.convert_from_f32_slice(x);
            halves.convert_to_f32_slice(back);
            for i in 0..x.len() {
                if back[i].is_infinite() && x[i].is_finite() {
                    return Err(BadValue::Overflow { index: n * STAGE + i, value: x[i] });
                }
            }
            fit += lanes::measure_slice(x, back);
            for (h, o) in halves.iter().zip(out.as_chunks_mut::<2>().0) {
                *o = h.to_le_bytes();
            }
        }
        Ok(fit)
    }

    #[inline(always)]
    fn decode(src: &[u8], dst: &mut [f32]) {
        let mut halves = [f16::ZERO; STAGE];
        for (bytes, y) in src.chunks(2 * STAGE).zip(dst.chunks_mut(STAGE)) {
            let halves = &mut halves[..y.len()];
            for (b, h) in bytes.as_chunks::<2>().0.iter().zip(halves.iter_mut()) {
                *h = f16::from_le_bytes(*b);
            }
            halves.convert_to_f32_slice(y);
        }
    }

    fn worst(x: &[f32]) -> f32 {
        x[0].abs() * 2f32.powi(-11) + 2f32.powi(-25)
    }
}
