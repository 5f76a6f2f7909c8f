//! Sixteen f32 lanes, the same at every instruction set.
//!
//! A kernel body is generic over [`Lanes`] and is compiled once per set. Every method is one correctly rounded IEEE
//! operation per lane, none fuses or reorders, and the folds have a fixed tree: so all sets give the same bits.

use super::ByteLanes;

/// The instruction set as a value: only dispatch by [`crate::Level`] makes one, so holding one proves that the CPU has
/// the set.
pub(crate) trait Lanes: ByteLanes {
    /// There are registers for several chains of operations side by side.
    const WIDE: bool;
    /// Every body exists once more without weights, which saves their reading. Without it all weights are 1, and the
    /// results the same.
    const UNWEIGHED: bool;
    /// Sixteen values.
    type F: Copy;

    fn splat(self, x: f32) -> Self::F;
    fn load(self, x: &[f32; 16]) -> Self::F;
    fn store(self, v: Self::F, out: &mut [f32; 16]);
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a < b ? x : y`, so `y` where a or b is NaN
    fn select_less(self, a: Self::F, b: Self::F, x: Self::F, y: Self::F) -> Self::F;
    /// `a > b ? a : b`
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a < b ? a : b`
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    fn abs(self, a: Self::F) -> Self::F;
    /// The magnitude of `a` with the sign of `b`.
    fn copysign(self, a: Self::F, b: Self::F) -> Self::F;
    /// True when a lane is NaN or infinite.
    fn any_non_finite(self, a: Self::F) -> bool;
    /// Each lane truncated toward zero, which must give an integer within +-2^30: its low byte, and its value.
    fn codes(self, a: Self::F) -> ([u8; 16], Self::F);
    /// Unsigned bytes as values.
    fn widen_u8(self, bytes: &[u8; 16]) -> Self::F;
    /// Signed bytes as values.
    fn widen_i8(self, bytes: &[u8; 16]) -> Self::F;
    /// The largest lane, by [`Lanes::max`] of lanes 8, 4, 2 and 1 apart.
    fn fold_max(self, a: Self::F) -> f32;
    /// The smallest lane, by [`Lanes::min`] in the same tree.
    fn fold_min(self, a: Self::F) -> f32;
    /// The sum of the lanes in the same tree.
    fn fold_sum(self, a: Self::F) -> f32;
    /// Row i of sixteen, `src[i * stride..][..16]`, becomes column i of `out`.
    fn transpose(self, src: &[f32], stride: usize, out: &mut [[f32; 16]; 16]);
    /// `table[i]`, i the lowest four bits of each lane's pattern.
    fn pick(self, table: &[f32; 16], index: Self::F) -> Self::F;
    /// Half-precision bits of each lane, round half to even; too large a value becomes infinite.
    fn halves(self, a: Self::F) -> [u16; 16];
    /// The values of half-precision bits.
    fn widen_halves(self, bits: &[u16; 16]) -> Self::F;
    /// Half-precision bits of a finite value, round half to even.
    fn half_bits(self, x: f32) -> u16;
    /// The value of half-precision bits.
    fn half_value(self, bits: u16) -> f32;
    /// The value of half-precision bits in every lane.
    fn splat_half(self, bits: u16) -> Self::F;
    /// The values of sixteen little-endian half-precision numbers.
    fn half_values(self, halves: &[[u8; 2]; 16]) -> Self::F;
    /// Each byte less the zero point, which is within -128 and 127, as values: the first sixteen and the others.
    fn values(self, bytes: Self::B, zero: u8) -> (Self::F, Self::F);
}

/// No instruction set beyond what the target guarantees: the definition of every operation.
#[derive(Clone, Copy)]
pub(crate) struct Scalar;

macro_rules! each {
    ($i:ident => $e:expr) => {{
        let mut out = [0f32; 16];
        for $i in 0..16 {
            out[$i] = $e;
        }
        out
    }};
}

macro_rules! fold {
    ($v:expr, $a:ident, $b:ident => $e:expr) => {{
        let mut v = $v;
        for width in [8, 4, 2, 1] {
            for i in 0..width {
                let ($a, $b) = (v[i], v[i + width]);
                v[i] = $e;
            }
        }
        v[0]
    }};
}

/// Without branches, so that loops over it become vectors, and without subnormals, which are slow. A NaN becomes quiet.
#[inline(always)]
fn half_value(bits: u16) -> f32 {
    // How far the exponents are apart, and the least exponent of a normal half with the leading one that it implies.
    const APART: u32 = 112 << 23;
    const LEAST: u32 = 113 << 23;
    let (sign, rest) = (u32::from(bits & 0x8000) << 16, u32::from(bits & 0x7fff) << 13);
    let subnormal = (f32::from_bits(rest + LEAST) - f32::from_bits(LEAST)).to_bits();
    let finite = if rest < 1 << 23 { subnormal } else { rest + APART };
    let special = if rest < 31 << 23 { 0 } else { 0xff << 23 };
    let quiet = if rest <= 31 << 23 { 0 } else { 1 << 22 };
    f32::from_bits(sign | finite | special | quiet)
}

