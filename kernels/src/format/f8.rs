//! The 8-bit floats of safetensors, read only (OCP 8-bit Floating Point Specification, revision 1.0).

use crate::Level;

/// 1 sign, 4 exponent (bias 7) and 3 mantissa bits; no infinity, all ones is NaN.
const E4M3: [f32; 256] = table(4, 7, false);
/// 1 sign, 5 exponent (bias 15) and 2 mantissa bits, with infinity and NaN as in IEEE.
const E5M2: [f32; 256] = table(5, 15, true);

/// [`E4M3`] without a sign, as readers of nvfp4 have it: 0x7f, NaN there, is 0, and 0xff is a number like any other.
pub(super) static UE4M3: [f32; 256] = {
    let mut values = E4M3;
    values[0x7f] = 0.0;
    let mut code = 0;
    while code < 128 {
        values[code + 128] = values[code];
        code += 1;
    }
    values[0xff] = 480.0;
    values
};

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

pub(super) fn decode_e4m3(_: Level, src: &[u8], dst: &mut [f32]) {
    for (code, y) in src.iter().zip(dst) {
        *y = E4M3[usize::from(*code)];
    }
}

pub(super) fn decode_e5m2(_: Level, src: &[u8], dst: &mut [f32]) {
    for (code, y) in src.iter().zip(dst) {
        *y = E5M2[usize::from(*code)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn landmarks_of_the_specification() {
        assert_eq!(E4M3[0x7e], 448.0);
        assert_eq!(E4M3[0x08], 2f32.powi(-6));
        assert_eq!(E4M3[0x01], 2f32.powi(-9));
        assert_eq!(E4M3[0xc8], -4.5 + 0.5);
        assert!(E4M3[0x7f].is_nan() && E4M3[0xff].is_nan());
        assert_eq!(E5M2[0x7b], 57344.0);
        assert_eq!(E5M2[0x01], 2f32.powi(-16));
        assert_eq!(E5M2[0x7c], f32::INFINITY);
        assert!(E5M2[0x7d].is_nan());
    }
}
