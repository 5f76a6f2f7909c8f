//! The 8-bit floats of safetensors, read only (OCP 8-bit Floating Point Specification, revision 1.0).
//!
//! Both are read as half precision, which holds all their values: exactly, or as a fraction of a power of two.

use super::Decoding;
use crate::simd::Lanes;

/// 1 sign, 4 exponent (bias 7) and 3 mantissa bits; no infinity, all ones is NaN.
pub(super) struct E4M3;
/// 1 sign, 5 exponent (bias 15) and 2 mantissa bits, with infinity and NaN as in IEEE.
pub(super) struct E5M2;

trait Float8 {
    /// What the half has to be multiplied by.
    const UNIT: f32;
    /// The bits of the half.
    fn half(code: u8) -> u16;
}

impl Float8 for E4M3 {
    /// The biases are 8 apart.
    const UNIT: f32 = 256.0;

    #[inline(always)]
    fn half(code: u8) -> u16 {
        let (sign, rest) = (u16::from(code & 0x80) << 8, u16::from(code & 0x7f));
        sign | if rest == 0x7f { half::f16::NAN.to_bits() } else { rest << 7 }
    }
}

impl Float8 for E5M2 {
    const UNIT: f32 = 1.0;

    #[inline(always)]
    fn half(code: u8) -> u16 {
        u16::from(code) << 8
    }
}

#[inline(always)]
fn decode<F: Float8, L: Lanes>(l: L, src: &[u8], dst: &mut [f32]) {
    let ((lanes, rest), (y_lanes, y_rest)) = (src.as_chunks::<16>(), dst.as_chunks_mut::<16>());
    let unit = l.splat(F::UNIT);
    for (codes, y) in lanes.iter().zip(y_lanes) {
        let mut halves = [[0; 2]; 16];
        for (code, half) in codes.iter().zip(&mut halves) {
            *half = F::half(*code).to_le_bytes();
        }
        l.store(l.mul(unit, l.half_values(&halves)), y);
    }
    for (code, y) in rest.iter().zip(y_rest) {
        *y = F::UNIT * l.half_value(F::half(*code));
    }
}

impl Decoding for E4M3 {
    const BLOCK: usize = 1;
    const BYTES: usize = 1;
    const ABOUT: &'static str = "OCP float8 with 4 exponent bits; no infinity.";

    #[inline(always)]
    fn decode<L: Lanes>(l: L, src: &[u8], dst: &mut [f32]) {
        decode::<E4M3, L>(l, src, dst);
    }
}

impl Decoding for E5M2 {
    const BLOCK: usize = 1;
    const BYTES: usize = 1;
    const ABOUT: &'static str = "OCP float8 with 5 exponent bits.";

    #[inline(always)]
    fn decode<L: Lanes>(l: L, src: &[u8], dst: &mut [f32]) {
        decode::<E5M2, L>(l, src, dst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Scalar;

    /// The definition: `bits` of exponent, then mantissa; subnormals where the exponent is 0.
    fn finite(code: u8, bits: u32, bias: i32) -> f32 {
        let steps = 1u8 << (7 - bits);
        let (exponent, mantissa) = (i32::from((code & 0x7f) / steps), f32::from(code % steps) / f32::from(steps));
        let size =
            if exponent == 0 { mantissa * 2f32.powi(1 - bias) } else { (1.0 + mantissa) * 2f32.powi(exponent - bias) };
        if code < 0x80 { size } else { -size }
    }

    #[test]
    fn all_codes_are_what_the_specification_says() {
        let codes: Vec<u8> = (0..=255).collect();
        let (mut e4m3, mut e5m2) = ([0f32; 256], [0f32; 256]);
        E4M3::decode(Scalar, &codes, &mut e4m3);
        E5M2::decode(Scalar, &codes, &mut e5m2);
        for code in codes {
            let (a, b) = (e4m3[usize::from(code)], e5m2[usize::from(code)]);
            match code & 0x7f {
                0x7f => assert!(a.is_nan()),
                _ => assert_eq!(a.to_bits(), finite(code, 4, 7).to_bits(), "{code:x}"),
            }
            match code & 0x7f {
                0x7d.. => assert!(b.is_nan()),
                0x7c => assert_eq!(b, f32::INFINITY.copysign(finite(code, 5, 15))),
                _ => assert_eq!(b.to_bits(), finite(code, 5, 15).to_bits(), "{code:x}"),
            }
        }
        assert_eq!((e4m3[0x7e], e5m2[0x7b]), (448.0, 57344.0));
    }
}
