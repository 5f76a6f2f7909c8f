//! One copy of each coder per instruction set, picked by [`Level`].

use super::{BadValue, Coding, Decoding, Encoding, Fit};
use crate::simd::{Isa, Level, Scalar};

pub(super) fn encode<F: Coding>(
    level: Level,
    src: &[f32],
    how: &Encoding<'_>,
    dst: &mut [u8],
) -> Result<Fit, BadValue> {
    assert_eq!(src.len() / F::BLOCK * F::BYTES, dst.len());
    match level.0 {
        Isa::Scalar => F::encode(Scalar, src, how, dst),
        // SAFETY: a `Level` with this set exists only after the CPU was seen to have it.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { x86::encode_avx2::<F>(src, how, dst) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Vnni => unsafe { x86::encode_avx512::<F>(src, how, dst) },
    }
}

pub(super) fn decode<F: Decoding>(level: Level, src: &[u8], dst: &mut [f32]) {
    assert_eq!(src.len() / F::BYTES * F::BLOCK, dst.len());
    match level.0 {
        Isa::Scalar => F::decode(Scalar, src, dst),
        // SAFETY: a `Level` with this set exists only after the CPU was seen to have it.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { x86::decode_avx2::<F>(src, dst) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Vnni => unsafe { x86::decode_avx512::<F>(src, dst) },
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{BadValue, Coding, Decoding, Encoding, Fit};
    use crate::simd::{Avx2, Avx512};

    #[target_feature(enable = "avx2,f16c")]
    pub(super) fn encode_avx2<F: Coding>(src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        // SAFETY: this function is compiled for, and only called on, such a CPU.
        F::encode(unsafe { Avx2::assume() }, src, how, dst)
    }

    #[target_feature(enable = "avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn encode_avx512<F: Coding>(src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        // SAFETY: as above.
        F::encode(unsafe { Avx512::<false>::assume() }, src, how, dst)
    }

    #[target_feature(enable = "avx2,f16c")]
    pub(super) fn decode_avx2<F: Decoding>(src: &[u8], dst: &mut [f32]) {
        // SAFETY: as above.
        F::decode(unsafe { Avx2::assume() }, src, dst);
    }

    #[target_feature(enable = "avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn decode_avx512<F: Decoding>(src: &[u8], dst: &mut [f32]) {
        // SAFETY: as above.
        F::decode(unsafe { Avx512::<false>::assume() }, src, dst);
    }
}
