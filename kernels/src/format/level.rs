//! One copy of each coder per instruction set, picked by [`Level`].
//!
//! The bodies are plain Rust, so the compiler vectorises them for each set; none is compiled with `fma`, and Rust
//! never contracts or reorders float operations, so all copies give the same bits.

use super::{BadValue, Coding, Fit, NonFinite};
use crate::simd::{Isa, Level};

pub(super) fn encode<F: Coding>(
    level: Level,
    src: &[f32],
    non_finite: NonFinite,
    dst: &mut [u8],
) -> Result<Fit, BadValue> {
    debug_assert_eq!(src.len() / F::BLOCK * F::BYTES, dst.len());
    match level.0 {
        Isa::Scalar => F::encode(src, non_finite, dst),
        // SAFETY: a `Level` with this set exists only after the CPU was seen to have it.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { x86::encode_avx2::<F>(src, non_finite, dst) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { x86::encode_avx512::<F>(src, non_finite, dst) },
    }
}

pub(super) fn decode<F: Coding>(level: Level, src: &[u8], dst: &mut [f32]) {
    debug_assert_eq!(src.len() / F::BYTES * F::BLOCK, dst.len());
    match level.0 {
        Isa::Scalar => F::decode(src, dst),
        // SAFETY: a `Level` with this set exists only after the CPU was seen to have it.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { x86::decode_avx2::<F>(src, dst) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { x86::decode_avx512::<F>(src, dst) },
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{BadValue, Coding, Fit, NonFinite};

    #[target_feature(enable = "avx2,f16c")]
    pub(super) fn encode_avx2<F: Coding>(src: &[f32], n: NonFinite, dst: &mut [u8]) -> Result<Fit, BadValue> {
        F::encode(src, n, dst)
    }

    #[target_feature(enable = "avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn encode_avx512<F: Coding>(src: &[f32], n: NonFinite, dst: &mut [u8]) -> Result<Fit, BadValue> {
        F::encode(src, n, dst)
    }

    #[target_feature(enable = "avx2,f16c")]
    pub(super) fn decode_avx2<F: Coding>(src: &[u8], dst: &mut [f32]) {
        F::decode(src, dst);
    }

    #[target_feature(enable = "avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn decode_avx512<F: Coding>(src: &[u8], dst: &mut [f32]) {
        F::decode(src, dst);
    }
}
