//! [`Lanes`] for AVX2 and AVX-512.
//!
//! The tokens are made by dispatch after detection only; that is the SAFETY of every block here: the instructions exist.
#![allow(clippy::undocumented_unsafe_blocks)]

use super::lanes::Lanes;
use core::arch::x86_64::*;

/// AVX2, FMA and F16C: two registers of eight lanes.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

/// AVX-512 F, BW, DQ and VL; and VNNI.
#[derive(Clone, Copy)]
pub(crate) struct Avx512<const VNNI: bool = false>(());

impl Avx2 {
    /// # Safety
    /// The CPU has AVX2, FMA and F16C.
    #[inline(always)]
    pub(crate) unsafe fn assume() -> Avx2 {
        Avx2(())
    }
}

impl<const VNNI: bool> Avx512<VNNI> {
    /// # Safety
    /// The CPU has AVX2, FMA, F16C and AVX-512 F, BW, DQ and VL, and VNNI where that is claimed.
    #[inline(always)]
    pub(crate) unsafe fn assume() -> Self {
        Avx512(())
    }
}

/// `_mm_*` folds of four lanes: 2 and 1 apart.
macro_rules! fold4 {
    ($v:expr, $ps:ident, $ss:ident) => {{
        let v = $v;
        let pairs = $ps(v, _mm_movehl_ps(v, v));
        _mm_cvtss_f32($ss(pairs, _mm_shuffle_ps::<1>(pairs, pairs)))
    }};
}

/// Folds of eight lanes, then four.
macro_rules! fold8 {
    ($v:expr, $ps:ident, $ss:ident) => {{
        let v = $v;
        fold4!($ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v)), $ps, $ss)
    }};
}

const SIGN: i32 = i32::MIN;

#[inline(always)]
unsafe fn half_bits(x: f32) -> u16 {
    unsafe { _mm_extract_epi16::<0>(_mm_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm_set_ss(x))) as u16 }
}

#[inline(always)]
unsafe fn half_value(bits: u16) -> f32 {
    unsafe { _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits.into()))) }
}

/// Rows to columns, eight by eight: pairs, then fours, then halves of registers change places.
#[inline(always)]
unsafe fn transpose8(r: [__m256; 8]) -> [__m256; 8] {
    let mut pairs = r;
    for i in [0, 2, 4, 6] {
        pairs[i] = unsafe { _mm256_unpacklo_ps(r[i], r[i + 1]) };
        pairs[i + 1] = unsafe { _mm256_unpackhi_ps(r[i], r[i + 1]) };
    }
    let mut fours = r;
    for i in [0, 4] {
        for k in 0..2 {
            let (a, b) = (pairs[i + k], pairs[i + 2 + k]);
            fours[i + 2 * k] = unsafe { _mm256_shuffle_ps::<0x44>(a, b) };
            fours[i + 2 * k + 1] = unsafe { _mm256_shuffle_ps::<0xee>(a, b) };
        }
    }
    let mut out = r;
    for i in 0..4 {
        out[i] = unsafe { _mm256_permute2f128_ps::<0x20>(fours[i], fours[i + 4]) };
        out[i + 4] = unsafe { _mm256_permute2f128_ps::<0x31>(fours[i], fours[i + 4]) };
    }
    out
}

