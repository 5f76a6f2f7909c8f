//! [`DotLanes`] for AVX2 with FMA, AVX-512, and AVX-512 with VNNI.
//!
//! The tokens are made by dispatch after detection only; that is the SAFETY of every block here: the instructions exist.
#![allow(clippy::undocumented_unsafe_blocks)]

use super::bytes::inside;
use super::dots::DotLanes;
use super::x86::{Avx2, Avx512};
use core::arch::x86_64::*;

const WIDE_ZERO: i8 = i8::MIN;
/// The upper half of a word.
const UPPER: i32 = !0xffff;

/// For a byte of bits, which bytes of sixteen go to the eight places, where the set ones have theirs before the middle, or
/// from there on; what is above 127 makes a zero.
static PLACES: [[[u8; 8]; 256]; 2] = {
    let mut places = [[[0x80; 8]; 256]; 2];
    let mut n = 0;
    while n < 2 * 256 * 8 {
        let (above, byte, bit): (usize, usize, usize) = (n / 2048, n / 8 % 256, n % 8);
        let first = if above == 1 { 8 } else { 8 - byte.count_ones() };
        if byte >> bit & 1 == 1 {
            places[above][byte][bit] = (first + (byte & ((1 << bit) - 1)).count_ones()) as u8;
        }
        n += 1;
    }
    places
};

/// Where the sixteen codes of a quarter come from: see [`PLACES`].
#[inline(always)]
unsafe fn places(bits: u64) -> __m128i {
    let (below, above) = (bits as u8, (bits >> 8) as u8);
    unsafe {
        let places = _mm_castsi128_pd(_mm_loadl_epi64(PLACES[0][usize::from(below)].as_ptr().cast()));
        _mm_castpd_si128(_mm_loadh_pd(places, PLACES[1][usize::from(above)].as_ptr().cast()))
    }
}

/// The lower and the upper half of what [`DotLanes::expand`] gives, as signed codes.
#[inline(always)]
unsafe fn expand32s(bits: u64, codes: &[u8; 72]) -> (__m256i, __m256i) {
    unsafe {
        // Sixteen bytes around the middle of each quarter, which is not beyond 56, and eight before it.
        let a = _mm_loadu_si128(codes.as_ptr().add((bits as u8).count_ones() as usize).cast());
        let b = _mm_loadu_si128(codes.as_ptr().add((bits << 40).count_ones() as usize).cast());
        let c = _mm_loadu_si128(codes.as_ptr().add((bits << 24).count_ones() as usize).cast());
        let d = _mm_loadu_si128(codes.as_ptr().add((bits << 8).count_ones() as usize).cast());
        let low = _mm256_set_m128i(places(bits >> 16), places(bits));
        let high = _mm256_set_m128i(places(bits >> 48), places(bits >> 32));
        (_mm256_shuffle_epi8(_mm256_set_m128i(b, a), low), _mm256_shuffle_epi8(_mm256_set_m128i(d, c), high))
    }
}

#[inline(always)]
unsafe fn join32(halves: (__m256i, __m256i)) -> __m512i {
    unsafe { _mm512_inserti64x4::<1>(_mm512_castsi256_si512(halves.0), halves.1) }
}

/// The first bytes of `codes` where `bits` are set, and 0 elsewhere.
///
/// # Safety
/// The CPU has AVX-512 VBMI2.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn expand64(bits: u64, codes: __m512i) -> __m512i {
    // As text, because the levels do not ask for VBMI2, which not every CPU with VNNI has.
    unsafe {
        let out;
        core::arch::asm!(
            "vpexpandb {out}{{{bits}}}{{z}}, {codes}",
            out = lateout(zmm_reg) out, bits = in(kreg) bits, codes = in(zmm_reg) codes,
            options(pure, nomem, nostack, preserves_flags)
        );
        out
    }
}

impl DotLanes for Avx2 {
    const COLUMNS: usize = 6;
    const WIDE_ZERO: i32 = 0;
    type I = (__m256i, __m256i);
    type W = (__m256i, __m256i);
    /// Thirty-two 16-bit sums, two a row.
    type P = (__m256i, __m256i);
    /// Magnitudes, and what has their signs.
    type Wide = [(__m256i, __m256i); 2];

