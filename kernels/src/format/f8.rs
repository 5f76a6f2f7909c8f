//! The 8-bit floats of safetensors, read only (OCP 8-bit Floating Point Specification, revision 1.0).

use super::Decoding;
use crate::simd::Lanes;

/// 1 sign, 4 exponent (bias 7) and 3 mantissa bits; no infinity, all ones is NaN.
pub(super) struct E4M3;
/// 1 sign, 5 exponent (bias 15) and 2 mantissa bits, with infinity and NaN as in IEEE.
pub(super) struct E5M2;

const E4M3_VALUES: [f32; 256] = table(4, 7, false);
const E5M2_VALUES: [f32; 256] = table(5, 15, true);

const fn table(exponent_bits: u32, bias: i32, ieee: bool) -> [f32; 256] {
    let mantissa_bits = 7 - exponent_bits;
    let mut values = [0f32; 256];
    let mut code = 0;
    while code < 256 {
        let exponent = (code >> mantissa_bits & ((1 << exponent_bits) - 1)) as i32;
        let mantissa = (code & ((1 << mantissa_bits) - 1)) as f32;
        let steps = (1 << mantissa_bits) as f32;
        let magnitude = if exponent == 0 {
            mantissa / steps * power_of_two(1 - bias)
        } else {
            (1.0 + mantissa / steps) * power_of_two(exponent - bias)
        };
        let all_ones = exponent == (1 << exponent_bits) - 1;
        let magnitude = if all_ones && ieee {
            if mantissa == 0.0 { f32::INFINITY } else { f32::NAN }
        } else if all_ones && mantissa + 1.0 == steps {
            f32::NAN
        } else {
            magnitude
        };
        values[code] = if code >= 128 { -magnitude } else { magnitude };
        code += 1;
    }
    values
}

const fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

impl Decoding for E4M3 {
    const BLOCK: usize = 1;
    const BYTES: usize = 1;
    const ABOUT: &'static str = "OCP float8 with 4 exponent bits; no infinity.";

    #[inline(always)]
    fn decode<L: Lanes>(_: L, src: &[u8], dst: &mut [f32]) {
        for (code, y) in src.iter().zip(dst) {
            *y = E4M3_VALUES[usize::from(*code)];
        }
    }
}

impl Decoding for E5M2 {
    const BLOCK: usize = 1;
    const BYTES: usize = 1;
    const ABOUT: &'static str = "OCP float8 with 5 exponent bits.";

    #[inline(always)]
    fn decode<L: Lanes>(_: L, src: &[u8], dst: &mut [f32]) {
        for (code, y) in src.iter().zip(dst) {
            *y = E5M2_VALUES[usize::from(*code)];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn landmarks_of_the_specification() {
        assert_eq!(E4M3_VALUES[0x7e], 448.0);
        assert_eq!(E4M3_VALUES[0x08], 2f32.powi(-6));
        assert_eq!(E4M3_VALUES[0x01], 2f32.powi(-9));
        assert_eq!(E4M3_VALUES[0xc8], -4.5 + 0.5);
        assert!(E4M3_VALUES[0x7f].is_nan() && E4M3_VALUES[0xff].is_nan());
        assert_eq!(E5M2_VALUES[0x7b], 57344.0);
        assert_eq!(E5M2_VALUES[0x01], 2f32.powi(-16));
        assert_eq!(E5M2_VALUES[0x7c], f32::INFINITY);
        assert!(E5M2_VALUES[0x7d].is_nan());
    }
}