/// Rows to columns, sixteen by sixteen: pairs, fours, then quarters of registers change places in two steps.
#[inline(always)]
unsafe fn transpose16(r: [__m512; 16]) -> [__m512; 16] {
    let mut pairs = r;
    for i in [0, 2, 4, 6, 8, 10, 12, 14] {
        pairs[i] = unsafe { _mm512_unpacklo_ps(r[i], r[i + 1]) };
        pairs[i + 1] = unsafe { _mm512_unpackhi_ps(r[i], r[i + 1]) };
    }
    // Quarter q of register 4 h + c: column 4 q + c of rows 4 h to 4 h + 3.
    let mut fours = r;
    for i in [0, 4, 8, 12] {
        for k in 0..2 {
            let (a, b) = (pairs[i + k], pairs[i + 2 + k]);
            fours[i + 2 * k] = unsafe { _mm512_shuffle_ps::<0x44>(a, b) };
            fours[i + 2 * k + 1] = unsafe { _mm512_shuffle_ps::<0xee>(a, b) };
        }
    }
    let mut out = r;
    for c in 0..4 {
        let (a, b, d, e) = (fours[c], fours[4 + c], fours[8 + c], fours[12 + c]);
        unsafe {
            let (low, high) = (_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
            let (low2, high2) = (_mm512_shuffle_f32x4::<0x44>(d, e), _mm512_shuffle_f32x4::<0xee>(d, e));
            out[c] = _mm512_shuffle_f32x4::<0x88>(low, low2);
            out[4 + c] = _mm512_shuffle_f32x4::<0xdd>(low, low2);
            out[8 + c] = _mm512_shuffle_f32x4::<0x88>(high, high2);
            out[12 + c] = _mm512_shuffle_f32x4::<0xdd>(high, high2);
        }
    }
    out
}

/// Eight lanes of a table of sixteen: both halves are looked up, bit 3 of the index picks one.
#[inline(always)]
unsafe fn pick16(table: (__m256, __m256), index: __m256) -> __m256 {
    unsafe {
        let index = _mm256_castps_si256(index);
        let low = _mm256_permutevar8x32_ps(table.0, index);
        let high = _mm256_permutevar8x32_ps(table.1, index);
        _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32::<28>(index)))
    }
}

/// Sixteen bytes, widened by `$op` straight from memory: from a register it takes twice the work.
macro_rules! widen {
    ($bytes:expr, $op:ident) => {{
        let (low, high) = $bytes.as_slice().split_at(8);
        let low = _mm256_cvtepi32_ps($op(_mm_loadl_epi64(low.as_ptr().cast())));
        (low, _mm256_cvtepi32_ps($op(_mm_loadl_epi64(high.as_ptr().cast()))))
    }};
}

/// Four bytes from `AT` on of both halves, less `zero`, as values; see `bytes_x86` for their order.
#[inline(always)]
unsafe fn eight_values<const AT: i32>(bytes: __m256i, zero: u8) -> __m256 {
    const NONE: i32 = 0x8080_8000_u32 as i32;
    const TWO_TO_23: f32 = 8_388_608.0;
    unsafe {
        let each = _mm_setr_epi32(NONE | AT, NONE | (AT + 1), NONE | (AT + 2), NONE | (AT + 3));
        let codes = _mm256_shuffle_epi8(bytes, _mm256_broadcastsi128_si256(each));
        if zero == 0 {
            return _mm256_cvtepi32_ps(codes);
        }
        // As the last bits of 2^23 they are values already.
        let large = _mm256_or_si256(codes, _mm256_set1_epi32(TWO_TO_23.to_bits() as i32));
        _mm256_sub_ps(_mm256_castsi256_ps(large), _mm256_set1_ps(TWO_TO_23 + f32::from(zero)))
    }
}

macro_rules! two {
    ($name:ident, $op:ident) => {
        #[inline(always)]
        fn $name(self, a: Self::F, b: Self::F) -> Self::F {
            unsafe { ($op(a.0, b.0), $op(a.1, b.1)) }
        }
    };
}

impl Lanes for Avx2 {
    const WIDE: bool = false;
    const UNWEIGHED: bool = true;
    type F = (__m256, __m256);