    #[inline(always)]
    fn line(self, bytes: &[u8; 64]) -> Self::W {
        let halves = bytes.as_chunks::<32>().0;
        unsafe { (_mm256_loadu_si256(halves[0].as_ptr().cast()), _mm256_loadu_si256(halves[1].as_ptr().cast())) }
    }
    #[inline(always)]
    fn part(self, w: Self::W, shift: i32, keep: u8) -> Self::W {
        unsafe {
            let (count, keep) = (_mm_cvtsi32_si128(shift.abs()), _mm256_set1_epi8((keep & inside(shift)) as i8));
            let moved = if shift < 0 {
                (_mm256_sll_epi16(w.0, count), _mm256_sll_epi16(w.1, count))
            } else {
                (_mm256_srl_epi16(w.0, count), _mm256_srl_epi16(w.1, count))
            };
            (_mm256_and_si256(moved.0, keep), _mm256_and_si256(moved.1, keep))
        }
    }
    #[inline(always)]
    fn join(self, a: Self::W, b: Self::W) -> Self::W {
        unsafe { (_mm256_or_si256(a.0, b.0), _mm256_or_si256(a.1, b.1)) }
    }
    #[inline(always)]
    fn entry(self, table: &[u8; 16], codes: Self::W) -> Self::W {
        unsafe {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            (_mm256_shuffle_epi8(table, codes.0), _mm256_shuffle_epi8(table, codes.1))
        }
    }
    #[inline(always)]
    fn int(self, x: i32) -> Self::I {
        let x = unsafe { _mm256_set1_epi32(x) };
        (x, x)
    }
    #[inline(always)]
    fn begin(self, _: Self::I) -> Self::P {
        self.int(0)
    }
    #[inline(always)]
    fn dot(self, p: Self::P, codes: Self::W, x: u32) -> Self::P {
        unsafe {
            let x = _mm256_set1_epi32(x as i32);
            (
                _mm256_add_epi16(p.0, _mm256_maddubs_epi16(codes.0, x)),
                _mm256_add_epi16(p.1, _mm256_maddubs_epi16(codes.1, x)),
            )
        }
    }
    #[inline(always)]
    fn end(self, sum: Self::I, p: Self::P) -> Self::I {
        unsafe {
            let ones = _mm256_set1_epi16(1);
            (
                _mm256_add_epi32(sum.0, _mm256_madd_epi16(p.0, ones)),
                _mm256_add_epi32(sum.1, _mm256_madd_epi16(p.1, ones)),
            )
        }
    }
    #[inline(always)]
    fn wide(self, codes: Self::W) -> Self::Wide {
        unsafe {
            let zero = _mm256_set1_epi8(WIDE_ZERO);
            let signed = (_mm256_xor_si256(codes.0, zero), _mm256_xor_si256(codes.1, zero));
            [(_mm256_abs_epi8(signed.0), signed.0), (_mm256_abs_epi8(signed.1), signed.1)]
        }
    }
    #[inline(always)]
    fn expand(self, bits: u64, codes: &[u8; 72]) -> Self::Wide {
        unsafe {
            let (low, high) = expand32s(bits, codes);
            [(_mm256_abs_epi8(low), low), (_mm256_abs_epi8(high), high)]
        }
    }
    #[inline(always)]
    fn dot_wide(self, sum: Self::I, codes: Self::Wide, x: u32) -> Self::I {
        unsafe {
            // |c| * (x with the sign of c): a pair adds up to 2 * 128 * 127 at most, within 16 bits.
            let (x, ones) = (_mm256_set1_epi32(x as i32), _mm256_set1_epi16(1));
            let [a, b] = codes;
            let low = _mm256_madd_epi16(_mm256_maddubs_epi16(a.0, _mm256_sign_epi8(x, a.1)), ones);
            let high = _mm256_madd_epi16(_mm256_maddubs_epi16(b.0, _mm256_sign_epi8(x, b.1)), ones);
            (_mm256_add_epi32(sum.0, low), _mm256_add_epi32(sum.1, high))
        }
    }
    #[inline(always)]
    fn float(self, a: Self::I) -> Self::F {
        unsafe { (_mm256_cvtepi32_ps(a.0), _mm256_cvtepi32_ps(a.1)) }
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        unsafe { (_mm256_fmadd_ps(a.0, b.0, c.0), _mm256_fmadd_ps(a.1, b.1, c.1)) }
    }
    #[inline(always)]
    fn times_power(self, a: Self::F, t: Self::F) -> Self::F {
        unsafe {
            let low = _mm256_slli_epi32::<23>(_mm256_castps_si256(t.0));
            let high = _mm256_slli_epi32::<23>(_mm256_castps_si256(t.1));
            (
                _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a.0), low)),
                _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a.1), high)),
            )
        }
    }
    #[inline(always)]
    fn bf16_values(self, numbers: &[[u8; 2]; 16]) -> Self::F {
        let halves = numbers.as_chunks::<8>().0;
        unsafe {
            let low = _mm256_cvtepu16_epi32(_mm_loadu_si128(halves[0].as_ptr().cast()));
            let high = _mm256_cvtepu16_epi32(_mm_loadu_si128(halves[1].as_ptr().cast()));
            (_mm256_castsi256_ps(_mm256_slli_epi32::<16>(low)), _mm256_castsi256_ps(_mm256_slli_epi32::<16>(high)))
        }
    }
    #[inline(always)]
    fn bf16_pairs(self, pairs: &[u8; 64]) -> (Self::F, Self::F) {
        let (low, high) = self.line(pairs);
        unsafe {
            let upper = _mm256_set1_epi32(UPPER);
            let first = (_mm256_slli_epi32::<16>(low), _mm256_slli_epi32::<16>(high));
            let second = (_mm256_and_si256(low, upper), _mm256_and_si256(high, upper));
            (
                (_mm256_castsi256_ps(first.0), _mm256_castsi256_ps(first.1)),
                (_mm256_castsi256_ps(second.0), _mm256_castsi256_ps(second.1)),
            )
        }
    }
    #[inline(always)]
    fn prefetch(self, bytes: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.cast()) }
    }
}

