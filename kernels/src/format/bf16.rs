//! bf16: the upper half of an IEEE single.

use super::lanes;
use super::{BadValue, Coding, Fit, NonFinite};

pub(super) struct Bf16;

/// Round half to even; a NaN stays a (quiet) NaN.
#[inline(always)]
fn round(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
    if bits & 0x7fff_ffff > 0x7f80_0000 { (bits >> 16) as u16 | 64 } else { rounded }
}

impl Coding for Bf16 {
    const BLOCK: usize = 1;
    const BYTES: usize = 2;
    const ABOUT: &'static str = "The upper 16 bits of an IEEE single, little-endian, round half to even.";

    #[inline(always)]
    fn encode(src: &[f32], non_finite: NonFinite, dst: &mut [u8]) -> Result<Fit, BadValue> {
        if non_finite == NonFinite::Refuse && !lanes::all_finite(src) {
            return Err(lanes::non_finite(src, 0));
        }
        let mut fit = Fit::default();
        let mut back = [0f32; 256];
        for (n, (x, out)) in src.chunks(256).zip(dst.chunks_mut(512)).enumerate() {
            let back = &mut back[..x.len()];
            let mut overflow = 0u32;
            for (i, o) in out.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                let half = round(x[i]);
                *o = half.to_le_bytes();
                back[i] = f32::from_bits(u32::from(half) << 16);
                overflow |= u32::from(back[i].is_infinite() && x[i].is_finite());
            }
            if overflow != 0 {
                let i = (0..x.len()).find(|&i| back[i].is_infinite() && x[i].is_finite()).unwrap_or(0);
                return Err(BadValue::Overflow { index: n * 256 + i, value: x[i] });
            }
            fit += lanes::measure_slice(x, back);
        }
        Ok(fit)
    }

    #[inline(always)]
    fn decode(src: &[u8], dst: &mut [f32]) {
        for (bytes, y) in src.as_chunks::<2>().0.iter().zip(dst) {
            *y = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
        }
    }

    fn worst(x: &[f32]) -> f32 {
        // Half of the smallest step, 2^-133, where the exponent runs out.
        x[0].abs() * 2f32.powi(-8) + f32::from_bits(0x8000)
    }
}
