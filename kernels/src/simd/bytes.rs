//! Thirty-two byte lanes: where packed codes come apart before [`super::Lanes`] makes values of them.

use super::Scalar;

/// Operations on bytes, the same at every instruction set.
pub(crate) trait ByteLanes: Copy {
    /// Thirty-two bytes.
    type B: Copy;

    fn bytes(self, x: &[u8; 32]) -> Self::B;
    /// The low halves of sixteen bytes, then their high halves.
    fn nibbles(self, x: &[u8; 16]) -> Self::B;
    /// Byte i is 255 where bit i is set, else 0.
    fn mask(self, bits: u32) -> Self::B;
    /// Each byte shifted right by `shift` in -7..8 (left where negative), and the bits of it that are in `keep`.
    fn field(self, a: Self::B, shift: i32, keep: u8) -> Self::B;
    fn or(self, a: Self::B, b: Self::B) -> Self::B;
    /// The entry of each code; codes are below 16.
    fn lookup(self, table: &[u8; 16], codes: Self::B) -> Self::B;
}

/// A byte with every bit that a shift of this kind can fill from inside the byte.
#[inline(always)]
pub(super) fn inside(shift: i32) -> u8 {
    if shift < 0 { 0xff << -shift } else { 0xff >> shift }
}

macro_rules! each_byte {
    ($i:ident => $e:expr) => {{
        let mut out = [0u8; 32];
        for $i in 0..32 {
            out[$i] = $e;
        }
        out
    }};
}

impl ByteLanes for Scalar {
    type B = [u8; 32];

    #[inline(always)]
    fn bytes(self, x: &[u8; 32]) -> [u8; 32] {
        *x
    }
    #[inline(always)]
    fn nibbles(self, x: &[u8; 16]) -> [u8; 32] {
        let mut out = [0; 32];
        for i in 0..16 {
            out[i] = x[i] & 15;
            out[i + 16] = x[i] >> 4;
        }
        out
    }
    #[inline(always)]
    fn mask(self, bits: u32) -> [u8; 32] {
        each_byte!(i => if bits >> i & 1 == 1 { 255 } else { 0 })
    }
    #[inline(always)]
    fn field(self, a: [u8; 32], shift: i32, keep: u8) -> [u8; 32] {
        if shift < 0 { each_byte!(i => a[i] << -shift & keep) } else { each_byte!(i => a[i] >> shift & keep) }
    }
    #[inline(always)]
    fn or(self, a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
        each_byte!(i => a[i] | b[i])
    }
    #[inline(always)]
    fn lookup(self, table: &[u8; 16], codes: [u8; 32]) -> [u8; 32] {
        each_byte!(i => table[usize::from(codes[i] & 15)])
    }
}