/// What AVX-512 does alike with and without VNNI.
macro_rules! lines {
    () => {
        type I = __m512i;
        type W = __m512i;
        type P = __m512i;

        #[inline(always)]
        fn line(self, bytes: &[u8; 64]) -> __m512i {
            unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
        }
        #[inline(always)]
        fn part(self, w: __m512i, shift: i32, keep: u8) -> __m512i {
            unsafe {
                let count = _mm_cvtsi32_si128(shift.abs());
                let moved = if shift < 0 { _mm512_sll_epi16(w, count) } else { _mm512_srl_epi16(w, count) };
                _mm512_and_si512(moved, _mm512_set1_epi8((keep & inside(shift)) as i8))
            }
        }
        #[inline(always)]
        fn join(self, a: __m512i, b: __m512i) -> __m512i {
            unsafe { _mm512_or_si512(a, b) }
        }
        #[inline(always)]
        fn entry(self, table: &[u8; 16], codes: __m512i) -> __m512i {
            unsafe {
                let table = _mm_loadu_si128(table.as_ptr().cast());
                _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), codes)
            }
        }
        #[inline(always)]
        fn int(self, x: i32) -> __m512i {
            unsafe { _mm512_set1_epi32(x) }
        }
        #[inline(always)]
        fn float(self, a: __m512i) -> __m512 {
            unsafe { _mm512_cvtepi32_ps(a) }
        }
        #[inline(always)]
        fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        fn times_power(self, a: __m512, t: __m512) -> __m512 {
            unsafe {
                let power = _mm512_slli_epi32::<23>(_mm512_castps_si512(t));
                _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), power))
            }
        }
        #[inline(always)]
        fn bf16_values(self, numbers: &[[u8; 2]; 16]) -> __m512 {
            unsafe {
                let words = _mm512_cvtepu16_epi32(_mm256_loadu_si256(numbers.as_ptr().cast()));
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(words))
            }
        }
        #[inline(always)]
        fn bf16_pairs(self, pairs: &[u8; 64]) -> (__m512, __m512) {
            let pairs = self.line(pairs);
            unsafe {
                let second = _mm512_and_si512(pairs, _mm512_set1_epi32(UPPER));
                (_mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs)), _mm512_castsi512_ps(second))
            }
        }
        #[inline(always)]
        fn prefetch(self, bytes: *const u8) {
            unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.cast()) }
        }
    };
}