    two!(add, _mm256_add_ps);
    two!(sub, _mm256_sub_ps);
    two!(mul, _mm256_mul_ps);
    two!(div, _mm256_div_ps);
    two!(max, _mm256_max_ps);
    two!(min, _mm256_min_ps);

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        unsafe { (_mm256_set1_ps(x), _mm256_set1_ps(x)) }
    }
    #[inline(always)]
    fn load(self, x: &[f32; 16]) -> Self::F {
        unsafe { (_mm256_loadu_ps(x.as_ptr()), _mm256_loadu_ps(x.as_ptr().add(8))) }
    }
    #[inline(always)]
    fn store(self, v: Self::F, out: &mut [f32; 16]) {
        unsafe {
            _mm256_storeu_ps(out.as_mut_ptr(), v.0);
            _mm256_storeu_ps(out.as_mut_ptr().add(8), v.1);
        }
    }
    #[inline(always)]
    fn abs(self, a: Self::F) -> Self::F {
        unsafe {
            let sign = _mm256_castsi256_ps(_mm256_set1_epi32(SIGN));
            (_mm256_andnot_ps(sign, a.0), _mm256_andnot_ps(sign, a.1))
        }
    }
    #[inline(always)]
    fn copysign(self, a: Self::F, b: Self::F) -> Self::F {
        unsafe {
            let sign = _mm256_castsi256_ps(_mm256_set1_epi32(SIGN));
            let low = _mm256_or_ps(_mm256_andnot_ps(sign, a.0), _mm256_and_ps(sign, b.0));
            (low, _mm256_or_ps(_mm256_andnot_ps(sign, a.1), _mm256_and_ps(sign, b.1)))
        }
    }
    #[inline(always)]
    fn any_non_finite(self, a: Self::F) -> bool {
        unsafe {
            let a = self.abs(a);
            let limit = _mm256_set1_ps(f32::INFINITY);
            let low = _mm256_cmp_ps::<_CMP_NLT_UQ>(a.0, limit);
            let high = _mm256_cmp_ps::<_CMP_NLT_UQ>(a.1, limit);
            _mm256_movemask_ps(_mm256_or_ps(low, high)) != 0
        }
    }
    #[inline(always)]
    fn codes(self, a: Self::F) -> ([u8; 16], Self::F) {
        unsafe {
            let byte = _mm256_set1_epi32(255);
            let (low, high) = (_mm256_cvttps_epi32(a.0), _mm256_cvttps_epi32(a.1));
            let values = (_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high));
            let (low, high) = (_mm256_and_si256(low, byte), _mm256_and_si256(high, byte));
            // Packing works within halves of a register: quarters 0, 2, 1, 3 come out and are put in order.
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(low, high));
            let bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            let mut out = [0; 16];
            _mm_storeu_si128(out.as_mut_ptr().cast(), bytes);
            (out, values)
        }
    }
    #[inline(always)]
    fn widen_u8(self, bytes: &[u8; 16]) -> Self::F {
        unsafe { widen!(bytes, _mm256_cvtepu8_epi32) }
    }
    #[inline(always)]
    fn widen_i8(self, bytes: &[u8; 16]) -> Self::F {
        unsafe { widen!(bytes, _mm256_cvtepi8_epi32) }
    }
    #[inline(always)]
    fn fold_max(self, a: Self::F) -> f32 {
        unsafe { fold8!(_mm256_max_ps(a.0, a.1), _mm_max_ps, _mm_max_ss) }
    }
    #[inline(always)]
    fn fold_min(self, a: Self::F) -> f32 {
        unsafe { fold8!(_mm256_min_ps(a.0, a.1), _mm_min_ps, _mm_min_ss) }
    }
    #[inline(always)]
    fn fold_sum(self, a: Self::F) -> f32 {
        unsafe { fold8!(_mm256_add_ps(a.0, a.1), _mm_add_ps, _mm_add_ss) }
    }
    #[inline(always)]
    fn select_less(self, a: Self::F, b: Self::F, x: Self::F, y: Self::F) -> Self::F {
        unsafe {
            let low = _mm256_blendv_ps(y.0, x.0, _mm256_cmp_ps::<_CMP_LT_OQ>(a.0, b.0));
            (low, _mm256_blendv_ps(y.1, x.1, _mm256_cmp_ps::<_CMP_LT_OQ>(a.1, b.1)))
        }
    }
    #[inline(always)]
    fn transpose(self, src: &[f32], stride: usize, out: &mut [[f32; 16]; 16]) {
        assert!(src.len() >= 15 * stride + 16);
        // Four squares of eight by eight.
        for (top, left) in [(0, 0), (0, 8), (8, 0), (8, 8)] {
            let mut rows = [self.splat(0.0).0; 8];
            for (i, row) in rows.iter_mut().enumerate() {
                let at = (top + i) * stride + left;
                *row = unsafe { _mm256_loadu_ps(src.as_ptr().add(at)) };
            }
            for (column, v) in out[left..left + 8].iter_mut().zip(unsafe { transpose8(rows) }) {
                unsafe { _mm256_storeu_ps(column.as_mut_ptr().add(top), v) };
            }
        }
    }
    #[inline(always)]
    fn pick(self, table: &[f32; 16], index: Self::F) -> Self::F {
        let table = self.load(table);
        unsafe { (pick16(table, index.0), pick16(table, index.1)) }
    }
    #[inline(always)]
    fn halves(self, a: Self::F) -> [u16; 16] {
        let mut out = [0; 16];
        unsafe {
            _mm_storeu_si128(out.as_mut_ptr().cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(a.0));
            _mm_storeu_si128(out.as_mut_ptr().add(8).cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(a.1));
        }
        out
    }
    #[inline(always)]
    fn widen_halves(self, bits: &[u16; 16]) -> Self::F {
        unsafe {
            let low = _mm256_cvtph_ps(_mm_loadu_si128(bits.as_ptr().cast()));
            (low, _mm256_cvtph_ps(_mm_loadu_si128(bits.as_ptr().add(8).cast())))
        }
    }
    #[inline(always)]
    fn half_bits(self, x: f32) -> u16 {
        unsafe { half_bits(x) }
    }
    #[inline(always)]
    fn half_value(self, bits: u16) -> f32 {
        unsafe { half_value(bits) }
    }
    #[inline(always)]
    fn splat_half(self, bits: u16) -> Self::F {
        unsafe {
            // All lanes are converted: a single half is inserted into a register, and waits for that one's last use.
            let value = _mm256_cvtph_ps(_mm_set1_epi16(bits as i16));
            (value, value)
        }
    }
    #[inline(always)]
    fn half_values(self, halves: &[[u8; 2]; 16]) -> Self::F {
        unsafe {
            let (low, high) = (halves.as_ptr().cast(), halves.as_ptr().add(8).cast());
            (_mm256_cvtph_ps(_mm_loadu_si128(low)), _mm256_cvtph_ps(_mm_loadu_si128(high)))
        }
    }
    #[inline(always)]
    fn values(self, bytes: __m256i, zero: u8) -> (Self::F, Self::F) {
        unsafe {
            (
                (eight_values::<0>(bytes, zero), eight_values::<4>(bytes, zero)),
                (eight_values::<8>(bytes, zero), eight_values::<12>(bytes, zero)),
            )
        }
    }
}

