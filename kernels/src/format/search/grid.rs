//! The numbers that codes stand for.

use super::tile::{MAGIC, clamp, round};
use crate::simd::Lanes;

/// A set of numbers, of which a scale makes those that a sub-block can hold.
pub(in crate::format) trait Grid {
    /// A number of the grid next to `t`: the nearest, or the second where `t` is close to the middle. NaN gives one too.
    fn near<L: Lanes>(l: L, t: L::F) -> L::F;

    /// The code, from 0, of the nearest one.
    fn code<L: Lanes>(l: L, t: L::F) -> L::F;
}

/// All integers from `LOW` to `HIGH`.
pub(in crate::format) struct Integers<const LOW: i32, const HIGH: i32>;

impl<const LOW: i32, const HIGH: i32> Grid for Integers<LOW, HIGH> {
    #[inline(always)]
    fn near<L: Lanes>(l: L, t: L::F) -> L::F {
        round(l, clamp(l, t, LOW as f32, HIGH as f32))
    }

    #[inline(always)]
    fn code<L: Lanes>(l: L, t: L::F) -> L::F {
        l.sub(Self::near(l, t), l.splat(LOW as f32))
    }
}

/// The sixteen numbers of iq4_nl and iq4_xs.
pub(in crate::format) struct Iq4;

/// By code.
pub(in crate::format) const IQ4: [f32; 16] =
    [-127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0];

/// A grid in bytes: every number times `unit`, which is an integer, plus `zero`.
pub(in crate::format) const fn bytes(numbers: &[f32; 16], unit: f32, zero: u8) -> [u8; 16] {
    let mut bytes = [0; 16];
    let mut i = 0;
    while i < 16 {
        bytes[i] = ((numbers[i] * unit) as i32 + zero as i32) as u8;
        i += 1;
    }
    bytes
}

/// Halfway to the next number, by code.
const ABOVE: [f32; 16] = {
    let mut middles = [f32::INFINITY; 16];
    let mut i = 0;
    while i < 15 {
        middles[i] = (IQ4[i] + IQ4[i + 1]) / 2.0;
        i += 1;
    }
    middles
};

/// Halfway to the number before, by code.
const BELOW: [f32; 16] = {
    let mut middles = [f32::NEG_INFINITY; 16];
    let mut i = 1;
    while i < 16 {
        middles[i] = ABOVE[i - 1];
        i += 1;
    }
    middles
};

impl Iq4 {
    /// The code by a curve whose steps are within .06 codes of the middles between numbers.
    #[inline(always)]
    fn index<L: Lanes>(l: L, t: L::F) -> L::F {
        let slope = l.sub(l.splat(0.089_843_75), l.mul(l.splat(0.000_231_742_86), l.abs(t)));
        // The code stands in the lowest bits of the pattern, as `pick` wants it.
        l.add(l.add(l.mul(t, slope), l.splat(7.843_75)), l.splat(MAGIC))
    }

    /// Beyond these the code does not change.
    #[inline(always)]
    fn within<L: Lanes>(l: L, t: L::F) -> L::F {
        clamp(l, t, -127.0, 123.0)
    }
}

impl Grid for Iq4 {
    #[inline(always)]
    fn near<L: Lanes>(l: L, t: L::F) -> L::F {
        l.pick(&IQ4, Self::index(l, Self::within(l, t)))
    }

    #[inline(always)]
    fn code<L: Lanes>(l: L, t: L::F) -> L::F {
        let t = Self::within(l, t);
        let index = Self::index(l, t);
        let (one, zero) = (l.splat(1.0), l.splat(0.0));
        let down = l.select_less(t, l.pick(&BELOW, index), one, zero);
        let up = l.select_less(l.pick(&ABOVE, index), t, one, zero);
        l.add(l.sub(l.sub(index, l.splat(MAGIC)), down), up)
    }
}

/// The eight magnitudes of a 4-bit float with two exponent bits, and their negatives.
pub(in crate::format) struct E2m1;

/// By code; the fourth bit is the sign. Readers know no negative zero.
pub(in crate::format) const E2M1: [f32; 16] =
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

impl E2m1 {
    /// The code of the magnitude; one in the middle goes down.
    #[inline(always)]
    fn magnitude<L: Lanes>(l: L, t: L::F) -> L::F {
        let (t, one, zero) = (l.abs(t), l.splat(1.0), l.splat(0.0));
        let mut code = zero;
        for middle in [0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0] {
            code = l.add(code, l.select_less(l.splat(middle), t, one, zero));
        }
        code
    }
}

impl Grid for E2m1 {
    #[inline(always)]
    fn near<L: Lanes>(l: L, t: L::F) -> L::F {
        let magic = l.splat(MAGIC);
        l.copysign(l.pick(&E2M1, l.add(Self::magnitude(l, t), magic)), t)
    }

    #[inline(always)]
    fn code<L: Lanes>(l: L, t: L::F) -> L::F {
        let (code, zero) = (Self::magnitude(l, t), l.splat(0.0));
        // Zero has no sign.
        let sign = l.select_less(t, zero, l.splat(8.0), zero);
        l.add(code, l.select_less(zero, code, sign, zero))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Scalar;

    fn all<G: Grid>(values: &[f32], range: f32) {
        for n in -40_000..=40_000 {
            let t = n as f32 / 40_000.0 * range;
            let code = G::code(Scalar, [t; 16])[0];
            let best = values.iter().map(|v| (v - t).abs()).fold(f32::INFINITY, f32::min);
            assert_eq!((values[code as usize] - t).abs(), best, "{t} got the code {code}");
            let near = G::near(Scalar, [t; 16])[0];
            assert!(values.contains(&near) && (near - t).abs() <= best * 1.4 + 1e-6, "{t} is near {near}");
        }
        assert!(values.contains(&G::near(Scalar, [f32::NAN; 16])[0]));
    }

    #[test]
    fn codes_are_those_of_the_nearest_number() {
        all::<Iq4>(&IQ4, 150.0);
        all::<E2m1>(&E2M1, 8.0);
        all::<Integers<-2, 1>>(&[-2.0, -1.0, 0.0, 1.0], 4.0);
    }
}