impl Lanes for Scalar {
    const WIDE: bool = false;
    // Loops over arrays take the compiler long.
    const UNWEIGHED: bool = false;
    type F = [f32; 16];

    #[inline(always)]
    fn splat(self, x: f32) -> [f32; 16] {
        [x; 16]
    }
    #[inline(always)]
    fn load(self, x: &[f32; 16]) -> [f32; 16] {
        *x
    }
    #[inline(always)]
    fn store(self, v: [f32; 16], out: &mut [f32; 16]) {
        *out = v;
    }
    #[inline(always)]
    fn add(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each!(i => a[i] + b[i])
    }
    #[inline(always)]
    fn sub(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each!(i => a[i] - b[i])
    }
    #[inline(always)]
    fn mul(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each!(i => a[i] * b[i])
    }
    #[inline(always)]
    fn div(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each!(i => a[i] / b[i])
    }
    #[inline(always)]
    fn select_less(self, a: [f32; 16], b: [f32; 16], x: [f32; 16], y: [f32; 16]) -> [f32; 16] {
        each!(i => if a[i] < b[i] { x[i] } else { y[i] })
    }
    #[inline(always)]
    fn max(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each!(i => if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn min(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each!(i => if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn abs(self, a: [f32; 16]) -> [f32; 16] {
        each!(i => a[i].abs())
    }
    #[inline(always)]
    fn copysign(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each!(i => a[i].copysign(b[i]))
    }
    #[inline(always)]
    fn any_non_finite(self, a: [f32; 16]) -> bool {
        let mut bad = false;
        for v in a {
            bad |= v.to_bits() & 0x7f80_0000 == 0x7f80_0000;
        }
        bad
    }
    #[inline(always)]
    fn codes(self, a: [f32; 16]) -> ([u8; 16], [f32; 16]) {
        let mut out = [0; 16];
        for i in 0..16 {
            out[i] = a[i] as i32 as u8;
        }
        (out, each!(i => a[i] as i32 as f32))
    }
    #[inline(always)]
    fn widen_u8(self, bytes: &[u8; 16]) -> [f32; 16] {
        each!(i => f32::from(bytes[i]))
    }
    #[inline(always)]
    fn widen_i8(self, bytes: &[u8; 16]) -> [f32; 16] {
        each!(i => f32::from(bytes[i] as i8))
    }
    #[inline(always)]
    fn fold_max(self, a: [f32; 16]) -> f32 {
        fold!(a, x, y => if x > y { x } else { y })
    }
    #[inline(always)]
    fn fold_min(self, a: [f32; 16]) -> f32 {
        fold!(a, x, y => if x < y { x } else { y })
    }
    #[inline(always)]
    fn fold_sum(self, a: [f32; 16]) -> f32 {
        fold!(a, x, y => x + y)
    }
    #[inline(always)]
    fn transpose(self, src: &[f32], stride: usize, out: &mut [[f32; 16]; 16]) {
        for (j, column) in out.iter_mut().enumerate() {
            *column = each!(i => src[i * stride + j]);
        }
    }
    #[inline(always)]
    fn pick(self, table: &[f32; 16], index: [f32; 16]) -> [f32; 16] {
        each!(i => table[(index[i].to_bits() & 15) as usize])
    }
    #[inline(always)]
    fn halves(self, a: [f32; 16]) -> [u16; 16] {
        let mut out = [0; 16];
        for i in 0..16 {
            out[i] = self.half_bits(a[i]);
        }
        out
    }
    #[inline(always)]
    fn widen_halves(self, bits: &[u16; 16]) -> [f32; 16] {
        each!(i => self.half_value(bits[i]))
    }
    #[inline(always)]
    fn half_bits(self, x: f32) -> u16 {
        half::f16::from_f32_const(x).to_bits()
    }
    #[inline(always)]
    fn half_value(self, bits: u16) -> f32 {
        half_value(bits)
    }
    #[inline(always)]
    fn splat_half(self, bits: u16) -> [f32; 16] {
        [self.half_value(bits); 16]
    }
    #[inline(always)]
    fn half_values(self, halves: &[[u8; 2]; 16]) -> [f32; 16] {
        let mut out = [0.0; 16];
        for (half, y) in halves.iter().zip(&mut out) {
            *y = half_value(u16::from_le_bytes(*half));
        }
        out
    }
    #[inline(always)]
    fn values(self, bytes: [u8; 32], zero: u8) -> ([f32; 16], [f32; 16]) {
        let zero = f32::from(zero);
        (each!(i => f32::from(bytes[i]) - zero), each!(i => f32::from(bytes[i + 16]) - zero))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_is_its_value() {
        for bits in 0..=u16::MAX {
            let (ours, theirs) = (half_value(bits), half::f16::from_bits(bits).to_f32());
            assert_eq!(ours.to_bits(), theirs.to_bits(), "{bits:x}");
        }
    }
}
