//! f32: IEEE single precision.

use super::lanes;
use super::{BadValue, Coding, Fit, NonFinite};

pub(super) struct F32;

impl Coding for F32 {
    const BLOCK: usize = 1;
    const BYTES: usize = 4;
    const ABOUT: &'static str = "IEEE single precision, little-endian. Nothing is lost.";

    #[inline(always)]
    fn encode(src: &[f32], non_finite: NonFinite, dst: &mut [u8]) -> Result<Fit, BadValue> {
        if non_finite == NonFinite::Refuse && !lanes::all_finite(src) {
            return Err(lanes::non_finite(src, 0));
        }
        for (x, out) in src.iter().zip(dst.as_chunks_mut::<4>().0) {
            *out = x.to_le_bytes();
        }
        Ok(Fit { error: 0.0, energy: lanes::energy(src) })
    }

    #[inline(always)]
    fn decode(src: &[u8], dst: &mut [f32]) {
        for (bytes, y) in src.as_chunks::<4>().0.iter().zip(dst) {
            *y = f32::from_le_bytes(*bytes);
        }
    }

    fn worst(_: &[f32]) -> f32 {
        0.0
    }
}