macro_rules! one {
    ($name:ident, $op:ident) => {
        #[inline(always)]
        fn $name(self, a: __m512, b: __m512) -> __m512 {
            unsafe { $op(a, b) }
        }
    };
}

/// Halves of a register.
macro_rules! halves {
    ($v:expr, $op:ident) => {{
        let v = $v;
        $op(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v))
    }};
}

impl<const VNNI: bool> Lanes for Avx512<VNNI> {
    const WIDE: bool = true;
    const UNWEIGHED: bool = true;
    type F = __m512;

    one!(add, _mm512_add_ps);
    one!(sub, _mm512_sub_ps);
    one!(mul, _mm512_mul_ps);
    one!(div, _mm512_div_ps);
    one!(max, _mm512_max_ps);
    one!(min, _mm512_min_ps);

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    fn load(self, x: &[f32; 16]) -> __m512 {
        unsafe { _mm512_loadu_ps(x.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, v: __m512, out: &mut [f32; 16]) {
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn abs(self, a: __m512) -> __m512 {
        unsafe { _mm512_abs_ps(a) }
    }
    #[inline(always)]
    fn copysign(self, a: __m512, b: __m512) -> __m512 {
        unsafe {
            let sign = _mm512_castsi512_ps(_mm512_set1_epi32(SIGN));
            _mm512_or_ps(_mm512_andnot_ps(sign, a), _mm512_and_ps(sign, b))
        }
    }
    #[inline(always)]
    fn any_non_finite(self, a: __m512) -> bool {
        // Quiet and signalling NaN, and both infinities.
        unsafe { _mm512_fpclass_ps_mask::<0x99>(a) != 0 }
    }
    #[inline(always)]
    fn codes(self, a: __m512) -> ([u8; 16], __m512) {
        unsafe {
            let codes = _mm512_cvttps_epi32(a);
            let mut out = [0; 16];
            _mm_storeu_si128(out.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(codes));
            (out, _mm512_cvtepi32_ps(codes))
        }
    }
    #[inline(always)]
    fn widen_u8(self, bytes: &[u8; 16]) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(bytes.as_ptr().cast()))) }
    }
    #[inline(always)]
    fn widen_i8(self, bytes: &[u8; 16]) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(bytes.as_ptr().cast()))) }
    }
    #[inline(always)]
    fn fold_max(self, a: __m512) -> f32 {
        unsafe { fold8!(halves!(a, _mm256_max_ps), _mm_max_ps, _mm_max_ss) }
    }
    #[inline(always)]
    fn fold_min(self, a: __m512) -> f32 {
        unsafe { fold8!(halves!(a, _mm256_min_ps), _mm_min_ps, _mm_min_ss) }
    }
    #[inline(always)]
    fn fold_sum(self, a: __m512) -> f32 {
        unsafe { fold8!(halves!(a, _mm256_add_ps), _mm_add_ps, _mm_add_ss) }
    }
    #[inline(always)]
    fn select_less(self, a: __m512, b: __m512, x: __m512, y: __m512) -> __m512 {
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), y, x) }
    }
    #[inline(always)]
    fn transpose(self, src: &[f32], stride: usize, out: &mut [[f32; 16]; 16]) {
        assert!(src.len() >= 15 * stride + 16);
        let mut rows = [self.splat(0.0); 16];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = unsafe { _mm512_loadu_ps(src.as_ptr().add(i * stride)) };
        }
        for (column, v) in out.iter_mut().zip(unsafe { transpose16(rows) }) {
            self.store(v, column);
        }
    }
    #[inline(always)]
    fn pick(self, table: &[f32; 16], index: __m512) -> __m512 {
        unsafe { _mm512_permutexvar_ps(_mm512_castps_si512(index), self.load(table)) }
    }
    #[inline(always)]
    fn halves(self, a: __m512) -> [u16; 16] {
        let mut out = [0; 16];
        let halves = unsafe { _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(a) };
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), halves) };
        out
    }
    #[inline(always)]
    fn widen_halves(self, bits: &[u16; 16]) -> __m512 {
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(bits.as_ptr().cast())) }
    }
    #[inline(always)]
    fn half_bits(self, x: f32) -> u16 {
        unsafe { half_bits(x) }
    }
    #[inline(always)]
    fn half_value(self, bits: u16) -> f32 {
        unsafe { half_value(bits) }
    }
    #[inline(always)]
    fn splat_half(self, bits: u16) -> __m512 {
        unsafe { _mm512_cvtph_ps(_mm256_set1_epi16(bits as i16)) }
    }
    #[inline(always)]
    fn half_values(self, halves: &[[u8; 2]; 16]) -> __m512 {
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(halves.as_ptr().cast())) }
    }
    #[inline(always)]
    fn values(self, bytes: __m256i, zero: u8) -> (__m512, __m512) {
        unsafe {
            let codes = _mm256_sub_epi8(bytes, _mm256_set1_epi8(zero as i8));
            let (low, high) = (_mm256_castsi256_si128(codes), _mm256_extracti128_si256::<1>(codes));
            (_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(low)), _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(high)))
        }
    }
}
