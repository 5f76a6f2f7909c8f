//! Sixteen rows side by side: the operations of matrix products.
//!
//! Rows lie in lanes, so a sum never crosses lanes, and its order is the same at every instruction set. Integer sums are
//! exact; [`DotLanes::fma`] rounds once. So products, too, have the same bits everywhere.

use super::{Lanes, Scalar};

/// What a product needs beyond [`Lanes`].
pub(crate) trait DotLanes: Lanes {
    /// Columns of floats that a body has sums for in registers at most.
    const COLUMNS: usize;
    /// There are registers for the sums of as many columns of two panels.
    const PAIRS: bool = false;
    /// What the sums of [`DotLanes::dot_wide`] take for zero.
    const WIDE_ZERO: i32;
    /// Sixteen 32-bit integers, one a row.
    type I: Copy;
    /// Four successive codes of each of sixteen rows.
    type W: Copy;
    /// Sums of a few products.
    type P: Copy;
    /// [`DotLanes::W`] with codes up to 255, made ready.
    type Wide: Copy;

    fn line(self, bytes: &[u8; 64]) -> Self::W;
    /// Each byte shifted right by `shift` in -7..8 (left where negative), and the bits of it that are in `keep`.
    fn part(self, w: Self::W, shift: i32, keep: u8) -> Self::W;
    fn join(self, a: Self::W, b: Self::W) -> Self::W;
    /// The entry of each code; codes are below 16.
    fn entry(self, table: &[u8; 16], codes: Self::W) -> Self::W;
    /// `x` in every row.
    fn int(self, x: i32) -> Self::I;
    /// Sums to go on from `sum`.
    fn begin(self, sum: Self::I) -> Self::P;
    /// Four unsigned codes times the four signed bytes of `x`, added to each row's sum. From `begin` to `end`, twice the
    /// largest code times 127 may be added up to 32767.
    fn dot(self, p: Self::P, codes: Self::W, x: u32) -> Self::P;
    /// What `begin` began with, and everything since.
    fn end(self, sum: Self::I, p: Self::P) -> Self::I;
    /// Codes whose zero is 128.
    fn wide(self, codes: Self::W) -> Self::Wide;
    /// Signed codes from `codes[8]` on, one for each of `bits` that is set and 0 for the others, made ready.
    fn expand(self, bits: u64, codes: &[u8; 72]) -> Self::Wide;
    /// Four codes, whose zero is [`DotLanes::WIDE_ZERO`], times four signed bytes above -128, added to each row's sum.
    fn dot_wide(self, sum: Self::I, codes: Self::Wide, x: u32) -> Self::I;
    /// The integers, which are within +-2^24, as values.
    fn float(self, a: Self::I) -> Self::F;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `a` times two to the power of `n`, where `t` is n + 1.5 * 2^23 and the result is a normal number.
    fn times_power(self, a: Self::F, t: Self::F) -> Self::F;
    /// The values of sixteen little-endian bfloat16 numbers.
    fn bf16_values(self, numbers: &[[u8; 2]; 16]) -> Self::F;
    /// The first and the second of each of sixteen pairs of bfloat16 numbers.
    fn bf16_pairs(self, pairs: &[u8; 64]) -> (Self::F, Self::F);
    /// `bytes` will be read soon; they may lie anywhere.
    fn prefetch(self, bytes: *const u8);
}

impl DotLanes for Scalar {
    const COLUMNS: usize = 1;
    const WIDE_ZERO: i32 = 128;
    type I = [i32; 16];
    type W = [u8; 64];
    type P = [i32; 16];
    type Wide = [u8; 64];

    #[inline(always)]
    fn line(self, bytes: &[u8; 64]) -> [u8; 64] {
        *bytes
    }
    #[inline(always)]
    fn part(self, w: [u8; 64], shift: i32, keep: u8) -> [u8; 64] {
        w.map(|b| if shift < 0 { b << -shift & keep } else { b >> shift & keep })
    }
    #[inline(always)]
    fn join(self, mut a: [u8; 64], b: [u8; 64]) -> [u8; 64] {
        for (a, b) in a.iter_mut().zip(b) {
            *a |= b;
        }
        a
    }
    #[inline(always)]
    fn entry(self, table: &[u8; 16], codes: [u8; 64]) -> [u8; 64] {
        codes.map(|code| table[usize::from(code & 15)])
    }
    #[inline(always)]
    fn int(self, x: i32) -> [i32; 16] {
        [x; 16]
    }
    #[inline(always)]
    fn begin(self, sum: [i32; 16]) -> [i32; 16] {
        sum
    }
    #[inline(always)]
    fn dot(self, mut p: [i32; 16], codes: [u8; 64], x: u32) -> [i32; 16] {
        let x = x.to_le_bytes();
        for (sum, codes) in p.iter_mut().zip(codes.as_chunks::<4>().0) {
            for i in 0..4 {
                *sum += i32::from(codes[i]) * i32::from(x[i] as i8);
            }
        }
        p
    }
    #[inline(always)]
    fn end(self, _: [i32; 16], p: [i32; 16]) -> [i32; 16] {
        p
    }
    #[inline(always)]
    fn wide(self, codes: [u8; 64]) -> [u8; 64] {
        codes
    }
    #[inline(always)]
    fn expand(self, bits: u64, codes: &[u8; 72]) -> [u8; 64] {
        let (mut out, mut next) = ([128; 64], 8);
        for (n, out) in out.iter_mut().enumerate() {
            if bits >> n & 1 == 1 {
                *out = codes[next] ^ 128;
                next += 1;
            }
        }
        out
    }
    #[inline(always)]
    fn dot_wide(self, sum: [i32; 16], codes: [u8; 64], x: u32) -> [i32; 16] {
        self.dot(sum, codes, x)
    }
    #[inline(always)]
    fn float(self, a: [i32; 16]) -> [f32; 16] {
        a.map(|x| x as f32)
    }
    #[inline(always)]
    fn fma(self, a: [f32; 16], b: [f32; 16], mut c: [f32; 16]) -> [f32; 16] {
        for i in 0..16 {
            c[i] = a[i].mul_add(b[i], c[i]);
        }
        c
    }
    #[inline(always)]
    fn times_power(self, mut a: [f32; 16], t: [f32; 16]) -> [f32; 16] {
        for i in 0..16 {
            a[i] = f32::from_bits(a[i].to_bits().wrapping_add(t[i].to_bits() << 23));
        }
        a
    }
    #[inline(always)]
    fn bf16_values(self, numbers: &[[u8; 2]; 16]) -> [f32; 16] {
        numbers.map(|bytes| f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16))
    }
    #[inline(always)]
    fn bf16_pairs(self, pairs: &[u8; 64]) -> ([f32; 16], [f32; 16]) {
        let (mut first, mut second) = ([0.0; 16], [0.0; 16]);
        for (i, pair) in pairs.as_chunks::<4>().0.iter().enumerate() {
            let word = u32::from_le_bytes(*pair);
            (first[i], second[i]) = (f32::from_bits(word << 16), f32::from_bits(word & 0xffff_0000));
        }
        (first, second)
    }
    #[inline(always)]
    fn prefetch(self, _: *const u8) {}
}