impl DotLanes for Avx512<false> {
    const COLUMNS: usize = 6;
    const PAIRS: bool = true;
    const WIDE_ZERO: i32 = 0;
    /// The codes, less 128, as sixteen-bit numbers: those of the first and third, and of the second and fourth byte.
    type Wide = (__m512i, __m512i);
    lines!();

    #[inline(always)]
    fn begin(self, _: __m512i) -> __m512i {
        self.int(0)
    }
    #[inline(always)]
    fn dot(self, p: __m512i, codes: __m512i, x: u32) -> __m512i {
        unsafe { _mm512_add_epi16(p, _mm512_maddubs_epi16(codes, self.int(x as i32))) }
    }
    #[inline(always)]
    fn end(self, sum: __m512i, p: __m512i) -> __m512i {
        unsafe { _mm512_add_epi32(sum, _mm512_madd_epi16(p, _mm512_set1_epi16(1))) }
    }
    #[inline(always)]
    fn wide(self, codes: __m512i) -> Self::Wide {
        unsafe {
            let signed = _mm512_xor_si512(codes, _mm512_set1_epi8(WIDE_ZERO));
            (_mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(signed)), _mm512_srai_epi16::<8>(signed))
        }
    }
    #[inline(always)]
    fn expand(self, bits: u64, codes: &[u8; 72]) -> Self::Wide {
        unsafe { self.wide(_mm512_xor_si512(join32(expand32s(bits, codes)), _mm512_set1_epi8(WIDE_ZERO))) }
    }
    #[inline(always)]
    fn dot_wide(self, sum: __m512i, codes: Self::Wide, x: u32) -> __m512i {
        unsafe {
            let x = self.int(x as i32);
            let (even, odd) = (_mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(x)), _mm512_srai_epi16::<8>(x));
            let sum = _mm512_add_epi32(sum, _mm512_madd_epi16(codes.0, even));
            _mm512_add_epi32(sum, _mm512_madd_epi16(codes.1, odd))
        }
    }
}

impl DotLanes for Avx512<true> {
    const COLUMNS: usize = 6;
    const PAIRS: bool = true;
    const WIDE_ZERO: i32 = 128;
    type Wide = __m512i;
    lines!();

    #[inline(always)]
    fn begin(self, sum: __m512i) -> __m512i {
        sum
    }
    #[inline(always)]
    fn dot(self, p: __m512i, codes: __m512i, x: u32) -> __m512i {
        unsafe { _mm512_dpbusd_epi32(p, codes, self.int(x as i32)) }
    }
    #[inline(always)]
    fn end(self, _: __m512i, p: __m512i) -> __m512i {
        p
    }
    #[inline(always)]
    fn wide(self, codes: __m512i) -> __m512i {
        codes
    }
    #[inline(always)]
    fn expand(self, bits: u64, codes: &[u8; 72]) -> __m512i {
        unsafe {
            let zero = _mm512_set1_epi8(WIDE_ZERO);
            let signed = if is_x86_feature_detected!("avx512vbmi2") {
                expand64(bits, _mm512_loadu_si512(codes[8..].as_ptr().cast()))
            } else {
                join32(expand32s(bits, codes))
            };
            _mm512_xor_si512(signed, zero)
        }
    }
    #[inline(always)]
    fn dot_wide(self, sum: __m512i, codes: __m512i, x: u32) -> __m512i {
        self.dot(sum, codes, x)
    }
}
