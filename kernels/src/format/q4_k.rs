//! q4_k: 4-bit codes with a six-bit scale and minimum per 32 values.

use super::Decoding;
use super::k::{self, SUPER};
use crate::simd::Lanes;

pub(super) struct Q4K;

impl Decoding for Q4K {
    const BLOCK: usize = SUPER;
    const BYTES: usize = 144;
    const ABOUT: &'static str = "f16 d, f16 dmin, 12 bytes with a six-bit scale sc and minimum m for each 32 values, \
        then 128 bytes: of each 32 bytes, byte j holds element j of 64 in its low and j + 32 in its high half; \
        w = d * sc * q - dmin * m.";

    #[inline(always)]
    fn decode<L: Lanes>(l: L, src: &[u8], dst: &mut [f32]) {
        for (block, y) in src.as_chunks::<144>().0.iter().zip(dst.as_chunks_mut::<SUPER>().0) {
            let Some((head, codes)) = block.split_first_chunk::<16>() else { return };
            let (d, min) = k::scales_and_minimums(l, head);
            for (j, (codes, y)) in codes.as_chunks::<32>().0.iter().zip(y.as_chunks_mut::<64>().0).enumerate() {
                let codes = l.bytes(codes);
                for (half, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                    let (d, min) = (d[2 * j + half], min[2 * j + half]);
                    let codes = l.field(codes, 4 * half as i32, 15);
                    k::affine(l, codes, [d, d], [min, min]).store(l, y);
                }
            }
        }
    }
}
