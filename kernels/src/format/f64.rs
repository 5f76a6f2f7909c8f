//! f64: IEEE double precision, read only.

use super::Decoding;
use crate::simd::Lanes;

pub(super) struct F64;

impl Decoding for F64 {
    const BLOCK: usize = 1;
    const BYTES: usize = 8;
    const ABOUT: &'static str =
        "IEEE double precision, little-endian; read as the nearest single, infinite past its range.";

    #[inline(always)]
    fn decode<L: Lanes>(_: L, src: &[u8], dst: &mut [f32]) {
        for (bytes, y) in src.as_chunks::<8>().0.iter().zip(dst) {
            *y = f64::from_le_bytes(*bytes) as f32;
        }
    }
}
