//! [`ByteLanes`] for AVX2 and AVX-512: one 32-byte register at both.
//!
//! AVX2 shuffles within halves of a register only. There the lower half holds the bytes 0 to 3, 8 to 11 and so on, the
//! upper half the others, so that [`super::Lanes::values`] finds eight successive bytes at the same place of both halves.
//!
//! The tokens are made by dispatch after detection only; that is the SAFETY of every block here: the instructions exist.
#![allow(clippy::undocumented_unsafe_blocks)]

use super::bytes::{ByteLanes, inside};
use super::x86::{Avx2, Avx512};
use core::arch::x86_64::*;

/// What both sets do alike.
macro_rules! byte_lanes {
    () => {
        type B = __m256i;

        #[inline(always)]
        fn field(self, a: __m256i, shift: i32, keep: u8) -> __m256i {
            unsafe {
                // Shifts are of 16 bits at a time: what crosses from the other byte is masked away.
                let count = _mm_cvtsi32_si128(shift.abs());
                let moved = if shift < 0 { _mm256_sll_epi16(a, count) } else { _mm256_srl_epi16(a, count) };
                _mm256_and_si256(moved, _mm256_set1_epi8((keep & inside(shift)) as i8))
            }
        }
        #[inline(always)]
        fn or(self, a: __m256i, b: __m256i) -> __m256i {
            unsafe { _mm256_or_si256(a, b) }
        }
        #[inline(always)]
        fn lookup(self, table: &[u8; 16], codes: __m256i) -> __m256i {
            unsafe {
                let table = _mm_loadu_si128(table.as_ptr().cast());
                _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), codes)
            }
        }
    };
}

impl ByteLanes for Avx2 {
    byte_lanes!();

    #[inline(always)]
    fn bytes(self, x: &[u8; 32]) -> __m256i {
        unsafe {
            let order = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
            _mm256_permutevar8x32_epi32(_mm256_loadu_si256(x.as_ptr().cast()), order)
        }
    }
    #[inline(always)]
    fn nibbles(self, x: &[u8; 16]) -> __m256i {
        unsafe {
            let twice = _mm256_broadcastsi128_si256(_mm_loadu_si128(x.as_ptr().cast()));
            let (a, b) = (0x0b0a_0908_0302_0100, 0x0f0e_0d0c_0706_0504);
            let ordered = _mm256_shuffle_epi8(twice, _mm256_setr_epi64x(a, a, b, b));
            let halves = _mm256_srlv_epi64(ordered, _mm256_setr_epi64x(0, 4, 0, 4));
            _mm256_and_si256(halves, _mm256_set1_epi8(15))
        }
    }
    #[inline(always)]
    fn mask(self, bits: u32) -> __m256i {
        unsafe {
            // Each byte of the four to eight places, then one bit of it in each place.
            let (a, b) = (0x0101_0101_0000_0000, 0x0303_0303_0202_0202);
            let places = _mm256_setr_epi64x(a, b, a, b);
            let bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(bits as i32), places);
            let (low, high) = (0x0804_0201_0804_0201, 0x8040_2010_8040_2010_u64 as i64);
            let bit = _mm256_setr_epi64x(low, low, high, high);
            _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit)
        }
    }
}

impl<const VNNI: bool> ByteLanes for Avx512<VNNI> {
    byte_lanes!();

    #[inline(always)]
    fn bytes(self, x: &[u8; 32]) -> __m256i {
        unsafe { _mm256_loadu_si256(x.as_ptr().cast()) }
    }
    #[inline(always)]
    fn nibbles(self, x: &[u8; 16]) -> __m256i {
        unsafe {
            let x = _mm_loadu_si128(x.as_ptr().cast());
            _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16::<4>(x), x), _mm256_set1_epi8(15))
        }
    }
    #[inline(always)]
    fn mask(self, bits: u32) -> __m256i {
        unsafe { _mm256_movm_epi8(bits) }
    }
}
